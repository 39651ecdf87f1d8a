package flyext

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A lock that is not in use takes no memory. Otherwise a client with a secret could
// fill the memory with invented ids.
func TestLockTableForgets(t *testing.T) {
	t.Parallel()
	var table lockTable
	size := func() int {
		table.mu.Lock()
		defer table.mu.Unlock()
		return len(table.locks)
	}
	if err := table.lock(t.Context(), "x1"); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := table.lock(ended, "x1"); err == nil {
		t.Error("a held lock was acquired again")
	}
	if size() != 1 {
		t.Errorf("%d locks in the table while one is held", size())
	}
	table.unlock("x1")
	if size() != 0 {
		t.Errorf("%d locks in the table after the last unlock", size())
	}
}

// A lock has one holder at a time, even while other callers give up waiting. At the
// end the table is empty.
func TestLockTableUnderContention(t *testing.T) {
	t.Parallel()
	var table lockTable
	var holders, turns atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 2000 {
				ctx, cancel := context.WithCancel(t.Context())
				if (i+j)%3 == 0 {
					go cancel() // before it gets the lock, or after
				}
				if err := table.lock(ctx, "x1"); err == nil {
					if holders.Add(1) != 1 {
						t.Error("a lock has two holders")
					}
					turns.Add(1)
					holders.Add(-1)
					table.unlock("x1")
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if turns.Load() < 8*2000/2 {
		t.Errorf("the lock was acquired only %d times", turns.Load())
	}
	if len(table.locks) != 0 {
		t.Errorf("%d locks in the table after the last unlock", len(table.locks))
	}
}

// The calls that wait for a lock get it in the order of their arrival, so that an older
// change does not overwrite a newer one. A call that gives up loses its place.
func TestLockTableIsInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table lockTable
		if err := table.lock(t.Context(), "x1"); err != nil {
			t.Fatal(err)
		}
		var order []int
		for i := range 9 {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				if i%3 == 1 {
					ctx, cancel = context.WithTimeout(t.Context(), time.Second)
				}
				defer cancel()
				if table.lock(ctx, "x1") == nil {
					order = append(order, i) // under the lock
					table.unlock("x1")
				}
			}()
			synctest.Wait()
		}
		time.Sleep(time.Minute) // on the fake clock of synctest
		table.unlock("x1")
		synctest.Wait()
		if want := []int{0, 2, 3, 5, 6, 8}; !slices.Equal(order, want) || len(table.locks) != 0 {
			t.Errorf("the order is %v, want %v; %d locks remain", order, want, len(table.locks))
		}
	})
}
