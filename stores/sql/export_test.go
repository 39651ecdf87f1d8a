package sqlstore

import (
	"context"
	"strconv"
	"time"
)

// SetClock has the store go by another clock than the database's.
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

// SetSettle sets how a sweep waits before it deletes.
func (s *Store) SetSettle(settle func()) { s.settle = settle }

// Sweep deletes what has expired, and returns when it has.
func (s *Store) Sweep(ctx context.Context) error {
	s.stopSweeps()
	defer s.sweeping.Store(false)
	return s.sweep(ctx)
}

// stopSweeps waits for a sweep to end, and keeps others from beginning.
func (s *Store) stopSweeps() {
	for !s.sweeping.CompareAndSwap(false, true) {
		time.Sleep(time.Millisecond)
	}
}
