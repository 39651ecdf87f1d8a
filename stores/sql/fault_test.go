package sqlstore_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/servertest"
	"github.com/flyext/flyext/internal/storetest"
	sqlstore "github.com/flyext/flyext/stores/sql"
)

func TestOutOfOrder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		break_, mend func(*servertest.Server)
	}{
		{"killed", (*servertest.Server).Kill, (*servertest.Server).Start},
		{"frozen", (*servertest.Server).Freeze, (*servertest.Server).Thaw},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := servertest.PostgreSQL(t)
			d := onPostgreSQL(server.NewDatabase())
			d.machine(t, sqlstore.Options{})
			store, err := sqlstore.New(d.open(t), sqlstore.Options{Dialect: d.dialect, Timeout: storetest.Timeout})
			if err != nil {
				t.Fatal(err)
			}
			patient, err := sqlstore.New(d.open(t), sqlstore.Options{Dialect: d.dialect, Timeout: 20 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			used := storetest.Numbered(1_000)
			storetest.WantRecovery(t, store, 0)
			storetest.WantUse(t, patient, used, true)
			for round := range 2 {
				test.break_(server)
				storetest.WantFailure(t, store, used)
				storetest.WantFailure(t, store, storetest.Numbered(2_000+round))
				if looked, err := store.Used(t.Context(), used); looked || err == nil {
					t.Errorf("used: got %t, %v, want an error", looked, err)
				}
				test.mend(server)
				storetest.WantRecovery(t, store, 10_000*(round+1))
				storetest.WantUse(t, patient, used, false)
			}
		})
	}
}

// TestSilence uses a server that accepts connections but does not reply.
func TestSilence(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // the kernel accepts connections
	const password = "hunter2-of-the-tests"
	d := onPostgreSQL("postgres://logjam:" + password + "@" + listener.Addr().String() + "/logjam?sslmode=disable")
	store, err := sqlstore.New(d.open(t), sqlstore.Options{Dialect: d.dialect, Timeout: storetest.Timeout})
	if err != nil {
		t.Fatal(err)
	}
	if err := storetest.WantFailure(t, store, storetest.Numbered(1)); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), password) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if fresh, err := store.Use(ctx, storetest.Numbered(1)); fresh || !errors.Is(err, context.Canceled) {
		t.Errorf("canceled context: got %t, %v", fresh, err)
	}
	listener.Close()
	if err := storetest.WantFailure(t, store, storetest.Numbered(1)); strings.Contains(err.Error(), password) {
		t.Errorf("the error contains the password: %v", err)
	}
}

// TestUndecided enters a nonce in an open transaction. The result of Use depends on
// how it ends.
func TestUndecided(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		fresh bool
	}{{"committed", false}, {"rolled back", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, d database) {
				patient, _ := d.machine(t, sqlstore.Options{})
				hasty, _ := d.machine(t, sqlstore.Options{Timeout: storetest.Timeout})
				storetest.WantUse(t, patient, storetest.Numbered(0), true)
				other := d.open(t)
				begin, end := "BEGIN", "ROLLBACK"
				if d.dialect == sqlstore.SQLite {
					begin = "BEGIN IMMEDIATE"
				}
				if !test.fresh {
					end = "COMMIT"
				}
				conn, err := other.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				nonce := storetest.Numbered(1)
				do := func(statement string, args ...any) {
					t.Helper()
					if _, err := conn.ExecContext(t.Context(), statement, args...); err != nil {
						t.Error(err)
					}
				}
				do(begin)
				if d.dialect == sqlstore.PostgreSQL {
					do("INSERT INTO flyext_nonces (key, expires_at) VALUES ($1, now() + interval '1 hour')", nonce.Key[:])
				} else {
					do("INSERT INTO flyext_nonces (key, expires_at) VALUES ($1, $2)", nonce.Key[:], time.Now().Add(time.Hour).UnixMilli())
				}
				storetest.WantFailure(t, hasty, nonce)
				waiting := make(chan struct{})
				var fresh bool
				go func() {
					defer close(waiting)
					fresh, err = patient.Use(t.Context(), nonce)
				}()
				select {
				case <-waiting:
					t.Errorf("Use did not wait: got %t, %v", fresh, err)
				case <-time.After(200 * time.Millisecond):
				}
				do(end)
				if <-waiting; fresh != test.fresh || err != nil {
					t.Errorf("got %t, %v, want %t", fresh, err, test.fresh)
				}
			})
		})
	}
}

