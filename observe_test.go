package flyext_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
)

// An observer keeps the outcomes of its calls as Config.Observe.
type observer struct {
	mu  sync.Mutex
	all []flyext.Outcome
}

func (o *observer) observe(_ context.Context, outcome flyext.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, outcome)
}

// one returns the outcome of the only observed request.
func (o *observer) one(t testing.TB) flyext.Outcome {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.all) != 1 {
		t.Fatalf("Observe was called %d times, want once: %+v", len(o.all), o.all)
	}
	return o.all[0]
}

// wantOutcome compares an outcome with the expected one. It compares Err with errors.Is
// and ignores the durations, the request id and the stack.
func wantOutcome(t testing.TB, got, want flyext.Outcome) {
	t.Helper()
	if want.Err == nil && got.Err != nil && want.Code == "" || want.Err != nil && !errors.Is(got.Err, want.Err) {
		t.Errorf("Err is %v, want %v", got.Err, want.Err)
	}
	if want.Code != "" && got.Err == nil {
		t.Error("Err is nil, although the request failed")
	}
	if (got.Panic == nil) != (got.Stack == nil) {
		t.Errorf("Panic is %v and Stack is %q, want both or neither", got.Panic, got.Stack)
	}
	if got.Duration < got.ProvisionerDuration {
		t.Errorf("Duration %v is shorter than ProvisionerDuration %v", got.Duration, got.ProvisionerDuration)
	}
	got.Err, got.RequestID, got.Duration, got.ProvisionerDuration, got.Stack = want.Err, "", 0, 0, nil
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// everything is a Provisioner with every optional capability.
type everything struct {
	listener
	lister lister
}

func (e *everything) List(ctx context.Context, organization string) ([]*flyext.Extension, error) {
	return e.lister.List(ctx, organization)
}

var errOfTheService = errors.New("the disk is full")

// Observe is called once per request, after the answer is written.
func TestObserve(t *testing.T) {
	t.Parallel()
	const x, fresh = "x-signature", flyext.ReplayFresh
	admitted := func(o flyext.Outcome) flyext.Outcome {
		o.Generation, o.Verifier, o.Replay = flyext.Generation2, x, fresh
		return o
	}
	unsignedRequest := func(method, target string) *http.Request {
		return httptest.NewRequest(method, target, strings.NewReader(minimal))
	}
	large := func() *http.Request {
		return xsigned("POST", "/flyio/extensions", `{"id":"`+strings.Repeat("a", 2<<20)+`"}`)
	}
	for _, c := range []struct {
		name    string
		change  func(*everything)
		config  func(*flyext.Config)
		request *http.Request
		want    flyext.Outcome
	}{
		{name: "provision", request: xsigned("POST", "/flyio/extensions", minimal),
			want: admitted(flyext.Outcome{Route: "/extensions", Method: "POST", Status: 200, ExtensionID: "x1"})},
		{name: "update", request: xsigned("PATCH", "/flyio/extensions/a%2Fb", "{}"),
			want: admitted(flyext.Outcome{Route: "/extensions/{id}", Method: "PATCH", Status: 200, ExtensionID: "a/b"})},
		{name: "fetch", request: xsigned("GET", "/flyio/extensions/x1", ""),
			want: admitted(flyext.Outcome{Route: "/extensions/{id}", Method: "GET", Status: 200, ExtensionID: "x1"})},
		{name: "deprovision", request: xsigned("DELETE", "/flyio/extensions/x1", ""),
			want: admitted(flyext.Outcome{Route: "/extensions/{id}", Method: "DELETE", Status: 200, ExtensionID: "x1"})},
		{name: "list", request: xsigned("GET", "/flyio/organizations/o1/extensions", ""),
			want: admitted(flyext.Outcome{Route: "/organizations/{organization_id}/extensions", Method: "GET", Status: 200})},
		{name: "event", request: xsignedEvent(t, "e1"),
			want: admitted(flyext.Outcome{Route: "/extensions/events", Method: "POST", Status: 200})},
		{name: "sign-on that is not configured", request: unsignedRequest("GET", "/flyio/extensions/x1/sso"),
			want: flyext.Outcome{Route: "/extensions/{id}/sso", Method: "GET", Status: 501, Code: flyext.CodeUnsupported}},
		{name: "no such route", request: xsigned("POST", "/flyio/secret-path", minimal),
			want: flyext.Outcome{Status: 404, Code: flyext.CodeRouteNotFound}},
		{name: "no such route and no such method", request: unsignedRequest("BREW", "/flyio/coffee"),
			want: flyext.Outcome{Status: 404, Code: flyext.CodeRouteNotFound}},
		{name: "no such method", request: xsigned("BREW", "/flyio/extensions/x1", ""),
			want: flyext.Outcome{Route: "/extensions/{id}", Status: 405, Code: flyext.CodeMethodNotAllowed}},
		{name: "no such method of the sign-on", request: unsignedRequest("BREW", "/flyio/callback"),
			want: flyext.Outcome{Route: "/callback", Status: 405, Code: flyext.CodeMethodNotAllowed}},
		{name: "unsigned", request: unsignedRequest("DELETE", "/flyio/extensions/x1"),
			want: flyext.Outcome{Route: "/extensions/{id}", Method: "DELETE", Status: 401, Code: flyext.CodeUnauthenticated, Err: flyext.ErrUnsigned}},
		{name: "too large", request: large(),
			want: flyext.Outcome{Route: "/extensions", Method: "POST", Status: 413, Code: flyext.CodeBodyTooLarge}},
		{name: "a body without id", request: xsigned("POST", "/flyio/extensions", `{"organization_id":"o1"}`),
			want: admitted(flyext.Outcome{Route: "/extensions", Method: "POST", Status: 422, Code: flyext.CodeInvalidField})},
		{name: "an error of the service", request: xsigned("GET", "/flyio/extensions/x1", ""),
			change: func(e *everything) {
				e.fetch = func(context.Context, string) (*flyext.Extension, error) { return nil, errOfTheService }
			},
			want: admitted(flyext.Outcome{Route: "/extensions/{id}", Method: "GET", Status: 500, Code: flyext.CodeInternal,
				ExtensionID: "x1", Err: errOfTheService})},
		{name: "a panic of the service", request: xsigned("GET", "/flyio/extensions/x1", ""),
			change: func(e *everything) {
				e.fetch = func(context.Context, string) (*flyext.Extension, error) { panic("at the disk") }
			},
			want: admitted(flyext.Outcome{Route: "/extensions/{id}", Method: "GET", Status: 500, Code: flyext.CodeInternal,
				ExtensionID: "x1", Panic: "at the disk"})},
		{name: "a panic of the receiver of events", request: xsignedEvent(t, "e2"),
			change: func(e *everything) {
				e.receive = func(context.Context, *flyext.Event) error { panic("at the queue") }
			},
			want: admitted(flyext.Outcome{Route: "/extensions/events", Method: "POST", Status: 500, Code: flyext.CodeInternal,
				Panic: "at the queue"})},
		{name: "a panic of a custom verifier", request: unsignedRequest("GET", "/flyio/extensions/x1"),
			config: func(c *flyext.Config) {
				c.Verifier = verifierOf(func() (flyext.Verification, error) { panic("at the key") })
			},
			want: flyext.Outcome{Route: "/extensions/{id}", Method: "GET", Status: 500, Code: flyext.CodeInternal, Panic: "at the key"}},
		{name: "a replay store that fails", request: xsigned("GET", "/flyio/extensions/x1", ""),
			config: func(c *flyext.Config) { c.ReplayStore = brokenStore{} },
			want: flyext.Outcome{Route: "/extensions/{id}", Method: "GET", Status: 503, Code: flyext.CodeReplayUnavailable,
				Replay: flyext.ReplayUnavailable, Err: errOfTheService}},
		{name: "a deadline", request: xsigned("GET", "/flyio/extensions/x1", ""),
			change: func(e *everything) {
				e.fetch = func(context.Context, string) (*flyext.Extension, error) { return nil, context.DeadlineExceeded }
			},
			want: admitted(flyext.Outcome{Route: "/extensions/{id}", Method: "GET", Status: 504, Code: flyext.CodeTimeout,
				ExtensionID: "x1", Err: context.DeadlineExceeded})},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var seen observer
			w := httptest.NewRecorder()
			e := &everything{}
			if c.change != nil {
				c.change(e)
			}
			newProvider(t, e, func(config *flyext.Config) {
				if c.config != nil {
					c.config(config)
				}
				config.Observe = func(ctx context.Context, o flyext.Outcome) {
					if w.Body.Len() == 0 {
						t.Error("Observe was called before the answer was written")
					}
					if flyext.RequestID(ctx) != "" && flyext.RequestID(ctx) != o.RequestID {
						t.Error("the context and the outcome have different request ids")
					}
					seen.observe(ctx, o)
				}
			}).ServeHTTP(w, c.request)
			got := seen.one(t)
			if got.RequestID == "" || got.RequestID != w.Header().Get("X-Request-Id") {
				t.Errorf("RequestID is %q, but the answer has %q", got.RequestID, w.Header().Get("X-Request-Id"))
			}
			if w.Code != got.Status {
				t.Errorf("the answer has the status %d, but the outcome has %d", w.Code, got.Status)
			}
			wantOutcome(t, got, c.want)
		})
	}
}

