package flyext_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// Duplicates of an event are received once, even if their modes differ. An event with
// the same id and another source is a different event.
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

// After any error of the receiver, the answer is a 5xx, so that the sender retries, and
// the event is not remembered as received.
func TestEventThatFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		fail   func() error
		status int
		want   answer
	}{
		{"any error", func() error { return errors.New("canary") }, 500, answer{"internal", "Internal Server Error"}},
		{"an *Error with a 4xx status", func() error { return flyext.NotFound("canary") }, 500, answer{"internal", "Internal Server Error"}},
		{"a wrapped *Error with a 4xx status", func() error { return fmt.Errorf("store: %w", flyext.Conflict("canary")) }, 500, answer{"internal", "Internal Server Error"}},
		{"an *Error with status 200", func() error { return &flyext.Error{Status: 200, Message: "canary"} }, 500, answer{"internal", "Internal Server Error"}},
		{"an *Error with status 503", func() error { return &flyext.Error{Status: 503, Code: "busy", Message: "Later."} }, 503, answer{"busy", "Later."}},
		{"a wrapped *Error with status 501", func() error { return fmt.Errorf("store: %w", flyext.Unsupported("Not this one.")) }, 501, answer{"unsupported", "Not this one."}},
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
				t.Errorf("the log lacks the route: %s", log.text())
			}
			failing.Store(false)
			for range 2 {
				if w := do(provider, binary("{}")); w.Code != 200 {
					t.Errorf("got %d %s, want 200", w.Code, w.Body)
				}
			}
			wantCalls(t, l, "event e1,event e1,event e1")
		})
	}
}

// The third event of a batch of five fails. The others are received. When the batch is
// sent again, only the third is delivered.
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
				t.Errorf("got %d %s, want 500", w.Code, w.Body)
			}
			wantCalls(t, l, "event 1,event 2,event 3,event 4,event 5")
			if !strings.Contains(log.text(), "event 3 of 5: ") || !strings.Contains(log.text(), "lost") {
				t.Errorf("the log lacks the failed event or its error: %s", log.text())
			}
			failing.Store(false)
			for range 2 {
				if w := do(provider, five()); w.Code != 200 {
					t.Errorf("got %d %s, want 200", w.Code, w.Body)
				}
			}
			wantCalls(t, l, "event 1,event 2,event 3,event 4,event 5,event 3")
		})
	}
}

// Concurrent duplicates wait for the first delivery. If it succeeds, they get its
// answer. If it fails, the next one is delivered.
func TestEventCopiesAtOnce(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]error{"the first succeeds": nil, "the first fails": errors.New("lost")} {
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
						t.Error("two deliveries of one event at once")
					}
					time.Sleep(time.Second) // on the fake clock of synctest
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
					t.Errorf("other calls wait for the event: %v", l.recorded())
				}
				wg.Wait()
				wantCalls, wantSuccesses := int32(1), int32(10)
				if outcome != nil {
					wantCalls, wantSuccesses = 2, 9
				}
				if calls.Load() != wantCalls || succeeded.Load() != wantSuccesses {
					t.Errorf("%d calls, want %d; %d successes, want %d", calls.Load(), wantCalls, succeeded.Load(), wantSuccesses)
				}
			})
		})
	}
}

// Batches that have the same events in different orders do not block each other.
func TestBatchesInAnotherOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listener{receive: func(context.Context, *flyext.Event) error {
			time.Sleep(time.Second) // on the fake clock of synctest
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
					t.Errorf("got %d %s, want 200", w.Code, w.Body)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != time.Second || len(l.recorded()) != 2 {
			t.Errorf("calls %v after %v, want two calls after a second", l.recorded(), took)
		}
	})
}

// An event is remembered even if its receiver returns nil after the deadline. The rest
// of its batch waits for the retry.
func TestEventDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listener{receive: func(ctx context.Context, e *flyext.Event) error {
			if e.ID == "slow" {
				time.Sleep(40 * time.Second) // on the fake clock of synctest
			}
			return nil
		}}
		provider := newProvider(t, l, func(c *flyext.Config) { unsigned(c); c.ReplayStore = &sharedStore{} })
		batch := "[" + envelope("first") + "," + envelope("slow") + "," + envelope("last") + "]"
		start := time.Now()
		w := do(provider, batched(batch))
		if took := time.Since(start); w.Code != 504 || took != 40*time.Second {
			t.Errorf("got %d after %v, want 504 after 40s", w.Code, took)
		}
		start = time.Now()
		w = do(provider, batched(batch))
		if took := time.Since(start); w.Code != 200 || took != 0 {
			t.Errorf("the retry got %d after %v, want 200 at once", w.Code, took)
		}
		wantCalls(t, l, "event first,event slow,event last")
	})
}

// An event of a batch is not delivered after the deadline.
func TestEventAfterDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listener{receive: func(ctx context.Context, e *flyext.Event) error {
			if ctx.Err() != nil {
				t.Errorf("event %s is delivered with an ended context", e.ID)
			}
			time.Sleep(20 * time.Second) // on the fake clock of synctest
			return nil
		}}
		all := make([]string, 20)
		for i := range all {
			all[i] = envelope(fmt.Sprint(i + 1))
		}
		if w := do(newProvider(t, l, unsigned), batched("["+strings.Join(all, ",")+"]")); w.Code != 504 {
			t.Errorf("got %d, want 504", w.Code)
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
			t.Error("the context has no request id")
		}
		return ctx.Err()
	}}
	if w := do(newProvider(t, l, unsigned), binary("{}").WithContext(ctx)); w.Code != 200 {
		t.Errorf("got %d %s, want 200", w.Code, w.Body)
	}
}
