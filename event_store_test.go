package flyext_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// A sharedStore is a [flyext.ReplayLookup] that fails on demand.
type sharedStore struct {
	mu                sync.Mutex
	used              map[[16]byte]time.Time
	failUse, failUsed error
	lookups           int
}

func (s *sharedStore) Use(ctx context.Context, n flyext.Nonce) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if s.failUse != nil {
		return false, s.failUse
	}
	if s.used == nil {
		s.used = make(map[[16]byte]time.Time)
	}
	_, used := s.used[n.Key]
	s.used[n.Key] = n.Expires
	return !used, nil
}

func (s *sharedStore) Used(_ context.Context, n flyext.Nonce) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookups++
	_, used := s.used[n.Key]
	return used, s.failUsed
}

// onlyUse hides the Used method of a store.
type onlyUse struct{ s *sharedStore }

func (o onlyUse) Use(ctx context.Context, n flyext.Nonce) (bool, error) { return o.s.Use(ctx, n) }

// Two machines that share a store recognize each other's events if the store is a
// ReplayLookup. Otherwise each machine recognizes only its own.
func TestEventsOnTwoMachines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		store func() flyext.ReplayStore
		want  string
	}{
		{"a store with Used", func() flyext.ReplayStore { return &sharedStore{} }, "event e1"},
		{"a store without Used", func() flyext.ReplayStore { return onlyUse{&sharedStore{}} }, "event e1,event e1"},
		{"a MemoryReplayStore", func() flyext.ReplayStore { return flyext.NewMemoryReplayStore(0, nil) }, "event e1,event e1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l, store := &listener{}, test.store()
			for range 2 {
				machine := newProvider(t, l, func(c *flyext.Config) { unsigned(c); c.ReplayStore = store })
				for range 2 {
					if w := do(machine, binary("{}")); w.Code != 200 {
						t.Errorf("got %d %s, want 200", w.Code, w.Body)
					}
				}
			}
			wantCalls(t, l, test.want)
		})
	}
}

func TestEventStoreFails(t *testing.T) {
	t.Parallel()
	l, log, store := &listener{}, &logBuffer{}, &sharedStore{failUsed: errors.New("store is away")}
	provider := newProvider(t, l, func(c *flyext.Config) { unsigned(c); c.ReplayStore = store; c.Logger = log.logger() })
	if w := do(provider, binary("{}")); w.Code != 503 || readAnswer(t, w).Error != "replay_unavailable" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	wantCalls(t, l, "")

	store.failUsed, store.failUse = nil, errors.New("store is full")
	if w := do(provider, binary("{}")); w.Code != 200 { // the event was received, so the answer is a success
		t.Errorf("got %d %s, want 200", w.Code, w.Body)
	}
	if !strings.Contains(log.text(), "event delivered but not remembered") || !strings.Contains(log.text(), "store is full") {
		t.Errorf("the log lacks the error of the store: %s", log.text())
	}
	store.failUse = nil
	for range 2 {
		if w := do(provider, binary("{}")); w.Code != 200 {
			t.Errorf("got %d %s, want 200", w.Code, w.Body)
		}
	}
	wantCalls(t, l, "event e1,event e1")
}

// An event is remembered for at least a day. While other events arrive, it is forgotten
// after two days at most.
func TestEventMemory(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	now.Store(1_700_000_000)
	l := &listener{}
	provider := newProvider(t, l, func(c *flyext.Config) {
		unsigned(c)
		c.Now = func() time.Time { return time.Unix(now.Load(), 0) }
	})
	for _, event := range []struct {
		after int64
		id    string
	}{{0, "e1"}, {86_399, "e1"}, {2, "e2"}, {86_399, "e2"}, {2, "e3"}, {0, "e1"}} {
		now.Add(event.after)
		if w := do(provider, binary("{}", "ce-id", event.id)); w.Code != 200 {
			t.Errorf("got %d %s, want 200", w.Code, w.Body)
		}
	}
	wantCalls(t, l, "event e1,event e2,event e3,event e1")

	store := &sharedStore{}
	provider = newProvider(t, l, func(c *flyext.Config) {
		unsigned(c)
		c.ReplayStore, c.Now = store, func() time.Time { return time.Unix(now.Load(), 0) }
	})
	do(provider, binary("{}"))
	for _, expires := range store.used {
		if want := time.Unix(now.Load()+86_400, 0); !expires.Equal(want) {
			t.Errorf("the event is remembered until %v, want %v", expires, want)
		}
	}
}

// A flood of events must not fill the memory for nonces. A provider with a full memory
// admits no request.
func TestEventsAndNoncesAreApart(t *testing.T) {
	t.Parallel()
	l := &listener{}
	provider := newProvider(t, l, func(c *flyext.Config) { c.ReplayStore = flyext.NewMemoryReplayStore(30, nil) })
	for i := range 20 {
		r := xsigned("POST", testEvents, `{"machine_id":"m1"}`)
		for name, value := range map[string]string{"Ce-Id": fmt.Sprint(i), "Ce-Source": "s", "Ce-Type": "t", "Ce-Specversion": "1.0"} {
			r.Header.Set(name, value)
		}
		if w := do(provider, r); w.Code != 200 {
			t.Fatalf("event %d: got %d %s, want 200", i, w.Code, w.Body)
		}
	}
	if w := do(provider, httptest.NewRequest("POST", testEvents, nil)); w.Code != 401 {
		t.Errorf("got %d, want 401", w.Code)
	}
}
