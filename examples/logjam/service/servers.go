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

// openPostgreSQL opens the database at the configured URL. The key comes from
// LOGJAM_KEY, because machines that share a database share no key file.
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

// replayTimeout leaves most of the five seconds that Fly.io waits for an answer.
const replayTimeout = 2 * time.Second

// A replayMemory is an open replay store.
type replayMemory struct {
	flyext.ReplayStore        // nil means the memory of this process
	where              string // for the log
	close              func() error
}

// openReplay opens the replay store that Logjam's machines share: Redis if it is
// configured, or their PostgreSQL. With SQLite there is only one machine, so its
// memory is enough.
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

// oneLine returns an error with the text of err on one line. The drivers' errors
// contain no password.
func oneLine(err error) error {
	return errors.New(strings.Join(strings.Fields(err.Error()), " "))
}
