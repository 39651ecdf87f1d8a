package shared

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"log/slog"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx", in pure Go
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/examples/logjam/backend"
	sqlstore "github.com/flyext/flyext/stores/sql"
)

//go:embed postgresql.sql
var schema string

// maxConnections limits one process, because several processes share the server.
const maxConnections = 20

func openPostgreSQL(ctx context.Context, url string) (*backend.Database, error) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &backend.Database{DB: db, Queue: riverdatabasesql.New(db), Schema: schema}, nil
}

func openNonces(ctx context.Context, db *sql.DB, timeout time.Duration, log *slog.Logger) (flyext.ReplayStore, error) {
	nonces, err := sqlstore.New(db, sqlstore.Options{
		Dialect: sqlstore.PostgreSQL, Table: "nonces", Timeout: timeout, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	return nonces, nonces.Migrate(ctx)
}
