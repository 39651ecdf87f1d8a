// Package shared opens PostgreSQL and Redis for Logjam on several machines.
package shared

import (
	"github.com/redis/go-redis/v9"

	"github.com/flyext/flyext/examples/logjam/backend"
)

// New returns Logjam's servers. It silences the Redis client's own log: Logjam's
// log has each failure, with the request id.
func New() backend.Servers {
	redis.SetLogger(quiet{})
	return backend.Servers{PostgreSQL: openPostgreSQL, Nonces: openNonces, Redis: openRedis}
}
