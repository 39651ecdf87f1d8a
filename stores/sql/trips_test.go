package sqlstore_test

import (
	"context"
	"database/sql"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext/internal/storetest"
	sqlstore "github.com/flyext/flyext/stores/sql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// A wire counts writes to the server. Each write of pgx starts a round trip.
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
			// The first calls connect, sweep and, in one mode, prepare statements.
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
			t.Fatal("the connection does not become idle")
		}
	}
}
