package flyext_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
)

func wantCalls(t *testing.T, l *listener, want string) {
	t.Helper()
	if got := strings.Join(l.recorded(), ","); got != want {
		t.Errorf("calls %q, want %q", got, want)
	}
}

// The same event is received once, in whichever mode its copies come; another
// source's event of that id is another one.
func TestEventTwice(t *testing.T) {
	t.Parallel()
	l := &listener{}
	provider := newProvider(t, l, unsigned)
	other := strings.Replace(envelope("e1"), "api.fly.io", "other.fly.io", 1)
	for i, r := range []*http.Request{
		binary("{}"), binary("{}"), binary(`{"status":"another"}`, "ce-type", "another"), structured(envelope("e1")),
		batched("[" + envelope("e1") + "," + envelope("e1") + "]"), structured(other), structured(other),
		batched("[" + envelope("e2") + "," + envelope("e2") + "," + envelope("e1") + "]"),
	} {
		if w := do(provider, r); w.Code != 200 || w.Body.String() != "{}" {
			t.Errorf("request %d: %d %s", i, w.Code, w.Body)
		}
	}
	wantCalls(t, l, "event e1,event e1,event e2")
}

// Whatever the receiver's error is, the sender is told to try again, and the
// event is not taken for received.
func TestEventThatFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		fail   func() error
		status int
		want   answer
	}{
		{"any error", func() error { return errors.New("canary") }, 500, answer{"internal", "Internal Server Error"}},
		{"a refusal of its own", func() error { return flyext.NotFound("canary") }, 500, answer{"internal", "Internal Server Error"}},
		{"a wrapped refusal", func() error { return fmt.Errorf("store: %w", flyext.Conflict("canary")) }, 500, answer{"internal", "Internal Server Error"}},
		{"a status that is no error", func() error { return &flyext.Error{Status: 200, Message: "canary"} }, 500, answer{"internal", "Internal Server Error"}},
		{"a 503 of its own", func() error { return &flyext.Error{Status: 503, Code: "busy", Message: "Later."} }, 503, answer{"busy", "Later."}},
		{"a wrapped 501", func() error { return fmt.Errorf("store: %w", flyext.Unsupported("Not this one.")) }, 501, answer{"unsupported", "Not this one."}},
		{"a nil *flyext.Error", func() error { return (*flyext.Error)(nil) }, 500, answer{"internal", "Internal Server Error"}},
		{"a deadline", func() error { return fmt.Errorf("query: %w", context.DeadlineExceeded) }, 504, answer{"timeout", "The provider did not answer in time. Try again."}},
		{"a panic", func() error { panic("canary") }, 500, answer{"internal", "Internal Server Error"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var failing atomic.Bool
			failing.Store(true)
			l, log := &listener{}, &logBuffer{}
			l.receive = func(context.Context, *flyext.Event) error {
				if failing.Load() {
					return test.fail()
				}
				return nil
			}
			provider := newProvider(t, l, func(c *flyext.Config) { unsigned(c); c.Logger = log.logger() })
			for range 2 {
				if w := do(provider, binary("{}")); w.Code != test.status || readAnswer(t, w) != test.want {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
			}
			if !strings.Contains(log.text(), `"route":"/extensions/events"`) {
				t.Errorf("log: %s", log.text())
			}
			failing.Store(false)
			for range 2 {
				if w := do(provider, binary("{}")); w.Code != 200 {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
			}
			wantCalls(t, l, "event e1,event e1,event e1")
		})
	}
}

// Of five events the third fails: the others are received, and when all come
// again, only that one is.
func TestBatchOfWhichOneFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"with an error": func() error { return errors.New("lost") },
		"with a panic":  func() error { panic("lost") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failing atomic.Bool
			failing.Store(true)
			l, log := &listener{}, &logBuffer{}
			l.receive = func(_ context.Context, e *flyext.Event) error {
				if e.ID == "3" && failing.Load() {
					return fail()
				}
				return nil
			}
			provider := newProvider(t, l, func(c *flyext.Config) { unsigned(c); c.Logger = log.logger() })
			five := func() *http.Request {
				all := make([]string, 5)
				for i := range all {
					all[i] = envelope(fmt.Sprint(i + 1))
				}
				return batched("[" + strings.Join(all, ",") + "]")
			}
			if w := do(provider, five()); w.Code != 500 {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			wantCalls(t, l, "event 1,event 2,event 3,event 4,event 5")
			if !strings.Contains(log.text(), "event 3 of 5: ") || !strings.Contains(log.text(), "lost") {
				t.Errorf("log: %s", log.text())
			}
			failing.Store(false)
			for range 2 {
				if w := do(provider, five()); w.Code != 200 {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
			}
			wantCalls(t, l, "event 1,event 2,event 3,event 4,event 5,event 3")
		})
	}
}

// Copies that come at once wait for the first one, and are answered as it was.
func TestEventCopiesAtOnce(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]error{"it is received": nil, "it fails": errors.New("lost")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var running, calls, others atomic.Int32
				l := &listener{receive: func(_ context.Context, e *flyext.Event) error {
					if e.ID == "other" {
						others.Add(1)
						return nil
					}
					if running.Add(1) != 1 {
						t.Error("two at once")
					}
					time.Sleep(time.Second) // of the bubble's clock
					running.Add(-1)
					if calls.Add(1) == 1 {
						return outcome
					}
					return nil
				}}
				provider := newProvider(t, l, unsigned)
				var wg sync.WaitGroup
				var succeeded atomic.Int32
				for range 10 {
					wg.Go(func() {
						if do(provider, binary("{}")).Code == 200 {
							succeeded.Add(1)
						}
					})
				}
				wg.Go(func() { do(provider, binary("{}", "ce-id", "other")) })
				wg.Go(func() { do(provider, fetchRequest("x1")) })
				synctest.Wait()
				if others.Load() != 1 || len(l.recorded()) != 3 {
					t.Errorf("others wait: %v", l.recorded())
				}
				wg.Wait()
				wantCalls, wantSuccesses := int32(1), int32(10)
				if outcome != nil {
					wantCalls, wantSuccesses = 2, 9
				}
				if calls.Load() != wantCalls || succeeded.Load() != wantSuccesses {
					t.Errorf("%d calls, %d successes", calls.Load(), succeeded.Load())
				}
			})
		})
	}
}

