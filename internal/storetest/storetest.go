// Package storetest tests the behavior that all replay stores on a server must
// have.
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

const (
	// Timeout is the timeout of stores whose server is broken.
	Timeout = 300 * time.Millisecond
	// Slack is the additional time on a busy machine. Drivers' timeouts are far longer.
	Slack = 2 * time.Second
)

// Numbered returns nonce n. It lives for six minutes, as long as a request's nonce.
func Numbered(n int) flyext.Nonce {
	var key [16]byte
	binary.BigEndian.PutUint64(key[8:], uint64(n))
	return flyext.Nonce{Key: key, Expires: time.Now().Add(6 * time.Minute)}
}

// WantUse calls Use and checks whether the nonce is fresh.
func WantUse(t *testing.T, s flyext.ReplayStore, n flyext.Nonce, want bool) {
	t.Helper()
	if fresh, err := s.Use(t.Context(), n); fresh != want || err != nil {
		t.Fatalf("fresh: got %t, %v, want %t", fresh, err, want)
	}
}

// WantUsed calls Used and checks whether the nonce was used.
func WantUsed(t *testing.T, s flyext.ReplayLookup, n flyext.Nonce, want bool) {
	t.Helper()
	if used, err := s.Used(t.Context(), n); used != want || err != nil {
		t.Fatalf("used: got %t, %v, want %t", used, err, want)
	}
}

// WantFailure calls Use while the server is broken, without a deadline. It checks
// that the error comes in time and returns it.
func WantFailure(t *testing.T, s flyext.ReplayStore, n flyext.Nonce) error {
	t.Helper()
	began := time.Now()
	fresh, err := s.Use(context.Background(), n)
	if fresh || err == nil {
		t.Errorf("fresh: got %t, %v, want an error", fresh, err)
	}
	if took := time.Since(began); took > Timeout+Slack {
		t.Errorf("Use took %v, want at most %v", took, Timeout+Slack)
	}
	return err
}

// WantRecovery waits until a store works again. It uses nonces from number n on.
func WantRecovery(t *testing.T, s flyext.ReplayStore, n int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		fresh, err := s.Use(t.Context(), Numbered(n))
		if fresh && err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the store does not recover: %t, %v", fresh, err)
		}
		n++ // the server may have stored the last one
	}
}

// Once checks that each nonce works once across two machines.
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

// Race makes 64 concurrent requests with each nonce, spread over the machines, and
// checks that one is accepted.
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
			t.Errorf("nonce %d was accepted %d times", n, got)
		}
	}
}
