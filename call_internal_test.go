package flyext

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
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
