package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/flyext/flyext"
)

// openPostgreSQL opens the database at the configured URL. Its key is
// LOGJAM_KEY's value: a database that machines share has no file next to it.
func openPostgreSQL(ctx context.Context, c config) (_ *store, err error) {
	opened, err := c.servers.PostgreSQL(ctx, c.databaseURL)
	if err != nil {
		return nil, oneLine(err)
	}
	s := &store{db: opened.DB, queue: opened.Queue}
	err = migrate(ctx, func() error {
		_, err := s.db.ExecContext(ctx, opened.Schema)
		return err
	})
	if err != nil {
		return nil, errors.Join(oneLine(err), s.close())
	}
	if err := s.unlock(ctx, "", c.key); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// replayTimeout leaves most of the five seconds that Fly.io waits.
const replayTimeout = 2 * time.Second

// A replayMemory knows which requests came before.
type replayMemory struct {
	flyext.ReplayStore        // nil is one of this process
	where              string // for the log
	close              func() error
}

// openReplay opens the replay store that Logjam's machines share: Redis, or the
// PostgreSQL that they share anyway. SQLite is for one machine, whose own memory
// is enough.
func openReplay(ctx context.Context, c config, s *store, log *slog.Logger) (replayMemory, error) {
	nothing := func() error { return nil }
	switch {
	case c.redisURL != "":
		nonces, err := c.servers.Redis(ctx, c.redisURL, replayTimeout, log)
		if err != nil {
			return replayMemory{}, fmt.Errorf("redis: %w", err)
		}
		return replayMemory{nonces.ReplayStore, nonces.Where, nonces.Close}, nil
	case c.databaseURL != "":
		nonces, err := c.servers.Nonces(ctx, s.db, replayTimeout, log)
		if err != nil {
			return replayMemory{}, fmt.Errorf("database: %w", oneLine(err))
		}
		return replayMemory{nonces, "database", nothing}, nil
	}
	return replayMemory{nil, "memory", nothing}, nil
}

// oneLine is an error's text on one line. The drivers' errors hold no password.
func oneLine(err error) error {
	return errors.New(strings.Join(strings.Fields(err.Error()), " "))
}
