package sqlstore_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/storetest"
	"github.com/flyext/flyext/internal/testscale"
	sqlstore "github.com/flyext/flyext/stores/sql"
)

// TestSweepSettles checks that a sweep commits the horizon before it deletes rows,
// so that a concurrent duplicate finds one of the two.
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
				t.Errorf("%d rows before the sweep has settled, want 1", rows)
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
			t.Errorf("got settled %t, %v", settled, err)
		}
		if rows := count(t, db); rows != 0 {
			t.Errorf("%d rows are left, want 0", rows)
		}
		if fresh, err := other.Use(t.Context(), used); fresh || !errors.Is(err, flyext.ErrNonceExpired) {
			t.Errorf("got %t, %v", fresh, err)
		}
	})
}

// TestBounded enters 10,000 nonces, times FLYEXT_TEST_SCALE, which then expire. It
// checks the size of the table.
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
		// The live rows, those of the previous round, and those that a slow sweep has
		// not deleted yet.
		if most > 6*live {
			t.Errorf("the table had %d rows, want at most %d", most, 6*live)
		}
	})
}

// TestSweepSkips locks expired rows in a transaction. Neither a request nor a sweep
// waits for it.
func TestSweepSkips(t *testing.T) {
	t.Parallel()
	d := newPostgreSQL(t)
	_, db := d.machine(t, sqlstore.Options{})
	for n := range 20 { // without a store, which would start sweeps
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
	store, _ := d.machine(t, sqlstore.Options{}) // its first entry starts a sweep
	store.SetSettle(func() {})
	storetest.WantUse(t, store, storetest.Numbered(100), true)
	for deadline := time.Now().Add(time.Minute); count(t, db) != 6; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d rows are left, want the locked ones and the new one", count(t, db))
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
}
