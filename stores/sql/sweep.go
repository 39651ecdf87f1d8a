package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	perSweep     = 256 // entries from one sweep to the next
	sweepRows    = 500 // for some milliseconds
	sweepTimeout = 30 * time.Second
)

// startSweep deletes what has expired, apart from the requests: a sweep that is
// slow, as it is while an old transaction holds up vacuum, costs no request its
// time. There is one sweep at a time, which ends by itself.
func (s *Store) startSweep(ctx context.Context) {
	if !s.sweeping.CompareAndSwap(false, true) {
		return
	}
	s.entries.Store(0)
	go func() {
		defer s.sweeping.Store(false)
		if err := s.sweep(ctx); err != nil {
			s.log.ErrorContext(ctx, "expired nonces not deleted", slog.String("error", err.Error()))
		}
	}()
}

// sweep commits the horizon first. It then waits until no statement that began
// before that can still admit a request, and deletes what the horizon covers.
func (s *Store) sweep(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("sqlstore: panic: %v", p)
		}
	}()
	horizon, err := s.announce(ctx)
	if err != nil {
		return wrap(err)
	}
	if horizon != 0 {
		s.settle()
	}
	return wrap(s.clean(ctx, horizon))
}

// announce raises the horizon to the latest expiry that is over, and returns it, or
// 0 if no request's nonce has expired.
func (s *Store) announce(ctx context.Context) (horizon int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	err = s.db.QueryRowContext(ctx, s.text.announce).Scan(&horizon)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return horizon, err
}

// clean deletes little at a time, so that no request waits for its locks.
func (s *Store) clean(ctx context.Context, horizon int64) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	for {
		result, err := s.db.ExecContext(ctx, s.text.clean, horizon)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n < sweepRows {
			return err
		}
	}
}
