package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/flyext/flyext"
	redisstore "github.com/flyext/flyext/stores/redis"
	sqlstore "github.com/flyext/flyext/stores/sql"
	"github.com/redis/go-redis/v9"
)

// replayTimeout leaves most of the five seconds that Fly.io waits.
const replayTimeout = 2 * time.Second

// A replayMemory is what knows which requests came before.
type replayMemory struct {
	flyext.ReplayStore        // nil is one of this process
	where              string // for the log
	close              func() error
}

// openReplay opens the memory that Logjam's machines share: Redis, or the
// PostgreSQL that they share anyway. SQLite is for one machine, whose own memory
// does.
func openReplay(ctx context.Context, c config, s *store, log *slog.Logger) (replayMemory, error) {
	nothing := func() error { return nil }
	switch {
	case c.redisURL != "":
		return openRedis(ctx, c.redisURL, log)
	case c.databaseURL != "":
		nonces, err := sqlstore.New(s.db, sqlstore.Options{
			Dialect: sqlstore.PostgreSQL, Table: "nonces", Timeout: replayTimeout, Logger: log,
		})
		if err != nil {
			return replayMemory{}, err
		}
		if err := nonces.Migrate(ctx); err != nil {
			return replayMemory{}, fmt.Errorf("database: %w", oneLine(err))
		}
		return replayMemory{nonces, "database", nothing}, nil
	}
	return replayMemory{nil, "memory", nothing}, nil
}

// openRedis does not need Redis to be there yet: until it is, every request is
// answered with 503.
func openRedis(ctx context.Context, text string, log *slog.Logger) (_ replayMemory, err error) {
	options, err := redis.ParseURL(text)
	if err != nil { // which may have the password in it
		return replayMemory{}, errors.New("redis: not a URL such as redis://user:password@host:6379/0")
	}
	options.ContextTimeoutEnabled = true
	client := redis.NewClient(options)
	nonces, err := redisstore.New(client, redisstore.Options{Prefix: "logjam:", Timeout: replayTimeout})
	if err != nil {
		return replayMemory{}, errors.Join(err, client.Close())
	}
	if err := nonces.Check(ctx); err != nil {
		log.Warn("Redis may forget which requests came, or is not there", "error", err.Error())
	}
	where := "redis"
	if u, err := url.Parse(text); err == nil {
		u.RawQuery = ""
		where = u.Redacted()
	}
	return replayMemory{nonces, where, client.Close}, nil
}

// quietRedis keeps the client from writing to standard error past the log, which
// has each failure with the request that it was of.
type quietRedis struct{}

func (quietRedis) Printf(context.Context, string, ...any) {}
