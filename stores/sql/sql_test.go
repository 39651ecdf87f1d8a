package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/servertest"
	"github.com/flyext/flyext/internal/storetest"
	"github.com/flyext/flyext/internal/testscale"
	sqlstore "github.com/flyext/flyext/stores/sql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

// A database is one that machines share.
type database struct {
	dialect  sqlstore.Dialect
	source   string
	past     string // SQL for a time that is over
	longPast string // SQL for one before that
	now      string // SQL for milliseconds since 1970
	expires  string // SQL for when a row expires, likewise
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

// onEach runs a test on an empty database of each kind.
func onEach(t *testing.T, test func(t *testing.T, d database)) {
	t.Helper()
	t.Run("PostgreSQL", func(t *testing.T) { t.Parallel(); test(t, newPostgreSQL(t)) })
	t.Run("SQLite", func(t *testing.T) { t.Parallel(); test(t, newSQLite(t)) })
}

// with is the same database by other parameters of its URL.
func (d database) with(parameters ...string) database {
	for _, parameter := range parameters {
		d.source += "&" + parameter
	}
	return d
}

// open connects as another machine does.
func (d database) open(t testing.TB) *sql.DB {
	t.Helper()
	driver := "sqlite"
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

// machine is a store with connections of its own, whose table is there.
func (d database) machine(t testing.TB, o sqlstore.Options) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	db := d.open(t)
	o.Dialect = d.dialect
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second // the tests' machine may be busy
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

// expire has the time of all nonces pass.
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

// TestPooled is what a pool of connections in front of PostgreSQL makes of a
// session: every statement may come in another one, and prepared ones are gone.
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

// TestRace has two machines race for each nonce, 32 requests on either.
func TestRace(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		a, _ := d.machine(t, sqlstore.Options{})
		b, _ := d.machine(t, sqlstore.Options{})
		storetest.Race(t, 120, a, b)
	})
}

// TestClocks has the database's clock step.
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

// TestOwnClock has nonces that the database's own clock finds expired, and the rows
// of such.
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
			t.Errorf("it expires at %d, %v, want %d", expires, err, nonce.Expires.UnixMilli())
		}
		d.expire(t, db)
		if err := store.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if rows := count(t, db); rows != 0 {
			t.Errorf("%d rows are left", rows)
		}
		storetest.WantUse(t, store, storetest.Numbered(3), true)

		// A row that an earlier sweep has skipped does not lower the horizon.
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
			t.Errorf("the horizon went from %d to %d", before, after)
		}
	})
}

// TestSweepSettles has a sweep commit the horizon before it deletes: a copy whose
// statement begins meanwhile finds one of the two.
func TestSweepSettles(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		store, db := d.machine(t, sqlstore.Options{})
		other, _ := d.machine(t, sqlstore.Options{})
		used := storetest.Numbered(1)
		storetest.WantUse(t, other, used, true)
		now := time.Now()
		if err := store.SetClock(d.dialect, "", now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		settled := false
		store.SetSettle(func() {
			settled = true
			if rows := count(t, db); rows != 1 {
				t.Errorf("%d rows before it has settled, want 1", rows)
			}
			before := storetest.Numbered(2)
			before.Expires = used.Expires.Add(-time.Second)
			for _, n := range []flyext.Nonce{used, before} {
				if fresh, err := other.Use(t.Context(), n); fresh || !errors.Is(err, flyext.ErrNonceExpired) {
					t.Errorf("got %t, %v", fresh, err)
				}
			}
		})
		if err := store.Sweep(t.Context()); err != nil || !settled {
			t.Errorf("settled: %t, %v", settled, err)
		}
		if rows := count(t, db); rows != 0 {
			t.Errorf("%d rows are left", rows)
		}
		if fresh, err := other.Use(t.Context(), used); fresh || !errors.Is(err, flyext.ErrNonceExpired) {
			t.Errorf("got %t, %v", fresh, err)
		}
	})
}

// TestBounded enters 10,000 nonces, whose time passes, and FLYEXT_TEST_SCALE times
// as many.
func TestBounded(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		if d.dialect == sqlstore.PostgreSQL {
			d = d.with("options=-c%20synchronous_commit%3Doff")
		}
		const live, width = 1_000, 8
		rounds := 10 * testscale.Factor(t)
		store, db := d.machine(t, sqlstore.Options{})
		store.SetSettle(func() {})
		most := 0
		for round := range rounds {
			var workers sync.WaitGroup
			for worker := range width {
				workers.Go(func() {
					for n := worker; n < live; n += width {
						if fresh, err := store.Use(t.Context(), storetest.Numbered(round*live+n)); !fresh || err != nil {
							t.Errorf("got %t, %v", fresh, err)
						}
					}
				})
			}
			workers.Wait()
			d.expire(t, db)
			most = max(most, count(t, db))
		}
		t.Logf("at most %d rows of %d entries", most, rounds*live)
		// Those that were live, those of the round before, and what a sweep that
		// takes its time has not come to yet.
		if most > 6*live {
			t.Errorf("the table had %d rows", most)
		}
	})
}

