package flyext_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

// A panic of Observe with any value is logged and does not affect the answer.
func TestObservePanics(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{"a text": "canary", "http.ErrAbortHandler": http.ErrAbortHandler} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logBuffer
			p := newProvider(t, &testProvisioner{}, func(c *flyext.Config) {
				c.Logger = log.logger()
				c.Observe = func(context.Context, flyext.Outcome) { panic(value) }
			})
			if w := do(p, xsigned("POST", "/flyio/extensions", minimal)); w.Code != 200 {
				t.Errorf("got %d %s, want 200", w.Code, w.Body)
			}
			if strings.Count(log.text(), "Config.Observe panicked") != 1 || !strings.Contains(log.text(), "TestObservePanics") {
				t.Errorf("the log has no record with a stack: %s", log.text())
			}
		})
	}
}

// A panic with http.ErrAbortHandler reaches net/http. The outcome has it as Err, not as
// Panic.
func TestObserveAbort(t *testing.T) {
	t.Parallel()
	var seen observer
	p := newProvider(t, &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
		panic(http.ErrAbortHandler)
	}}, func(c *flyext.Config) { c.Observe = seen.observe })
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("recovered %v, want http.ErrAbortHandler", v)
			}
		}()
		do(p, xsigned("GET", "/flyio/extensions/x1", ""))
	}()
	wantOutcome(t, seen.one(t), flyext.Outcome{Route: "/extensions/{id}", Method: "GET", ExtensionID: "x1",
		Generation: flyext.Generation2, Verifier: "x-signature", Replay: flyext.ReplayFresh, Err: http.ErrAbortHandler})
}

// panickingWriter is a ResponseWriter of a faulty middleware.
type panickingWriter struct{ http.ResponseWriter }

func (panickingWriter) WriteHeader(int) { panic("in the middleware") }

// A panic outside the service's methods is observed with its stack and reaches
// net/http.
func TestObservePanicOfTheWriter(t *testing.T) {
	t.Parallel()
	var seen observer
	p := newProvider(t, &testProvisioner{}, func(c *flyext.Config) { c.Observe = seen.observe })
	func() {
		defer func() {
			if v := recover(); v != "in the middleware" {
				t.Errorf("recovered %v, want the panic of the middleware", v)
			}
		}()
		p.ServeHTTP(panickingWriter{httptest.NewRecorder()}, xsigned("GET", "/flyio/extensions/x1", ""))
	}()
	if o := seen.one(t); o.Panic != "in the middleware" || !strings.Contains(string(o.Stack), "panickingWriter") {
		t.Errorf("got the panic %v with the stack %s", o.Panic, o.Stack)
	}
}
