package sqlstore

import (
	"context"
	"strconv"
	"time"
)

// SetClock replaces the database's clock in the statements.
func (s *Store) SetClock(d Dialect, table string, now time.Time) error {
	text := strconv.FormatInt(now.UnixMilli(), 10)
	if d == PostgreSQL {
		text = "(timestamptz 'epoch' + " + text + " * interval '1 millisecond')"
	}
	if table == "" {
		table = defaultTable
	}
	var err error
	s.stopSweeps()
	defer s.sweeping.Store(false)
	s.text, err = d.statements(table, text)
	return err
}

// SetSettle replaces the wait of a sweep before it deletes rows.
func (s *Store) SetSettle(settle func()) { s.settle = settle }

// Sweep deletes expired rows.
func (s *Store) Sweep(ctx context.Context) error {
	s.stopSweeps()
	defer s.sweeping.Store(false)
	return s.sweep(ctx)
}

// stopSweeps waits until a running sweep has ended and prevents others.
func (s *Store) stopSweeps() {
	for !s.sweeping.CompareAndSwap(false, true) {
		time.Sleep(time.Millisecond)
	}
}
