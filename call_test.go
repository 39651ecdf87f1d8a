package flyext_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
)

// fetchRequest returns an unsigned GET of an extension, for providers that admit every
// request.
func fetchRequest(id string) *http.Request {
	return httptest.NewRequest("GET", "/flyio/extensions/"+id, nil)
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		timeout time.Duration
		want    time.Duration
		fetch   func(context.Context) error
	}{
		{"the default, with a wrapped error", 0, 25 * time.Second, func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("select: %w", ctx.Err())
		}},
		{"configured", 3 * time.Second, 3 * time.Second, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &testProvisioner{fetch: func(ctx context.Context, _ string) (*flyext.Extension, error) {
					return nil, tt.fetch(ctx)
				}}
				log := &logBuffer{}
				provider := newProvider(t, p, func(c *flyext.Config) { unsigned(c); c.Timeout = tt.timeout; c.Logger = log.logger() })
				start := time.Now()
				w := do(provider, fetchRequest("x1"))
				if w.Code != 504 || readAnswer(t, w).Error != "timeout" {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
				if took := time.Since(start); took != tt.want {
					t.Errorf("answered after %v, want %v", took, tt.want)
				}
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if !strings.Contains(log.text(), `"code":"timeout"`) {
					t.Errorf("the log lacks the code timeout: %s", log.text())
				}
			})
		})
	}
}

func TestSlowCallIsLogged(t *testing.T) {
	t.Parallel()
	for took, logged := range map[time.Duration]bool{5 * time.Second: false, 5*time.Second + 1: true} {
		synctest.Test(t, func(t *testing.T) {
			p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
				time.Sleep(took) // on the fake clock of synctest
				return &flyext.Extension{}, nil
			}}
			log := &logBuffer{}
			provider := newProvider(t, p, func(c *flyext.Config) { unsigned(c); c.Logger = log.logger() })
			if w := do(provider, fetchRequest("x1")); w.Code != 200 {
				t.Errorf("got %d %s, want 200", w.Code, w.Body)
			}
			if got := strings.Contains(log.text(), `"msg":"slow call"`); got != logged {
				t.Errorf("a call of %v is logged as slow: %t, want %t; log: %s", took, got, logged, log.text())
			}
			if logged && !strings.Contains(log.text(), `"extension_id":"x1"`) {
				t.Errorf("the record has no extension id: %s", log.text())
			}
		})
	}
}

func TestCallerHangsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sawCancel atomic.Bool
		p := &testProvisioner{fetch: func(ctx context.Context, _ string) (*flyext.Extension, error) {
			select {
			case <-ctx.Done():
				sawCancel.Store(true)
			case <-time.After(time.Second):
			}
			return &flyext.Extension{}, nil
		}}
		ctx, hangUp := context.WithCancel(t.Context())
		hangUp()
		w := do(newProvider(t, p, unsigned), fetchRequest("x1").WithContext(ctx))
		if sawCancel.Load() || w.Code != 200 {
			t.Errorf("the call was cancelled when the client disconnected: got %d %s", w.Code, w.Body)
		}
	})
}

func TestContextOfTheCaller(t *testing.T) {
	t.Parallel()
	type key struct{}
	p := &testProvisioner{fetch: func(ctx context.Context, _ string) (*flyext.Extension, error) {
		if ctx.Value(key{}) != "kept" {
			t.Error("a value of the caller's context is lost")
		}
		return &flyext.Extension{Name: flyext.RequestID(ctx)}, nil
	}}
	w := do(newProvider(t, p, unsigned), fetchRequest("x1").WithContext(context.WithValue(t.Context(), key{}, "kept")))
	id := w.Header().Get("X-Request-Id")
	if id == "" || !strings.Contains(w.Body.String(), `"name":"`+id+`"`) {
		t.Errorf("the header has the request id %q, but the context has not; body %s", id, w.Body)
	}
	if flyext.RequestID(t.Context()) != "" {
		t.Error("a context without a request has a request id")
	}
}

func TestCallsForOneIDNeverOverlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running, calls, others atomic.Int64
		p := &testProvisioner{}
		work := func(id string) {
			if id == "other" {
				others.Add(1)
				return
			}
			if running.Add(1) != 1 {
				t.Error("two calls for one id at once")
			}
			time.Sleep(100 * time.Millisecond) // on the fake clock of synctest
			running.Add(-1)
			calls.Add(1)
		}
		p.provision = func(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
			work(r.ID)
			return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
		}
		p.update = func(_ context.Context, id string, _ *flyext.UpdateRequest) (*flyext.Extension, error) {
			work(id)
			return &flyext.Extension{}, nil
		}
		p.fetch = func(_ context.Context, id string) (*flyext.Extension, error) {
			work(id)
			return &flyext.Extension{}, nil
		}
		p.deprovision = func(_ context.Context, id string) error { work(id); return nil }
		provider := newProvider(t, p, unsigned)
		var wg sync.WaitGroup
		for range 5 {
			for _, r := range []*http.Request{
				httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(minimal)),
				httptest.NewRequest("PATCH", "/flyio/extensions/x1", strings.NewReader("{}")),
				fetchRequest("x1"),
				httptest.NewRequest("DELETE", "/flyio/extensions/x1", nil),
				fetchRequest("other"),
			} {
				wg.Go(func() {
					if w := do(provider, r); w.Code != 200 {
						t.Errorf("got %d %s, want 200", w.Code, w.Body)
					}
				})
			}
		}
		synctest.Wait()
		if others.Load() != 5 {
			t.Errorf("%d of 5 calls for another id ran while the first id was busy", others.Load())
		}
		wg.Wait()
		if calls.Load() != 20 {
			t.Errorf("%d calls, want 20", calls.Load())
		}
	})
}

// A call that ignores its context keeps its request waiting and its id locked. Other
// requests for that id get 504 at their own deadlines.
func TestHangingCallKeepsItsID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int64
		p := &testProvisioner{fetch: func(_ context.Context, id string) (*flyext.Extension, error) {
			if id == "x2" {
				return &flyext.Extension{}, nil
			}
			if running.Add(1) != 1 {
				t.Error("two calls for one id at once")
			}
			time.Sleep(time.Minute) // on the fake clock of synctest
			running.Add(-1)
			return &flyext.Extension{}, nil
		}}
		provider := newProvider(t, p, unsigned)
		var all sync.WaitGroup
		all.Go(func() {
			start := time.Now()
			if w := do(provider, fetchRequest("x1")); w.Code != 200 || time.Since(start) != time.Minute {
				t.Errorf("the first request got %d after %v", w.Code, time.Since(start))
			}
		})
		synctest.Wait()
		for range 1000 {
			all.Go(func() {
				start := time.Now()
				if w := do(provider, fetchRequest("x1")); w.Code != 504 || time.Since(start) != 25*time.Second {
					t.Errorf("another request got %d after %v", w.Code, time.Since(start))
				}
			})
		}
		all.Go(func() {
			if w := do(provider, fetchRequest("x2")); w.Code == 504 {
				t.Error("a request for another id timed out")
			}
		})
		all.Wait()
		if got := strings.Count(strings.Join(p.recorded(), " "), "x1"); got != 1 {
			t.Errorf("%d calls for x1, want 1", got)
		}
		if w := do(provider, fetchRequest("x1")); w.Code != 200 {
			t.Errorf("the id is still locked: %s", w.Body)
		}
	})
}

func TestPanic(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func()
		log  string
	}{
		{"an error", func() { panic(errors.New("lost")) }, "panic: lost"},
		{"an index", func() { _ = os.Args[len(os.Args)] }, "out of range"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
				tt.do()
				return nil, nil
			}}
			log := &logBuffer{}
			provider := newProvider(t, p, func(c *flyext.Config) { unsigned(c); c.Logger = log.logger() })
			for range 2 { // the second request shows that the id is unlocked
				w := do(provider, fetchRequest("x1"))
				if got := (answer{"internal", "Internal Server Error"}); w.Code != 500 || readAnswer(t, w) != got {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
			}
			if !strings.Contains(log.text(), tt.log) {
				t.Errorf("the log lacks %q: %s", tt.log, log.text())
			}
			if !strings.Contains(log.text(), "call_test.go") {
				t.Errorf("the log has no stack: %s", log.text())
			}
		})
	}
}

