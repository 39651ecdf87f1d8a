package flyext_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// elsewhere makes a request one for another host.
func elsewhere(w *wireRequest) *wireRequest {
	w.host = "other-provider.test"
	return w
}

// Outcome.Err has the reason of a refusal, while the answer is always the same 401.
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
		{"message signature: target uncovered", newGet(extensionPath).signRFC9421("s", `"@method"`, rfcParams(signingTime)), 0, flyext.ErrUncovered},
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

// A copy of a request is a replay. So is a copy of an event without a signed time,
// under another id.
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
				t.Fatalf("the first request: got %d %s, %+v", w.Code, w.Body, seen.all)
			}
			seen.all = nil
			do(p, c.copy.request(t))
			c.want.Route, c.want.Method, c.want.Status, c.want.Code = c.route, "POST", 401, flyext.CodeUnauthenticated
			c.want.Replay, c.want.Err = flyext.ReplayRepeated, flyext.ErrReplayed
			wantOutcome(t, seen.one(t), c.want)
		})
	}
}

// undatedEvent returns a signed event in binary mode whose body has no parameters of
// the signature.
func undatedEvent(id string) *wireRequest {
	w := &wireRequest{method: "POST", target: testEvents, host: "logjam.test", body: recordedData, header: http.Header{}}
	w.set("Content-Type", "application/json").set("Ce-Id", id).set("Ce-Source", "https://api.fly.io/v1")
	return w.set("Ce-Type", "io.fly.machine.starting").set("Ce-Specversion", "1.0").xSignature()
}