// verifierOf is a custom Verifier.
type verifierOf func() (flyext.Verification, error)

func (f verifierOf) Verify(context.Context, *flyext.Message) (flyext.Verification, error) { return f() }

// brokenStore is a replay store whose calls fail.
type brokenStore struct{}

func (brokenStore) Use(context.Context, flyext.Nonce) (bool, error) { return false, errOfTheService }

// xsignedEvent returns a signed event in structured mode.
func xsignedEvent(t testing.TB, id string) *http.Request {
	t.Helper()
	r := xsigned("POST", testEvents, envelope(id))
	r.Header.Set("Content-Type", "application/cloudevents+json")
	return r
}

// Duration is the time of the whole request, ProvisionerDuration that of the
// Provisioner.
func TestObserveDurations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen observer
		p := newProvider(t, &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
			time.Sleep(3 * time.Second)
			return &flyext.Extension{}, nil
		}}, func(c *flyext.Config) {
			c.Verifier = verifierOf(func() (flyext.Verification, error) {
				time.Sleep(2 * time.Second)
				return flyext.Verification{Generation: flyext.Generation2, Verifier: "slow"}, nil
			})
			c.Observe = seen.observe
		})
		do(p, fetchRequest("x1"))
		if o := seen.one(t); o.Duration != 5*time.Second || o.ProvisionerDuration != 3*time.Second || o.Verifier != "slow" {
			t.Errorf("got %+v", o)
		}
	})
}

