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

// An observer keeps what Config.Observe is called with.
type observer struct {
	mu  sync.Mutex
	all []flyext.Outcome
}

func (o *observer) observe(_ context.Context, outcome flyext.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, outcome)
}

// one returns the outcome of the only request.
func (o *observer) one(t testing.TB) flyext.Outcome {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.all) != 1 {
		t.Fatalf("Observe was called %d times: %+v", len(o.all), o.all)
	}
	return o.all[0]
}

// wantOutcome compares an outcome with the wanted one. Err is compared with
// errors.Is; durations, the request id and the stack are not compared.
func wantOutcome(t testing.TB, got, want flyext.Outcome) {
	t.Helper()
	if want.Err == nil && got.Err != nil && want.Code == "" || want.Err != nil && !errors.Is(got.Err, want.Err) {
		t.Errorf("Err is %v, want %v", got.Err, want.Err)
	}
	if want.Code != "" && got.Err == nil {
		t.Error("Err is nil, although the request failed")
	}
	if (got.Panic == nil) != (got.Stack == nil) {
		t.Errorf("Panic is %v, and Stack is %q", got.Panic, got.Stack)
	}
	if got.Duration < got.ProvisionerDuration {
		t.Errorf("Duration %v is shorter than ProvisionerDuration %v", got.Duration, got.ProvisionerDuration)
	}
	got.Err, got.RequestID, got.Duration, got.ProvisionerDuration, got.Stack = want.Err, "", 0, 0, nil
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// everything is a Provisioner with each capability.
type everything struct {
	listener
	lister lister
}

func (e *everything) List(ctx context.Context, organization string) ([]*flyext.Extension, error) {
	return e.lister.List(ctx, organization)
}

var errOfTheService = errors.New("the disk is full")

// Observe is called once per request, after the answer is written, with what
// happened to it.
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
		{name: "sign-on that is not offered", request: unsignedRequest("GET", "/flyio/extensions/x1/sso"),
			want: flyext.Outcome{Route: "/extensions/{id}/sso", Method: "GET", Status: 501, Code: flyext.CodeUnsupported}},
		{name: "no such route", request: xsigned("POST", "/flyio/secret-path", minimal),
			want: flyext.Outcome{Status: 404, Code: flyext.CodeRouteNotFound}},
		{name: "no such route and a strange method", request: unsignedRequest("BREW", "/flyio/coffee"),
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
		{name: "a verifier of the service that panics", request: unsignedRequest("GET", "/flyio/extensions/x1"),
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
						t.Error("Observe is called before the answer is written")
					}
					if flyext.RequestID(ctx) != "" && flyext.RequestID(ctx) != o.RequestID {
						t.Error("the context has another request id")
					}
					seen.observe(ctx, o)
				}
			}).ServeHTTP(w, c.request)
			got := seen.one(t)
			if got.RequestID == "" || got.RequestID != w.Header().Get("X-Request-Id") {
				t.Errorf("RequestID is %q, and the answer has %q", got.RequestID, w.Header().Get("X-Request-Id"))
			}
			if w.Code != got.Status {
				t.Errorf("the answer has the status %d", w.Code)
			}
			wantOutcome(t, got, c.want)
		})
	}
}

// verifierOf is a Verifier of the service's own.
type verifierOf func() (flyext.Verification, error)

func (f verifierOf) Verify(context.Context, *flyext.Message) (flyext.Verification, error) { return f() }

// brokenStore is a replay store that is out of reach.
type brokenStore struct{}

func (brokenStore) Use(context.Context, flyext.Nonce) (bool, error) { return false, errOfTheService }

// xsignedEvent is an event in structured mode.
func xsignedEvent(t testing.TB, id string) *http.Request {
	t.Helper()
	r := xsigned("POST", testEvents, envelope(id))
	r.Header.Set("Content-Type", "application/cloudevents+json")
	return r
}

