// Package storetest holds what every replay store on a server has to do, for the
// tests of those that there are.
package storetest

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// Timeout is that of stores whose server is out of order; Slack is what the tests' machine
// may take longer, far less than a driver's own timeouts.
const (
	Timeout = 300 * time.Millisecond
	Slack   = 2 * time.Second
)

// Numbered returns the nonce of a number, which lives as long as a request's.
func Numbered(n int) flyext.Nonce {
	var key [16]byte
	binary.BigEndian.PutUint64(key[8:], uint64(n))
	return flyext.Nonce{Key: key, Expires: time.Now().Add(6 * time.Minute)}
}

// WantUse enters a nonce, and demands to be told whether it is fresh.
func WantUse(t *testing.T, s flyext.ReplayStore, n flyext.Nonce, want bool) {
	t.Helper()
	if fresh, err := s.Use(t.Context(), n); fresh != want || err != nil {
		t.Fatalf("fresh: got %t, %v, want %t", fresh, err, want)
	}
}

// WantUsed looks a nonce up, and demands to be told whether it was used.
func WantUsed(t *testing.T, s flyext.ReplayLookup, n flyext.Nonce, want bool) {
	t.Helper()
	if used, err := s.Used(t.Context(), n); used != want || err != nil {
		t.Fatalf("used: got %t, %v, want %t", used, err, want)
	}
}

// WantFailure asks a store whose server cannot tell, for a caller with no deadline.
// It demands an error in time, and returns it.
func WantFailure(t *testing.T, s flyext.ReplayStore, n flyext.Nonce) error {
	t.Helper()
	began := time.Now()
	fresh, err := s.Use(context.Background(), n)
	if fresh || err == nil {
		t.Errorf("fresh: got %t, %v, want an error", fresh, err)
	}
	if took := time.Since(began); took > Timeout+Slack {
		t.Errorf("it took %v", took)
	}
	return err
}

// WantRecovery waits until a store works again, with nonces from a number on.
func WantRecovery(t *testing.T, s flyext.ReplayStore, n int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		fresh, err := s.Use(t.Context(), Numbered(n))
		if fresh && err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not recover: %t, %v", fresh, err)
		}
		n++ // which may have been entered without an answer
	}
}

// Once demands of two machines that each nonce works once on both together.
func Once(t *testing.T, nonces int, a, b flyext.ReplayLookup) {
	t.Helper()
	for n := range nonces {
		WantUsed(t, a, Numbered(n), false)
		WantUse(t, a, Numbered(n), true)
		for _, s := range []flyext.ReplayLookup{a, b, a} {
			WantUsed(t, s, Numbered(n), true)
			WantUse(t, s, Numbered(n), false)
		}
	}
}

// Race has machines race for each nonce, with 64 requests in all. One of them may
// win.
func Race(t *testing.T, nonces int, machines ...flyext.ReplayStore) {
	t.Helper()
	admitted := make([]atomic.Int64, nonces)
	var workers sync.WaitGroup
	for worker := range 64 {
		workers.Go(func() {
			for n := range nonces {
				fresh, err := machines[worker%len(machines)].Use(t.Context(), Numbered(n))
				if err != nil {
					t.Error(err)
					return
				}
				if fresh {
					admitted[n].Add(1)
				}
			}
		})
	}
	workers.Wait()
	for n := range nonces {
		if got := admitted[n].Load(); got != 1 {
			t.Errorf("nonce %d was admitted %d times", n, got)
		}
	}
}
