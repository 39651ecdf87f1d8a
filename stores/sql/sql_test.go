package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/storetest"
	sqlstore "github.com/flyext/flyext/stores/sql"
)

func TestOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		a, _ := d.machine(t, sqlstore.Options{})
		b, _ := d.machine(t, sqlstore.Options{})
		storetest.Once(t, 10, a, b)
		others, _ := d.machine(t, sqlstore.Options{Table: "other_nonces"})
		storetest.WantUse(t, others, storetest.Numbered(1), true)
	})
}

// TestPooled simulates a connection pooler in front of PostgreSQL: each statement
// may run in a different session, without earlier prepared statements.
func TestPooled(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "simple_protocol", "cache_describe", "describe_exec", "cache_statement"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d := newPostgreSQL(t).with("default_query_exec_mode=" + mode)
			a, onA := d.machine(t, sqlstore.Options{})
			b, onB := d.machine(t, sqlstore.Options{})
			onA.SetMaxIdleConns(0)
			onB.SetMaxIdleConns(0)
			storetest.Once(t, 2, a, b)
		})
	}
}

// TestRace makes two machines compete for each nonce with 32 requests each.
func TestRace(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		a, _ := d.machine(t, sqlstore.Options{})
		b, _ := d.machine(t, sqlstore.Options{})
		storetest.Race(t, 120, a, b)
	})
}

// TestClocks steps the database's clock.
func TestClocks(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		var tables atomic.Int64
		storetest.Clocks(t, func(t *testing.T) storetest.Clocked {
			table := fmt.Sprint("nonces_", tables.Add(1))
			store, _ := d.machine(t, sqlstore.Options{Table: table})
			store.SetSettle(func() {})
			return storetest.Clocked{
				ReplayLookup: store,
				Set: func(now time.Time) {
					if err := store.SetClock(d.dialect, table, now); err != nil {
						t.Fatal(err)
					}
				},
				Clean: func() {
					if err := store.Sweep(t.Context()); err != nil {
						t.Fatal(err)
					}
				},
			}
		})
	})
}