// Each reason of a refusal is found in Outcome.Err, with the same 401 for all.
// elsewhere is a request to another host.
func elsewhere(w *wireRequest) *wireRequest {
	w.host = "other-provider.test"
	return w
}

func TestObserveReasons(t *testing.T) {
	t.Parallel()
	other := func(w *wireRequest) { w.target = "/flyio/extensions/x2" + w.target[strings.Index(w.target, "?"):] }
	get := func() *wireRequest { return newGet(signedQuery("/flyio/extensions/x1")) }
	for _, c := range []struct {
		name    string
		request *wireRequest
		after   time.Duration
		want    error
	}{
		{"unsigned", get(), 0, flyext.ErrUnsigned},
		{"another secret", get().signedWith("another").xSignature(), 0, flyext.ErrSignatureMismatch},
		{"two hours old", get().xSignature(), 2 * time.Hour, flyext.ErrStale},
		{"from the future", get().xSignature(), -2 * time.Hour, flyext.ErrFuture},
		{"another URL", get().xSignature().tampered(other), 0, flyext.ErrURLMismatch},
		{"message signature: another secret", newGet(extensionPath).signedWith("another").rfc9421(), 0, flyext.ErrSignatureMismatch},
		{"message signature: an unknown key", newGet(extensionPath).signRFC9421("s", `"@method" "@target-uri"`, `;created=1700000000;keyid="unknown"`), 0, flyext.ErrUnknownKey},
		{"message signature: two hours old", newGet(extensionPath).rfc9421(), 2 * time.Hour, flyext.ErrStale},
		{"message signature: from the future", newGet(extensionPath).rfc9421(), -2 * time.Hour, flyext.ErrFuture},
		{"message signature: the signature has expired", newGet(extensionPath).signRFC9421("s", `"@method" "@target-uri"`, rfcParams(signingTime)+";expires=1600000000"), 0, flyext.ErrStale},
		{"message signature: another host", elsewhere(newGet(extensionPath)).signRFC9421("s", `"@method" "@target-uri"`, rfcParams(signingTime)), 0, flyext.ErrURLMismatch},
		{"message signature: nothing of the target", newGet(extensionPath).signRFC9421("s", `"@method"`, rfcParams(signingTime)), 0, flyext.ErrUncovered},
		{"an unsigned body", get().xSignature().tampered(func(w *wireRequest) { w.body = "{}" }), 0, flyext.ErrUncovered},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var seen observer
			p := newProvider(t, &testProvisioner{}, func(config *flyext.Config) {
				config.Verifier, config.Observe = flyext.AnyOf(flyext.XSignature(signingSecret), flyext.MessageSignature(signingKey)), seen.observe
				config.Now = func() time.Time { return time.Unix(signingTime, 0).Add(c.after) }
			})
			do(p, c.request.request(t))
			wantOutcome(t, seen.one(t), flyext.Outcome{Route: "/extensions/{id}", Method: "GET", Status: 401,
				Code: flyext.CodeUnauthenticated, Err: c.want})
		})
	}
}

// A copy of a request, and of an event whose signature has no time, is a replay.
func TestObserveReplay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		first, copy *wireRequest
		route       string
		want        flyext.Outcome
	}{
		{"a request", newPost().xSignature(), newPost().xSignature(), "/extensions", flyext.Outcome{}},
		{"an event without a time", undatedEvent("e1"), undatedEvent("e2"), "/extensions/events",
			flyext.Outcome{Generation: flyext.Generation2, Verifier: "x-signature"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var seen observer
			p := newProvider(t, &everything{}, func(config *flyext.Config) {
				config.Verifier, config.Observe = flyext.AnyOf(flyext.XSignature(signingSecret), flyext.MessageSignature(signingKey)), seen.observe
				config.Now = func() time.Time { return time.Unix(signingTime, 0) }
			})
			if w := do(p, c.first.request(t)); w.Code != 200 || seen.one(t).Replay != flyext.ReplayFresh {
				t.Fatalf("the first: got %d %s, %+v", w.Code, w.Body, seen.all)
			}
			seen.all = nil
			do(p, c.copy.request(t))
			c.want.Route, c.want.Method, c.want.Status, c.want.Code = c.route, "POST", 401, flyext.CodeUnauthenticated
			c.want.Replay, c.want.Err = flyext.ReplayRepeated, flyext.ErrReplayed
			wantOutcome(t, seen.one(t), c.want)
		})
	}
}