// TestSweepSkips has a transaction hold expired rows: no request waits for it, and
// neither does a sweep.
func TestSweepSkips(t *testing.T) {
	t.Parallel()
	d := newPostgreSQL(t)
	_, db := d.machine(t, sqlstore.Options{})
	for n := range 20 { // not by a store, which would sweep at a time of its own
		nonce := storetest.Numbered(n)
		execute(t, db, "INSERT INTO flyext_nonces (key, expires_at) VALUES ($1, "+d.past+")", nonce.Key[:])
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	some := storetest.Numbered(5)
	held, err := tx.ExecContext(t.Context(), "SELECT 1 FROM flyext_nonces WHERE key < $1 FOR UPDATE", some.Key[:])
	if n, _ := held.RowsAffected(); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	store, _ := d.machine(t, sqlstore.Options{}) // whose first entry sweeps
	store.SetSettle(func() {})
	storetest.WantUse(t, store, storetest.Numbered(100), true)
	for deadline := time.Now().Add(time.Minute); count(t, db) != 6; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d rows are left, want those that are held and the new one", count(t, db))
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
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
		want string // of the error; "" means none
	}{
		{"as it is", db, sqlstore.Options{Dialect: sqlstore.SQLite}, ""},
		{"with everything", db, sqlstore.Options{Dialect: sqlstore.PostgreSQL, Table: "a_1.b_2", Timeout: time.Minute}, ""},
		{"no database", nil, sqlstore.Options{Dialect: sqlstore.SQLite}, "database is nil"},
		{"no dialect", db, sqlstore.Options{}, "Dialect"},
		{"unknown dialect", db, sqlstore.Options{Dialect: 3}, "Dialect(3)"},
		{"no time", db, sqlstore.Options{Dialect: sqlstore.SQLite, Timeout: -1}, "Timeout"},
		{"table with a quote", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: `a"; DROP TABLE users; --`}, "name"},
		{"table with a line behind", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: "a\n"}, "name"},
		{"table in upper case", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: "Nonces"}, "name"},
		{"table of three parts", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: "a.b.c"}, "name"},
		{"table without a name", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: "a."}, "name"},
		{"table that begins with a digit", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: "1a"}, "name"},
		{"table without end", db, sqlstore.Options{Dialect: sqlstore.SQLite, Table: strings.Repeat("a", 49)}, "name"},
	} {
		store, err := sqlstore.New(test.db, test.o)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		} else if store != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, %v, want an error of %q", test.name, store, err, test.want)
		}
	}
	if _, err := sqlstore.SQLite.Schema("a;b"); err == nil {
		t.Error("a schema for a table that cannot be")
	}
}

// A wire counts what goes to the server: each of pgx's writes is the beginning of
// a round trip.
type wire struct {
	net.Conn
	writes *atomic.Int64
}

func (w wire) Write(b []byte) (int, error) {
	w.writes.Add(1)
	return w.Conn.Write(b)
}

func TestOneRoundTrip(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "simple_protocol", "cache_statement"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d := newPostgreSQL(t).with("default_query_exec_mode=" + mode)
			d.machine(t, sqlstore.Options{})
			config, err := pgx.ParseConfig(d.source)
			if err != nil {
				t.Fatal(err)
			}
			var writes atomic.Int64
			config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				return wire{conn, &writes}, err
			}
			db := stdlib.OpenDB(*config)
			t.Cleanup(func() { db.Close() })
			db.SetMaxOpenConns(1)
			store, err := sqlstore.New(db, sqlstore.Options{Dialect: d.dialect, Timeout: 20 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			// The first ones connect, sweep and, in one mode, prepare.
			storetest.WantUse(t, store, storetest.Numbered(0), true)
			storetest.WantUsed(t, store, storetest.Numbered(0), true)
			settled(t, db, &writes)
			for _, step := range []struct {
				name string
				do   func()
			}{
				{"fresh", func() { storetest.WantUse(t, store, storetest.Numbered(1), true) }},
				{"used", func() { storetest.WantUse(t, store, storetest.Numbered(1), false) }},
				{"looked up", func() { storetest.WantUsed(t, store, storetest.Numbered(1), true) }},
			} {
				before := writes.Load()
				if step.do(); writes.Load()-before != 1 {
					t.Errorf("%s: %d round trips, want 1", step.name, writes.Load()-before)
				}
			}
		})
	}
}

// settled waits until the connection is idle.
func settled(t *testing.T, db *sql.DB, writes *atomic.Int64) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for quiet, last := 0, int64(-1); quiet < 20; time.Sleep(10 * time.Millisecond) {
		if quiet++; writes.Load() != last || db.Stats().InUse > 0 {
			quiet, last = 0, writes.Load()
		}
		if time.Now().After(deadline) {
			t.Fatal("the connection is in use")
		}
	}
}

func Example() {
	db, err := sql.Open("sqlite", "file::memory:?_pragma=busy_timeout(500)")
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