// TestOwnClock uses nonces and rows that have expired by the database's own clock.
func TestOwnClock(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		store, db := d.machine(t, sqlstore.Options{})
		store.SetSettle(func() {})
		nonce := storetest.Numbered(1)
		wantExpired := func() {
			t.Helper()
			if fresh, err := store.Use(t.Context(), nonce); fresh || !errors.Is(err, flyext.ErrNonceExpired) {
				t.Errorf("got %t, %v", fresh, err)
			}
		}
		for _, nonce.Expires = range []time.Time{time.Unix(0, 0), time.Now().Add(-time.Second)} {
			wantExpired()
		}
		nonce = storetest.Numbered(2)
		storetest.WantUse(t, store, nonce, true)
		var expires int64
		if err := db.QueryRowContext(t.Context(), "SELECT "+d.expires+" FROM flyext_nonces").Scan(&expires); err != nil || expires != nonce.Expires.UnixMilli() {
			t.Errorf("got expiry %d, %v, want %d", expires, err, nonce.Expires.UnixMilli())
		}
		d.expire(t, db)
		if err := store.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if rows := count(t, db); rows != 0 {
			t.Errorf("%d rows are left, want 0", rows)
		}
		storetest.WantUse(t, store, storetest.Numbered(3), true)

		// A row that an earlier sweep skipped does not lower the horizon.
		horizon := func() (at int64) {
			t.Helper()
			if err := db.QueryRowContext(t.Context(), "SELECT "+d.expires+" FROM flyext_nonces WHERE length(key) = 0").Scan(&at); err != nil {
				t.Fatal(err)
			}
			return at
		}
		before := horizon()
		execute(t, db, "UPDATE flyext_nonces SET expires_at = "+d.longPast+" WHERE length(key) > 0")
		if err := store.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after := horizon(); after != before || count(t, db) != 0 {
			t.Errorf("the horizon changed from %d to %d, or rows are left", before, after)
		}
	})
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		var machines sync.WaitGroup
		for range 8 {
			machines.Go(func() {
				db := d.open(t)
				store, err := sqlstore.New(db, sqlstore.Options{Dialect: d.dialect})
				if err == nil {
					err = store.Migrate(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		machines.Wait()
		store, db := d.machine(t, sqlstore.Options{})
		storetest.WantUse(t, store, storetest.Numbered(1), true)

		table := "main.other_nonces"
		if d.dialect == sqlstore.PostgreSQL {
			execute(t, db, "CREATE SCHEMA extension")
			table = "extension.other_nonces"
		}
		schema, err := d.dialect.Schema(table)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			execute(t, db, schema)
		}
		other, err := sqlstore.New(db, sqlstore.Options{Dialect: d.dialect, Table: table, Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		storetest.WantUse(t, other, storetest.Numbered(1), true)
		storetest.WantUse(t, other, storetest.Numbered(1), false)
		var indexes int
		query := "SELECT count(*) FROM sqlite_master WHERE name LIKE '%nonces_expires_at'"
		if d.dialect == sqlstore.PostgreSQL {
			query = "SELECT count(*) FROM pg_indexes WHERE indexname LIKE '%nonces_expires_at'"
		}
		if err := db.QueryRowContext(t.Context(), query).Scan(&indexes); err != nil || indexes != 2 {
			t.Errorf("%d indexes, %v, want 2", indexes, err)
		}
	})
}

func TestNew(t *testing.T) {
	t.Parallel()
	db := newSQLite(t).open(t)
	for _, test := range []struct {
		name string
		db   *sql.DB
		o    sqlstore.Options
		want string // in the error; "" means no error
	}{
		{"defaults", db, sqlstore.Options{Dialect: sqlstore.SQLite}, ""},
		{"all options", db, sqlstore.Options{Dialect: sqlstore.PostgreSQL, Table: "a_1.b_2", Timeout: time.Minute}, ""},
		{"no database", nil, sqlstore.Options{Dialect: sqlstore.SQLite}, "database is nil"},
		{"no dialect", db, sqlstore.Options{}, "Dialect"},
		{"unknown dialect", db, sqlstore.Options{Dialect: 3}, "Dialect(3)"},
		{"negative timeout", db, sqlstore.Options{Dialect: sqlstore.SQLite, Timeout: -1}, "Timeout"},
		{"table with a quote", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: `a"; DROP TABLE users; --`}, "name"},
		{"table with a line break", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: "a\n"}, "name"},
		{"table in upper case", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: "Nonces"}, "name"},
		{"table of three parts", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: "a.b.c"}, "name"},
		{"schema without a table", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: "a."}, "name"},
		{"table that begins with a digit", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: "1a"}, "name"},
		{"long table name", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: strings.Repeat("a", 49)}, "name"},
	} {
		store, err := sqlstore.New(test.db, test.o)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		} else if store != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, %v, want an error with %q", test.name, store, err, test.want)
		}
	}
	if _, err := sqlstore.SQLite.Schema("a;b"); err == nil {
		t.Error("Schema accepts an invalid table name")
	}
}

func Example() {
	db, err := sql.Open("sqlite3", "file::memory:?_pragma=busy_timeout(500)")
	if err != nil {
		panic(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	store, err := sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.SQLite})
	if err != nil {
		panic(err)
	}
	if err := store.Migrate(context.Background()); err != nil {
		panic(err)
	}
	nonce := flyext.Nonce{Key: flyext.NonceKey("x-signature", "3f1c"), Expires: time.Now().Add(6 * time.Minute)}
	for range 2 {
		fmt.Println(store.Use(context.Background(), nonce))
	}
	// Output:
	// true <nil>
	// false <nil>
}

// TestUsedUntilItExpires checks that an expired entry does not count as used, even if
// it has not been deleted yet.
func TestUsedUntilItExpires(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		store, db := d.machine(t, sqlstore.Options{})
		storetest.WantUse(t, store, storetest.Numbered(1), true)
		storetest.WantUsed(t, store, storetest.Numbered(1), true)
		execute(t, db, "UPDATE flyext_nonces SET expires_at = "+d.longPast+" WHERE length(key) > 0")
		storetest.WantUsed(t, store, storetest.Numbered(1), false)
	})
}
