package flyext

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// A lock that nobody holds or waits for takes no memory: ids are a stranger's
// to invent, once he has a secret.
func TestLockTableForgets(t *testing.T) {
	t.Parallel()
	var table lockTable
	size := func() int {
		table.mu.Lock()
		defer table.mu.Unlock()
		return len(table.held)
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

// A lock that is passed on at the moment at which its waiter gives up is not
// lost: it is left to the next one who waits, or else to nobody.
func TestLockPassedOnToWhoGivesUp(t *testing.T) {
	t.Parallel()
	gaveUp := [2]int{}
	for round := range 200 { // which of the two a waiter takes is left to chance
		synctest.Test(t, func(t *testing.T) {
			var table lockTable
			table.tryLock("x1")
			ctx, giveUp := context.WithCancel(t.Context())
			waited := make(chan error)
			go func() { waited <- table.lock(ctx, "x1") }()
			synctest.Wait()

			others := round % 2 // who are about to wait
			table.mu.Lock()
			w := table.held["x1"]
			w.count += others
			giveUp()
			w.next <- struct{}{} // as unlock does
			table.mu.Unlock()
			if err := <-waited; err == nil {
				return // it got the lock
			}
			gaveUp[others]++
			if others > 0 && len(w.next) != 1 {
				t.Error("the lock is not left to who is about to wait")
			}
			if free := table.tryLock("x1"); free != (others == 0) {
				t.Errorf("with %d others who wait: the lock is free: %v", others, free)
			}
		})
	}
	if gaveUp[0] == 0 || gaveUp[1] == 0 {
		t.Errorf("waiters gave up %d times", gaveUp)
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
	if len(table.held) != 0 {
		t.Errorf("%d locks while none is held", len(table.held))
	}
}
