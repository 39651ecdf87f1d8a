package flyext

import (
	"context"
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
	unlock, err := table.lock(t.Context(), "x1")
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := table.lock(ended, "x1"); err == nil {
		t.Error("locked twice")
	}
	if size() != 1 {
		t.Errorf("%d locks while one is held", size())
	}
	unlock()
	if size() != 0 {
		t.Errorf("%d locks while none is held", size())
	}
}