// undatedEvent is an event in binary mode whose body has no parameters of the signature.
func undatedEvent(id string) *wireRequest {
	w := &wireRequest{method: "POST", target: testEvents, host: "logjam.test", body: recordedData, header: http.Header{}}
	w.set("Content-Type", "application/json").set("Ce-Id", id).set("Ce-Source", "https://api.fly.io/v1")
	return w.set("Ce-Type", "io.fly.machine.starting").set("Ce-Specversion", "1.0").xSignature()
}

// The durations are the whole request's, and the Provisioner's part of it.
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

// A panic of Observe, of whichever value, is logged and harms no answer.
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
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if strings.Count(log.text(), "Config.Observe panicked") != 1 || !strings.Contains(log.text(), "TestObservePanics") {
				t.Errorf("the log has no record with a stack: %s", log.text())
			}
		})
	}
}

// http.ErrAbortHandler passes, is no panic to report, and is observed.
func TestObserveAbort(t *testing.T) {
	t.Parallel()
	var seen observer
	p := newProvider(t, &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
		panic(http.ErrAbortHandler)
	}}, func(c *flyext.Config) { c.Observe = seen.observe })
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("recovered %v", v)
			}
		}()
		do(p, xsigned("GET", "/flyio/extensions/x1", ""))
	}()
	wantOutcome(t, seen.one(t), flyext.Outcome{Route: "/extensions/{id}", Method: "GET", ExtensionID: "x1",
		Generation: flyext.Generation2, Verifier: "x-signature", Replay: flyext.ReplayFresh, Err: http.ErrAbortHandler})
}

// panickingWriter is a middleware's writer with a defect.
type panickingWriter struct{ http.ResponseWriter }

func (panickingWriter) WriteHeader(int) { panic("in the middleware") }

// A panic outside the service's methods is observed with its stack, and passes.
func TestObservePanicOfTheWriter(t *testing.T) {
	t.Parallel()
	var seen observer
	p := newProvider(t, &testProvisioner{}, func(c *flyext.Config) { c.Observe = seen.observe })
	func() {
		defer func() {
			if v := recover(); v != "in the middleware" {
				t.Errorf("recovered %v", v)
			}
		}()
		p.ServeHTTP(panickingWriter{httptest.NewRecorder()}, xsigned("GET", "/flyio/extensions/x1", ""))
	}()
	if o := seen.one(t); o.Panic != "in the middleware" || !strings.Contains(string(o.Stack), "panickingWriter") {
		t.Errorf("got %v, %s", o.Panic, o.Stack)
	}
}

// The request of a client that hung up is finished and observed, under a context
// that has not ended and has the values of the request's.
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
				t.Errorf("the context is over (%v) or without the request's values", ctx.Err())
			}
			seen.observe(ctx, o)
		}
	})
	do(p, xsigned("GET", "/flyio/extensions/x1", "").WithContext(ctx))
	wantOutcome(t, seen.one(t), flyext.Outcome{Route: "/extensions/{id}", Method: "GET", Status: 200, ExtensionID: "x1",
		Generation: flyext.Generation2, Verifier: "x-signature", Replay: flyext.ReplayFresh})
}

// Observe does not keep net/http from closing the connection after a body that is
// too large, or its sender could go on.
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
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil { // without the check the server waits for more
		t.Fatal(err)
	}
	// The chunks never end, so that the length is not announced.
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

// The kind of signature is named after what admitted the request.
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
		{"one", named("a", 1), "a"},
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
