package service

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// newLogjam returns a Logjam on a database, without webhooks.
func newLogjam(t *testing.T, db string) *Logjam {
	t.Helper()
	store, err := openDatabase(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.close() })
	return &Logjam{store: store}
}

func dbPath(t *testing.T) string { return filepath.Join(t.TempDir(), "logjam.db") }

// TestDatabasePath checks paths that contain URL syntax.
func TestDatabasePath(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b.db", "a?b=c.db", "a#b.db", "a%41.db", "a&b.db", "ü.db", "file:x.db"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := newLogjam(t, filepath.Join(dir, name))
			provision(t, l, order42())
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, entry := range entries {
				got = append(got, entry.Name())
			}
			if want := []string{name, name + "-shm", name + "-wal", name + ".key"}; !slices.Equal(got, want) {
				t.Errorf("the files are %q, want %q", got, want)
			}
		})
	}
}

// TestDurability checks the settings that keep committed data after SIGKILL or a
// loss of power.
func TestDurability(t *testing.T) {
	t.Parallel()
	l := newLogjam(t, dbPath(t))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"} {
		var got string
		if err := l.store.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", pragma, got, err, want)
		}
	}
}

// TestCancelledTransaction checks that a transaction whose context ends changes
// nothing, returns the context's error and keeps the only connection to SQLite. A
// temporary table exists in one connection.
func TestCancelledTransaction(t *testing.T) {
	t.Parallel()
	s := newLogjam(t, dbPath(t)).store
	if _, err := s.db.ExecContext(t.Context(), `CREATE TEMP TABLE kept (n)`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if err := countChange(ctx, tx, "42"); err != nil {
			return err
		}
		cancel()
		for range 1000 {
			runtime.Gosched() // lets the goroutine of database/sql run that ends transactions
			if _, err := tx.ExecContext(t.Context(), `SELECT 1`); err != nil {
				t.Errorf("the context has ended the transaction: %v", err)
				break
			}
		}
		return countChange(ctx, tx, "42")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	if open := s.db.Stats().OpenConnections; open != 1 {
		t.Errorf("%d connections are open, want 1", open)
	}
	var revisions int
	err = s.inTx(t.Context(), func(tx *sql.Tx) error {
		return tx.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM revisions) + (SELECT count(*) FROM kept)`).Scan(&revisions)
	})
	if err != nil || revisions != 0 {
		t.Errorf("the next transaction on the same connection finds %d revisions, %v; want 0", revisions, err)
	}
}

// TestDeadlineInStatement checks that a call gets 504 if Config.Timeout ends while the
// database runs a statement.
func TestDeadlineInStatement(t *testing.T) {
	t.Parallel()
	l := newLogjam(t, dbPath(t))
	_, err := l.store.db.ExecContext(t.Context(), `
		CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n;
		CREATE TRIGGER hang BEFORE INSERT ON streams BEGIN SELECT count(*) FROM endless; END`)
	if err != nil {
		t.Fatal(err)
	}
	const baseURL = "https://example.com/flyio" // the client of httptest connects to its server
	provider, err := flyext.New(l, flyext.Config{
		BaseURL: baseURL, Verifier: flyext.XSignature(testSecret), Timeout: 200 * time.Millisecond, Logger: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(provider)
	defer server.Close()
	fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.XSignature(testSecret), Client: server.Client()}
	_, err = fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "42", OrganizationID: "org"})
	if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Status != http.StatusGatewayTimeout {
		t.Errorf("got %v, want 504", err)
	}
}