// The request of a client that disconnects is completed and observed. The context of
// Observe has not ended and has the values of the request's context.
func TestObserveClientGone(t *testing.T) {
	t.Parallel()
	type traceKey struct{}
	var seen observer
	ctx, leave := context.WithCancel(context.WithValue(t.Context(), traceKey{}, "a span"))
	p := newProvider(t, &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
		leave()
		return &flyext.Extension{}, nil
	}}, func(c *flyext.Config) {
		c.Observe = func(ctx context.Context, o flyext.Outcome) {
			if ctx.Err() != nil || ctx.Value(traceKey{}) != "a span" {
				t.Errorf("the context has ended (%v) or lacks the values of the request's context", ctx.Err())
			}
			seen.observe(ctx, o)
		}
	})
	do(p, xsigned("GET", "/flyio/extensions/x1", "").WithContext(ctx))
	wantOutcome(t, seen.one(t), flyext.Outcome{Route: "/extensions/{id}", Method: "GET", Status: 200, ExtensionID: "x1",
		Generation: flyext.Generation2, Verifier: "x-signature", Replay: flyext.ReplayFresh})
}

// With Observe set, net/http still closes the connection after a body that is too
// large. Otherwise the client could send the rest.
func TestObserveTooLargeCloses(t *testing.T) {
	t.Parallel()
	var seen observer
	server := httptest.NewServer(newProvider(t, &testProvisioner{}, func(c *flyext.Config) {
		c.MaxBodyBytes, c.Observe = 16, seen.observe
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil { // a server that does not close would wait for more
		t.Fatal(err)
	}
	// Chunks announce no length of the body.
	io.WriteString(conn, "POST /flyio/extensions HTTP/1.1\r\nHost: logjam.test\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n"+
		strings.Repeat("a", 32)+"\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != 413 || !answer.Close {
		t.Errorf("got %d, close %t", answer.StatusCode, answer.Close)
	}
}

// Outcome.Verifier names the verifier that admitted the request.
func TestObserveVerifier(t *testing.T) {
	t.Parallel()
	named := func(name string, g flyext.Generation, nonces ...flyext.Nonce) flyext.Verifier {
		return verifierOf(func() (flyext.Verification, error) {
			return flyext.Verification{Generation: g, Verifier: name, Nonces: nonces}, nil
		})
	}
	refuses := verifierOf(func() (flyext.Verification, error) { return flyext.Verification{}, flyext.ErrUnsigned })
	nonce := flyext.Nonce{Key: flyext.NonceKey("a test", "1"), Expires: time.Now().Add(time.Minute)}
	for _, c := range []struct {
		name     string
		verifier flyext.Verifier
		want     string
	}{
		{"a custom verifier", named("a", 1), "a"},
		{"a bearer token", flyext.BearerToken("t"), "bearer-token"},
		{"any: the first that accepts", flyext.AnyOf(refuses, named("b", 1), named("c", 2)), "b"},
		{"all: the highest generation", flyext.AllOf(named("a", 1, nonce), named("b", 2), named("c", 1)), "b"},
		{"all: the one with a nonce", flyext.AllOf(named("a", 1), named("b", 1, nonce), named("c", 1)), "b"},
		{"all: the first", flyext.AllOf(named("a", 1), named("b", 1)), "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var seen observer
			r := fetchRequest("x1")
			r.Header.Set("Authorization", "Bearer t")
			do(newProvider(t, &testProvisioner{}, func(config *flyext.Config) {
				config.Verifier, config.Observe = c.verifier, seen.observe
			}), r)
			if o := seen.one(t); o.Status != 200 || o.Verifier != c.want {
				t.Errorf("got %+v, want %s", o, c.want)
			}
		})
	}
}
