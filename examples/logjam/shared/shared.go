// Package shared opens PostgreSQL and Redis, which Logjam's machines share.
package shared

import (
	"github.com/redis/go-redis/v9"

	"github.com/flyext/flyext/examples/logjam/backend"
)

// New returns the functions that open Logjam's servers. It turns off the Redis
// client's log, because Logjam's log already has each failure with its request id.
func New() backend.Servers {
	redis.SetLogger(quiet{})
	return backend.Servers{PostgreSQL: openPostgreSQL, Nonces: openNonces, Redis: openRedis}
}
