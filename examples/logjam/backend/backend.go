// Package backend defines how Logjam opens PostgreSQL and Redis. Package service
// depends on these types instead of the drivers. Package shared implements them.
package backend

import (
	"context"
	"database/sql"
	"log/slog"
	"time"

	"github.com/riverqueue/river/riverdriver"

	"github.com/flyext/flyext"
)

// Servers opens PostgreSQL and Redis.
type Servers struct {
	// PostgreSQL opens the database at a URL, and fails if it cannot connect.
	PostgreSQL func(ctx context.Context, url string) (*Database, error)
	// Nonces opens the replay store in that database.
	Nonces func(ctx context.Context, db *sql.DB, timeout time.Duration, log *slog.Logger) (flyext.ReplayStore, error)
	// Redis opens the replay store at a URL. Redis may start later. An error
	// contains no part of the URL, because the URL may contain a password.
	Redis func(ctx context.Context, url string, timeout time.Duration, log *slog.Logger) (*Redis, error)
}

// A Queue is River's driver for a database.
type Queue = riverdriver.Driver[*sql.Tx]

// A Database is an open PostgreSQL database.
type Database struct {
	DB     *sql.DB
	Queue  Queue
	Schema string // SQL statements that create Logjam's missing tables
}

// Redis is a replay store in Redis.
type Redis struct {
	flyext.ReplayStore
	Where string // the URL without the password, for the log
	Close func() error
}
