package flyext

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
)

// A lock that nobody holds or waits for takes no memory: ids are a stranger's
// to invent, once he has a secret.
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
		t.Error("locked twice")
	}
	if size() != 1 {
		t.Errorf("%d locks while one is held", size())
	}
	table.unlock("x1")
	if size() != 0 {
		t.Errorf("%d locks while none is held", size())
	}
}

// Whoever gets a lock has it alone, however many give up beside them, and in
// the end nobody holds any.
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
						t.Error("two hold one lock")
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
		t.Errorf("only %d turns", turns.Load())
	}
	if len(table.locks) != 0 {
		t.Errorf("%d locks while none is held", len(table.locks))
	}
}
