package flyext_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
)

// A call never returns, as far as anybody can wait, and a thousand others want the
// same extension: each is answered at its own deadline, none is started, other
// extensions are served, and when the call returns after all, nothing is left of
// it. That no goroutine is, synctest sees to.
func TestThousandWaitForACallThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := &testProvisioner{fetch: func(_ context.Context, id string) (*flyext.Extension, error) {
			if id == "x1" {
				<-release // whatever the context says
			}
			return &flyext.Extension{}, nil
		}}
		provider := newProvider(t, p, unsigned)
		var late atomic.Int64
		var all sync.WaitGroup
		for i := range 1000 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond) // of the bubble's clock
				start := time.Now()
				w := do(provider, fetchRequest("x1"))
				if took := time.Since(start); w.Code != 504 || took != 25*time.Second {
					t.Errorf("got %d after %v", w.Code, took)
				}
				late.Add(1)
			})
		}
		time.Sleep(10 * time.Second)
		if w := do(provider, fetchRequest("other")); w.Code != 200 {
			t.Errorf("another extension: got %d %s", w.Code, w.Body)
		}
		all.Wait()
		if calls := strings.Count(strings.Join(p.recorded(), " "), "x1"); late.Load() != 1000 || calls != 1 {
			t.Errorf("%d were answered for %d calls", late.Load(), calls)
		}
		if w := do(provider, fetchRequest("x1")); w.Code != 504 {
			t.Errorf("the id is free though its call goes on: got %d", w.Code)
		}
		close(release)
		synctest.Wait()
		if w := do(provider, fetchRequest("x1")); w.Code != 200 {
			t.Errorf("the id is still locked: got %d %s", w.Code, w.Body)
		}
	})
}

// What a call returns after its deadline goes to nobody: neither to who asked, who
// has an answer, nor to who waited behind it.
func TestLateAnswerGoesToNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		p := &testProvisioner{provision: func(context.Context, *flyext.ProvisionRequest) (*flyext.Extension, error) {
			n := calls.Add(1)
			if n == 1 {
				time.Sleep(30 * time.Second) // five seconds too late
			}
			return &flyext.Extension{Secrets: flyext.Secrets{"URL": fmt.Sprint("secret-", n)}}, nil
		}}
		provider := newProvider(t, p, unsigned)
		provision := func() *httptest.ResponseRecorder {
			return do(provider, httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(minimal)))
		}
		var behind *httptest.ResponseRecorder
		var waiting sync.WaitGroup
		waiting.Go(func() {
			time.Sleep(10 * time.Second) // its deadline is after the other call's end
			behind = provision()
		})
		first := provision()
		if first.Code != 504 {
			t.Errorf("got %d %s", first.Code, first.Body)
		}
		text := first.Body.String()
		waiting.Wait()
		if behind.Code != 200 || !strings.Contains(behind.Body.String(), "secret-2") {
			t.Errorf("who waited got %d %s", behind.Code, behind.Body)
		}
		if first.Body.String() != text || strings.Contains(text, "secret") {
			t.Errorf("who asked first got %s", first.Body)
		}
	})
}

// A call fails in some other way after its deadline. The process lives on, the log
// says what happened, and the id is free.
func TestFailureAfterTheDeadline(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		fail func()
		log  string
	}{
		{"a panic", func() { panic("too late") }, `"msg":"panic"`},
		{"the end of its goroutine", runtime.Goexit, `"msg":"slow call"`},
		{"an aborted connection", func() { panic(http.ErrAbortHandler) }, `"msg":"slow call"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int64
				p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
					if calls.Add(1) == 1 {
						time.Sleep(time.Minute) // of the bubble's clock
						test.fail()
					}
					return &flyext.Extension{}, nil
				}}
				log := &logBuffer{}
				provider := newProvider(t, p, func(c *flyext.Config) { unsigned(c); c.Logger = log.logger() })
				if w := do(provider, fetchRequest("x1")); w.Code != 504 {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if !strings.Contains(log.text(), test.log) {
					t.Errorf("log: %s", log.text())
				}
				if w := do(provider, fetchRequest("x1")); w.Code != 200 {
					t.Errorf("the id is still locked: got %d %s", w.Code, w.Body)
				}
			})
		})
	}
}

// One of many calls for an extension panics: the others are served, one after the
// other.
func TestPanicWhileOthersWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
			time.Sleep(10 * time.Millisecond) // of the bubble's clock
			if calls.Add(1)%10 == 1 {
				panic("one of ten")
			}
			return &flyext.Extension{}, nil
		}}
		provider := newProvider(t, p, unsigned)
		var answers [600]atomic.Int64
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { answers[do(provider, fetchRequest("x1")).Code].Add(1) })
		}
		all.Wait()
		if ok, failed := answers[200].Load(), answers[500].Load(); ok != 90 || failed != 10 {
			t.Errorf("%d were served and %d failed, want 90 and 10", ok, failed)
		}
	})
}
