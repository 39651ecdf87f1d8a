package sqlstore_test

import (
	"database/sql"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/flyext/flyext/internal/servertest"
	sqlstore "github.com/flyext/flyext/stores/sql"
	_ "github.com/ncruces/go-sqlite3/driver"
)

// A database is shared by several machines.
type database struct {
	dialect  sqlstore.Dialect
	source   string
	past     string // SQL for a time in the past
	longPast string // SQL for an earlier time
	now      string // SQL for milliseconds since 1970
	expires  string // SQL for the expiry of a row in the same unit
}

func newPostgreSQL(t testing.TB) database {
	t.Helper()
	return onPostgreSQL(servertest.SharedDatabase(t))
}

func onPostgreSQL(source string) database {
	return database{sqlstore.PostgreSQL, source, "now() - interval '1 second'", "now() - interval '1 hour'",
		"(extract(epoch FROM now()) * 1000)::bigint", "(extract(epoch FROM expires_at) * 1000)::bigint"}
}

func newSQLite(t testing.TB) database {
	t.Helper()
	source := url.URL{Scheme: "file", Opaque: filepath.Join(t.TempDir(), "nonces.db"), RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(NORMAL)"},
	}.Encode()}
	now := "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
	return database{sqlstore.SQLite, source.String(), "1", "0", now, "expires_at"}
}

// onEach runs a test with an empty database of each dialect.
func onEach(t *testing.T, test func(t *testing.T, d database)) {
	t.Helper()
	t.Run("PostgreSQL", func(t *testing.T) { t.Parallel(); test(t, newPostgreSQL(t)) })
	t.Run("SQLite", func(t *testing.T) { t.Parallel(); test(t, newSQLite(t)) })
}

// with returns the same database with additional URL parameters.
func (d database) with(parameters ...string) database {
	for _, parameter := range parameters {
		d.source += "&" + parameter
	}
	return d
}

// open connects as a separate machine.
func (d database) open(t testing.TB) *sql.DB {
	t.Helper()
	driver := "sqlite3"
	if d.dialect == sqlstore.PostgreSQL {
		driver = "pgx"
	}
	db, err := sql.Open(driver, d.source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	if d.dialect == sqlstore.SQLite {
		db.SetMaxOpenConns(1)
	}
	return db
}

// machine returns a store with its own connections. It creates the table.
func (d database) machine(t testing.TB, o sqlstore.Options) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	db := d.open(t)
	o.Dialect = d.dialect
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second // for a busy machine
	}
	store, err := sqlstore.New(db, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store, db
}

func execute(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// expire moves the expiry of all nonces into the past.
func (d database) expire(t *testing.T, db *sql.DB) {
	t.Helper()
	execute(t, db, "UPDATE flyext_nonces SET expires_at = "+d.past+" WHERE length(key) > 0")
}

func count(t testing.TB, db *sql.DB) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM flyext_nonces WHERE length(key) > 0").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
