package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext/internal/servertest"
	"github.com/flyext/flyext/internal/storetest"
	sqlstore "github.com/flyext/flyext/stores/sql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// TestBrokenConnections checks that broken connections, as many as the pool has,
// fail no request if PostgreSQL is back in time.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	newBroken := func(t *testing.T) (*servertest.Server, *sqlstore.Store, *sql.DB) {
		server := servertest.PostgreSQL(t)
		d := onPostgreSQL(server.NewDatabase())
		store, _ := d.machine(t, sqlstore.Options{Timeout: 30 * time.Second})
		return server, store, d.open(t)
	}
	t.Run("cut", func(t *testing.T) {
		t.Parallel()
		_, store, admin := newBroken(t)
		storetest.Broken(t, store, func() {
			execute(t, admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		}, nil)
	})
	t.Run("restarted", func(t *testing.T) {
		t.Parallel()
		server, store, _ := newBroken(t)
		storetest.Broken(t, store, server.Restart, nil)
	})
	t.Run("down for a moment", func(t *testing.T) {
		t.Parallel()
		server, store, _ := newBroken(t)
		storetest.Broken(t, store, server.Kill, server.Start)
	})
}

// A losing connection drops the response to one statement, which the server has
// already executed.
type losing struct {
	net.Conn
	lose *atomic.Bool
}

func (l losing) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if err == nil && l.lose.CompareAndSwap(true, false) {
		l.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// TestLostAnswer drops the response to a commit. The request is accepted once, and
// a duplicate on another machine is refused.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	d := newPostgreSQL(t)
	other, _ := d.machine(t, sqlstore.Options{})
	config, err := pgx.ParseConfig(d.source)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	var lose atomic.Bool
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return losing{conn, &lose}, err
	}
	db := stdlib.OpenDB(*config)
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	store, err := sqlstore.New(db, sqlstore.Options{Dialect: d.dialect, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	store.SetSettle(func() {})
	storetest.WantUse(t, store, storetest.Numbered(0), true)
	if err := store.Sweep(t.Context()); err != nil { // waits for the sweep of the first entry
		t.Fatal(err)
	}
	for _, copied := range []bool{false, true} {
		nonce := storetest.Numbered(1)
		if copied {
			nonce = storetest.Numbered(2)
			storetest.WantUse(t, other, nonce, true)
		}
		lose.Store(true)
		storetest.WantUse(t, store, nonce, !copied)
		if lose.Load() {
			t.Error("no response was lost")
		}
		storetest.WantUse(t, other, nonce, false)
		storetest.WantUse(t, store, nonce, false)
	}
}

// TestLostForGood checks that the store does not retry after other errors.
func TestLostForGood(t *testing.T) {
	t.Parallel()
	d := newSQLite(t)
	store, db := d.machine(t, sqlstore.Options{Timeout: time.Hour})
	execute(t, db, "DROP TABLE flyext_nonces")
	if fresh, err := store.Use(t.Context(), storetest.Numbered(1)); fresh || err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %t, %v", fresh, err)
	}
	db.Close()
	if fresh, err := store.Use(t.Context(), storetest.Numbered(1)); fresh || err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %t, %v", fresh, err)
	}
}
