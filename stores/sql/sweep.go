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
	perSweep     = 256 // entries between two sweeps
	sweepRows    = 500 // deleting them takes some milliseconds
	sweepTimeout = 30 * time.Second
)

// startSweep deletes expired rows in the background, one sweep at a time. A slow
// sweep, such as one that an old transaction delays, therefore delays no request.
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

// sweep commits the new horizon. It waits until no statement that began before that
// can still accept a request, and then deletes the rows up to the horizon.
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

// announce raises the horizon to the latest expiry that has passed and returns it.
// It returns 0 if no request's nonce has expired.
func (s *Store) announce(ctx context.Context) (horizon int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	err = s.db.QueryRowContext(ctx, s.text.announce).Scan(&horizon)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return horizon, err
}

// clean deletes rows in small batches, so that no request waits for its locks.
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