// A nil pointer in an error interface is an error. It gets an answer and does not
// break the connection.
func TestNilErrorPointer(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"a nil *flyext.Error": (*flyext.Error)(nil), "<nil>": (*lost)(nil)} {
		p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) { return nil, err }}
		log := &logBuffer{}
		w := do(newProvider(t, p, func(c *flyext.Config) { unsigned(c); c.Logger = log.logger() }), fetchRequest("x1"))
		if got := (answer{"internal", "Internal Server Error"}); w.Code != 500 || readAnswer(t, w) != got {
			t.Errorf("%s from the Provisioner: got %d %s", name, w.Code, w.Body)
		}
		if !strings.Contains(log.text(), `"error":"`+name+`"`) {
			t.Errorf("%s from the Provisioner: log %s", name, log.text())
		}

		log = &logBuffer{}
		w = do(newProvider(t, p, func(c *flyext.Config) { c.Verifier, c.Logger = failing{err}, log.logger() }), fetchRequest("x1"))
		if w.Code != 401 || readAnswer(t, w).Error != "unauthenticated" {
			t.Errorf("%s from the Verifier: got %d %s", name, w.Code, w.Body)
		}
	}
}

// lost is an error whose Error method panics on a nil pointer.
type lost struct{ what string }

func (e *lost) Error() string { return e.what }

// failing is a Verifier that returns an error.
type failing struct{ err error }

func (f failing) Verify(context.Context, *flyext.Message) (flyext.Verification, error) {
	return flyext.Verification{}, f.err
}

// panicking is a Verifier and a ReplayStore that panics.
type panicking struct{ v any }

func (p panicking) Verify(context.Context, *flyext.Message) (flyext.Verification, error) { panic(p.v) }
func (p panicking) Use(context.Context, flyext.Nonce) (bool, error)                      { panic(p.v) }

func TestPanicBeforeTheCall(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*flyext.Config){
		"in the verifier":     func(c *flyext.Config) { c.Verifier = panicking{"lost"} },
		"in the replay store": func(c *flyext.Config) { c.ReplayStore = panicking{"lost"} },
	} {
		log := &logBuffer{}
		config := flyext.Config{BaseURL: testBase, Verifier: flyext.XSignature(testSecret), Logger: log.logger()}
		change(&config)
		auth, err := flyext.NewAuthenticator(config)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []http.Handler{
			newProvider(t, &testProvisioner{}, func(c *flyext.Config) { *c = config }),
			auth.Handler(http.NotFoundHandler()),
		} {
			w := do(h, xsigned("GET", "/flyio/extensions/x1", ""))
			if got := (answer{"internal", "Internal Server Error"}); w.Code != 500 || readAnswer(t, w) != got {
				t.Errorf("%s: got %d %s", name, w.Code, w.Body)
			}
		}
		if strings.Count(log.text(), "panic: lost") != 2 || !strings.Contains(log.text(), "call_test.go") {
			t.Errorf("%s: the log does not have two panics with a stack: %s", name, log.text())
		}
	}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v, want http.ErrAbortHandler", v)
		}
	}()
	do(newProvider(t, &testProvisioner{}, func(c *flyext.Config) { c.Verifier = panicking{http.ErrAbortHandler} }), fetchRequest("x1"))
	t.Error("the handler returned, want a panic with http.ErrAbortHandler")
}

// The time that a request waits for another call counts as part of a slow call,
// because Fly.io's own timeout includes it.
func TestWaitForAnotherCallIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
			time.Sleep(4 * time.Second) // on the fake clock of synctest
			return &flyext.Extension{}, nil
		}}
		log := &logBuffer{}
		provider := newProvider(t, p, func(c *flyext.Config) { unsigned(c); c.Logger = log.logger() })
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { do(provider, fetchRequest("x1")) })
		}
		wg.Wait()
		if got := strings.Count(log.text(), `"msg":"slow call"`); got != 1 {
			t.Errorf("%d records of a slow call, want 1: %s", got, log.text())
		}
	})
}

func TestAbortHandlerPasses(t *testing.T) {
	t.Parallel()
	p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) { panic(http.ErrAbortHandler) }}
	provider := newProvider(t, p, unsigned)
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v, want http.ErrAbortHandler", v)
		}
	}()
	do(provider, fetchRequest("x1"))
	t.Error("the handler returned, want a panic with http.ErrAbortHandler")
}
