package service

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "github.com/ncruces/go-sqlite3/driver" // the driver "sqlite3", in pure Go
	"github.com/riverqueue/river/riverdriver/riversqlite"
)

//go:embed sqlite.sql
var sqliteSchema string

// sqliteColumns are the columns added after the first version of the tables.
var sqliteColumns = []struct{ table, name, definition string }{
	{"streams", "status", "TEXT NOT NULL DEFAULT 'ready'"},
	{"streams", "machine_id", "TEXT NOT NULL DEFAULT ''"},
}

// openSQLite opens the database in a file, and creates a missing file. If key,
// LOGJAM_KEY's value, is empty, the key comes from the file path+".key".
func openSQLite(ctx context.Context, path, key string) (_ *store, err error) {
	keepFilesPrivate()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(file.Close(), syncDir(filepath.Dir(path))); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", dataSource(path))
	if err != nil {
		return nil, err
	}
	// SQLite has one writer at a time. Transactions that wait in the queue of
	// database/sql get a fairer turn than those that poll for SQLite's lock.
	db.SetMaxOpenConns(1)
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if err := migrate(ctx, func() error { return migrateSQLite(ctx, db) }); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := &store{db: db, queue: riversqlite.New(db)}
	if err := s.unlock(ctx, path+".key", key); err != nil {
		return nil, err
	}
	return s, nil
}

func migrateSQLite(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, sqliteSchema); err != nil {
		return err
	}
	for _, column := range sqliteColumns {
		var known bool
		err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pragma_table_info($1) WHERE name = $2)`,
			column.table, column.name).Scan(&known)
		if err == nil && !known {
			_, err = db.ExecContext(ctx, "ALTER TABLE "+column.table+" ADD COLUMN "+column.name+" "+column.definition)
		}
		if err != nil {
			return err
		}
	}
	_, err := db.ExecContext(ctx, `CREATE INDEX IF NOT EXISTS streams_by_machine ON streams (machine_id)`)
	return err
}

// dataSource returns the data source name for a file. The options make commits
// durable: in WAL mode with synchronous=FULL, a commit returns after it is on the
// disk.
func dataSource(path string) string {
	options := url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)"},
		"_txlock": {"immediate"}, // a transaction that first reads and then writes could fail otherwise
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: options.Encode()}).String()
}
