// Package backend lets Logjam use the servers that several machines share
// without importing their drivers: package shared opens them, and package service
// uses them.
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
	// PostgreSQL opens the database at a URL.
	PostgreSQL func(ctx context.Context, url string) (*Database, error)
	// Nonces opens the replay store in that database.
	Nonces func(ctx context.Context, db *sql.DB, timeout time.Duration, log *slog.Logger) (flyext.ReplayStore, error)
	// Redis opens the replay store at a URL. Redis need not run yet. An error
	// holds no part of the URL, which may have a password.
	Redis func(ctx context.Context, url string, timeout time.Duration, log *slog.Logger) (*Redis, error)
}

// A Queue is River's driver for a database.
type Queue = riverdriver.Driver[*sql.Tx]

// A Database is an open PostgreSQL.
type Database struct {
	DB     *sql.DB
	Queue  Queue
	Schema string // statements that make Logjam's tables where they are missing
}

// Redis is a replay store in Redis.
type Redis struct {
	flyext.ReplayStore
	Where string // its URL without the password, for the log
	Close func() error
}
