package shared

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flyext/flyext/examples/logjam/backend"
	redisstore "github.com/flyext/flyext/stores/redis"
)

// openRedis succeeds even if Redis is not running yet. Until Redis answers, every
// request gets 503.
func openRedis(ctx context.Context, text string, timeout time.Duration, log *slog.Logger) (*backend.Redis, error) {
	options, err := redis.ParseURL(text)
	if err != nil { // err may contain the password
		return nil, errors.New("invalid URL; use one such as redis://user:password@host:6379/0")
	}
	options.ContextTimeoutEnabled = true
	client := redis.NewClient(options)
	nonces, err := redisstore.New(client, redisstore.Options{Prefix: "logjam:", Timeout: timeout})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	if err := nonces.Check(ctx); err != nil {
		log.Warn("Redis is unreachable, or may lose nonces", "error", err.Error())
	}
	where := "redis"
	if u, err := url.Parse(text); err == nil {
		u.RawQuery = ""
		where = u.Redacted()
	}
	return &backend.Redis{ReplayStore: nonces, Where: where, Close: client.Close}, nil
}

// quiet discards what the Redis client would write to standard error.
type quiet struct{}

// Printf implements the client's logger.
func (quiet) Printf(context.Context, string, ...any) {}