// TestStrictIsolation checks that no nonce is accepted twice at strict isolation
// levels, where some calls get a serialization error.
func TestStrictIsolation(t *testing.T) {
	t.Parallel()
	for _, isolation := range []string{"repeatable%20read", "serializable"} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			d := newPostgreSQL(t).with("default_transaction_isolation=" + isolation)
			store, _ := d.machine(t, sqlstore.Options{})
			var passed, failed atomic.Int64
			const nonces = 30
			var workers sync.WaitGroup
			for range 16 {
				workers.Go(func() {
					for n := range nonces {
						fresh, err := store.Use(t.Context(), storetest.Numbered(n))
						if fresh {
							passed.Add(1)
						}
						if err != nil {
							failed.Add(1)
						}
					}
				})
			}
			workers.Wait()
			t.Logf("%d errors", failed.Load())
			if passed.Load() > nonces {
				t.Errorf("%d requests accepted with %d nonces", passed.Load(), nonces)
			}
		})
	}
}

// TestBusy locks an SQLite database in another process for a long time.
func TestBusy(t *testing.T) {
	t.Parallel()
	for _, busy := range []string{"0", "10000"} {
		t.Run("busy_timeout="+busy, func(t *testing.T) {
			t.Parallel()
			d := newSQLite(t)
			_, db := d.machine(t, sqlstore.Options{})
			d.source = strings.Replace(d.source, "busy_timeout%2810000%29", "busy_timeout%28"+busy+"%29", 1)
			store, err := sqlstore.New(d.open(t), sqlstore.Options{Dialect: d.dialect, Timeout: storetest.Timeout})
			if err != nil {
				t.Fatal(err)
			}
			storetest.WantRecovery(t, store, 0)
			execute(t, db, "BEGIN IMMEDIATE")
			storetest.WantFailure(t, store, storetest.Numbered(1_000))
			execute(t, db, "ROLLBACK")
			storetest.WantRecovery(t, store, 2_000)
		})
	}
}

func TestNoEntry(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		d    func(t *testing.T) database
		want string
	}{
		{"PostgreSQL without the table", func(t *testing.T) database { return newPostgreSQL(t) }, "flyext_nonces"},
		{"SQLite without the table", func(t *testing.T) database { return newSQLite(t) }, "flyext_nonces"},
		{"a replica of PostgreSQL", func(t *testing.T) database {
			d := newPostgreSQL(t)
			d.machine(t, sqlstore.Options{})
			return d.with("default_transaction_read_only=on")
		}, "read-only"},
		{"SQLite, read-only", func(t *testing.T) database {
			d := newSQLite(t)
			d.machine(t, sqlstore.Options{})
			return d.with("mode=ro")
		}, "readonly"},
		{"SQLite, full", func(t *testing.T) database {
			d := newSQLite(t)
			d.machine(t, sqlstore.Options{})
			return d.with("_pragma=max_page_count%281%29", "_pragma=cell_size_check%281%29")
		}, "full"},
		{"no directory", func(t *testing.T) database {
			return database{dialect: sqlstore.SQLite, source: "file:" + filepath.Join(t.TempDir(), "none", "nonces.db") + "?"}
		}, "unable to open"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := test.d(t)
			store, err := sqlstore.New(d.open(t), sqlstore.Options{Dialect: d.dialect, Timeout: 20 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			for n := range 100_000 { // until the database is full
				fresh, err := store.Use(t.Context(), storetest.Numbered(n))
				if err != nil {
					if fresh || !strings.Contains(err.Error(), test.want) {
						t.Errorf("got %t, %v, want an error with %q", fresh, err, test.want)
					}
					return
				}
			}
			t.Error("got no error")
		})
	}
}

// A sink is a log in memory.
type sink struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// TestSweepFails checks that a failed sweep is logged and fails no request.
func TestSweepFails(t *testing.T) {
	t.Parallel()
	d := newSQLite(t)
	_, db := d.machine(t, sqlstore.Options{})
	execute(t, db, "CREATE TRIGGER keep BEFORE DELETE ON flyext_nonces BEGIN SELECT RAISE(FAIL, 'not to be deleted'); END")
	execute(t, db, "INSERT INTO flyext_nonces (key, expires_at) VALUES (x'00', 0)")
	var log sink
	store, _ := d.machine(t, sqlstore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	store.SetSettle(func() {})
	storetest.WantUse(t, store, storetest.Numbered(1), true)
	for deadline := time.Now().Add(time.Minute); !strings.Contains(log.String(), "not to be deleted"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the failure is not logged: %s", log.String())
		}
	}
	storetest.WantUse(t, store, storetest.Numbered(2), true)
}

// TestProvider checks that a provider answers 503 while its store is down, without
// calling the service.
func TestProvider(t *testing.T) {
	t.Parallel()
	server := servertest.PostgreSQL(t)
	d := onPostgreSQL(server.NewDatabase())
	d.machine(t, sqlstore.Options{}) // creates the table
	storetest.Provider(t, func(timeout time.Duration) flyext.ReplayStore {
		store, err := sqlstore.New(d.open(t), sqlstore.Options{Dialect: d.dialect, Timeout: timeout})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}, server.Kill, server.Start)
}
