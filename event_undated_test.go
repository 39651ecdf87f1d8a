package flyext_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// published is the body of the event on Fly.io's page. It has no timestamp, no nonce
// and no url.
const published = `{"machine_id":"5683977ad31768","status":"failed","data":{"Error":"image not found","Transition":"prepareImage"}}`

func macOf(content string) string {
	h := hmac.New(sha256.New, []byte(testSecret))
	h.Write([]byte(content))
	return hex.EncodeToString(h.Sum(nil))
}

// undated returns a signed event in binary mode whose body has no parameters of the
// signature.
func undated(body string, fields ...string) *http.Request {
	return binary(body, append([]string{"x-signature", macOf(body)}, fields...)...)
}

func TestUndatedEvent(t *testing.T) {
	t.Parallel()
	l := &listener{}
	provider := newProvider(t, l, nil)
	if w := do(provider, undated(published)); w.Code != 200 {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	events := l.received()
	if len(events) != 1 || !events[0].Undated || events[0].MachineID != "5683977ad31768" || string(events[0].Data) != published {
		t.Fatalf("got %+v", events)
	}
	for _, step := range []struct {
		name     string
		request  *http.Request
		status   int
		received int
	}{
		{"a copy", undated(published), 200, 1},
		{"a copy under another id", undated(published, "ce-id", "e2"), 401, 1},
		{"a copy under another source", undated(published, "ce-source", "evil"), 401, 1},
		{"another event", undated(`{"machine_id":"m2","status":"started"}`, "ce-id", "e3"), 200, 2},
		{"a member of the data by the name of a parameter", undated(`{"machine_id":"m3","timestamp":1}`, "ce-id", "e4"), 200, 3},
		{"in structured mode", signBody(structured(envelope("e5"))), 200, 4},
		{"one byte changed", binary(strings.Replace(published, "failed", "passed", 1), "x-signature", macOf(published)), 401, 4},
		{"with a query", withTarget(undated(`{"machine_id":"m6"}`, "ce-id", "e6"), testEvents+"?a=b"), 401, 4},
		{"a body that is a captured query", undated("timestamp=1700000000&nonce=n&url=https%3A%2F%2Flogjam.test%2Fflyio%2Fextensions%2Fx1", "ce-id", "e7"), 400, 4},
		{"a body that is an array", undated("[]", "ce-id", "e8"), 400, 4},
		{"no body", undated("", "ce-id", "e9"), 400, 4},
		{"an event in structured mode as data", undated(envelope("e10"), "ce-id", "e11"), 400, 4},
	} {
		if w := do(provider, step.request); w.Code != step.status || len(l.received()) != step.received {
			t.Errorf("%s: got %d %s and %d events so far, want %d and %d", step.name, w.Code, w.Body, len(l.received()), step.status, step.received)
		}
	}
}

func signBody(r *http.Request) *http.Request {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.Header.Set("X-Signature", macOf(string(body)))
	return r
}

func withTarget(r *http.Request, target string) *http.Request {
	r.RequestURI = target
	return r
}

// If the data of an event has the parameters of a signature, they are checked.
func TestDatedEventIsChecked(t *testing.T) {
	t.Parallel()
	l := &listener{}
	provider := newProvider(t, l, nil)
	stale := `{"machine_id":"m1","timestamp":1,"nonce":"n","url":"https://logjam.test/flyio/extensions/events"}`
	elsewhere := `{"machine_id":"m1","timestamp":1,"nonce":"n","url":"https://logjam.test/flyio/extensions"}`
	for name, r := range map[string]*http.Request{"stale": undated(stale), "for another URL": undated(elsewhere)} {
		if w := do(provider, r); w.Code != 401 || len(l.received()) != 0 {
			t.Errorf("%s: got %d", name, w.Code)
		}
	}
}

// Only the route for events accepts a signature without a time.
func TestUndatedIsForEventsAlone(t *testing.T) {
	t.Parallel()
	p := &testProvisioner{}
	provider := newProvider(t, p, nil)
	for method, target := range map[string]string{"POST": "/flyio/extensions", "PATCH": "/flyio/extensions/x1"} {
		r := httptest.NewRequest(method, target, strings.NewReader(minimal))
		r.Header.Set("X-Signature", macOf(minimal))
		if w := do(provider, r); w.Code != 401 || len(p.recorded()) != 0 {
			t.Errorf("%s: got %d, calls %v", method, w.Code, p.recorded())
		}
	}
	auth := provider.Authenticator()
	if err := auth.Check(undated(published)); err == nil {
		t.Error("the Authenticator admits an event without a time")
	}
	strict := newProvider(t, &listener{}, func(c *flyext.Config) {
		c.Verifier = flyext.Policy{RequireEventTime: true}.XSignature(testSecret)
	})
	if w := do(strict, undated(published)); w.Code != 401 {
		t.Errorf("with RequireEventTime: got %d, want 401", w.Code)
	}
}

// The retry of an event that failed has the same bytes and is delivered.
func TestUndatedEventIsTriedAgain(t *testing.T) {
	t.Parallel()
	tries := 0
	l := &listener{receive: func(context.Context, *flyext.Event) error {
		if tries++; tries == 1 {
			return errors.New("database is down")
		}
		return nil
	}}
	provider := newProvider(t, l, nil)
	for i, want := range []int{500, 200, 200} {
		if w := do(provider, undated(published)); w.Code != want {
			t.Errorf("try %d: got %d, want %d", i, w.Code, want)
		}
	}
	if tries != 2 {
		t.Errorf("the receiver was called %d times, want 2", tries)
	}
}

// Concurrent copies of an event under different ids are received once.
func TestUndatedCopiesAtOnce(t *testing.T) {
	t.Parallel()
	l := &listener{receive: func(context.Context, *flyext.Event) error { time.Sleep(time.Millisecond); return nil }}
	provider := newProvider(t, l, nil)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { do(provider, undated(published, "ce-id", strings.Repeat("e", i+1))) })
	}
	all.Wait()
	if n := len(l.received()); n != 1 {
		t.Errorf("%d events were received, want 1", n)
	}
}