// Batches that have the same events in another order do not wait for each other.
func TestBatchesInAnotherOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listener{receive: func(context.Context, *flyext.Event) error {
			time.Sleep(time.Second) // of the bubble's clock
			return nil
		}}
		provider := newProvider(t, l, unsigned)
		there := "[" + envelope("a") + "," + envelope("b") + "," + envelope("a") + "]"
		back := "[" + envelope("b") + "," + envelope("a") + "," + envelope("b") + "]"
		start := time.Now()
		var wg sync.WaitGroup
		for _, batch := range []string{there, back, there, back} {
			wg.Go(func() {
				if w := do(provider, batched(batch)); w.Code != 200 {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != time.Second || len(l.recorded()) != 2 {
			t.Errorf("%v after %v", l.recorded(), took)
		}
	})
}

// An event whose receiver outlives the deadline is remembered. The rest of its batch
// waits for the next try.
func TestEventDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listener{receive: func(ctx context.Context, e *flyext.Event) error {
			if e.ID == "slow" {
				time.Sleep(40 * time.Second) // of the bubble's clock
			}
			return nil
		}}
		provider := newProvider(t, l, func(c *flyext.Config) { unsigned(c); c.ReplayStore = &sharedStore{} })
		batch := "[" + envelope("first") + "," + envelope("slow") + "," + envelope("last") + "]"
		start := time.Now()
		w := do(provider, batched(batch))
		if took := time.Since(start); w.Code != 504 || took != 40*time.Second {
			t.Errorf("got %d after %v", w.Code, took)
		}
		start = time.Now()
		w = do(provider, batched(batch))
		if took := time.Since(start); w.Code != 200 || took != 0 {
			t.Errorf("got %d after %v", w.Code, took)
		}
		wantCalls(t, l, "event first,event slow,event last")
	})
}

// An event whose turn comes after the deadline is not begun.
func TestEventAfterDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listener{receive: func(ctx context.Context, e *flyext.Event) error {
			if ctx.Err() != nil {
				t.Errorf("%s has no time", e.ID)
			}
			time.Sleep(20 * time.Second) // of the bubble's clock
			return nil
		}}
		all := make([]string, 20)
		for i := range all {
			all[i] = envelope(fmt.Sprint(i + 1))
		}
		if w := do(newProvider(t, l, unsigned), batched("["+strings.Join(all, ",")+"]")); w.Code != 504 {
			t.Errorf("got %d", w.Code)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		wantCalls(t, l, "event 1,event 2")
	})
}

func TestEventOfACallerWhoHangsUp(t *testing.T) {
	t.Parallel()
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	l := &listener{receive: func(ctx context.Context, _ *flyext.Event) error {
		if flyext.RequestID(ctx) == "" {
			t.Error("no request id")
		}
		return ctx.Err()
	}}
	if w := do(newProvider(t, l, unsigned), binary("{}").WithContext(ctx)); w.Code != 200 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

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

// onlyUse hides what a store can do beyond using up.
type onlyUse struct{ s *sharedStore }

func (o onlyUse) Use(ctx context.Context, n flyext.Nonce) (bool, error) { return o.s.Use(ctx, n) }

// Two machines that share a store know each other's events if it can look one
// up; else each knows its own.
func TestEventsOnTwoMachines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		store func() flyext.ReplayStore
		want  string
	}{
		{"a store that can look up", func() flyext.ReplayStore { return &sharedStore{} }, "event e1"},
		{"a store that cannot", func() flyext.ReplayStore { return onlyUse{&sharedStore{}} }, "event e1,event e1"},
		{"a memory", func() flyext.ReplayStore { return flyext.NewMemoryReplayStore(0, nil) }, "event e1,event e1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l, store := &listener{}, test.store()
			for range 2 {
				machine := newProvider(t, l, func(c *flyext.Config) { unsigned(c); c.ReplayStore = store })
				for range 2 {
					if w := do(machine, binary("{}")); w.Code != 200 {
						t.Errorf("got %d %s", w.Code, w.Body)
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
	if w := do(provider, binary("{}")); w.Code != 200 { // it was received, and nothing can undo that
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.text(), "event delivered but not remembered") || !strings.Contains(log.text(), "store is full") {
		t.Errorf("log: %s", log.text())
	}
	store.failUse = nil
	for range 2 {
		if w := do(provider, binary("{}")); w.Code != 200 {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	}
	wantCalls(t, l, "event e1,event e1")
}

// An event is remembered for a day at least, and for two at most while others come.
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
			t.Errorf("got %d %s", w.Code, w.Body)
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
			t.Errorf("remembered until %v, want %v", expires, want)
		}
	}
}

// A flood of events must not fill the memory of nonces, without which nothing
// would be admitted any more.
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
			t.Fatalf("event %d: %d %s", i, w.Code, w.Body)
		}
	}
	if w := do(provider, httptest.NewRequest("POST", testEvents, nil)); w.Code != 401 {
		t.Errorf("got %d", w.Code)
	}
}
