package main

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx", in pure Go
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
)

//go:embed schema/postgresql.sql
var postgresqlSchema string

// maxConnections is for one process: several share what the server has.
const maxConnections = 20

// openPostgreSQL opens the database at a URL. Its key is LOGJAM_KEY's value: a
// database that machines share has no file beside it.
func openPostgreSQL(ctx context.Context, url, key string) (_ *store, err error) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return nil, oneLine(err)
	}
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if err := db.PingContext(ctx); err != nil {
		return nil, oneLine(err)
	}
	err = migrate(ctx, func() error {
		_, err := db.ExecContext(ctx, postgresqlSchema)
		return err
	})
	if err != nil {
		return nil, oneLine(err)
	}
	s := &store{db: db, queue: riverdatabasesql.New(db)}
	if err := s.unlock(ctx, "", key); err != nil {
		return nil, err
	}
	return s, nil
}

// oneLine is what the driver says, in whose text no password is, on one line.
func oneLine(err error) error {
	return errors.New(strings.Join(strings.Fields(err.Error()), " "))
}
