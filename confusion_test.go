package flyext_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// The MAC of an X-Signature does not say whether it is a body's or a query's.
// A customer who names their organization "a&nonce=…&url=…" has a body signed
// that, as the query of a DELETE, names somebody else's extension. net/http
// takes such a request target.
func TestSignedBodyIsNoQuery(t *testing.T) {
	t.Parallel()
	params := url.Values{
		"timestamp": {fmt.Sprint(signingTime)}, "nonce": {"mine"}, "url": {signingBase + "/extensions/victim"},
	}.Encode()
	w := newPost()
	w.body = strings.Replace(signingBody, `"organization_id"`, `"organization_name":"a&`+params+`&b","organization_id"`, 1)
	w.setLength().xSignature()
	config := flyext.Config{
		BaseURL: signingBase, Verifier: flyext.XSignature(signingSecret),
		Now: func() time.Time { return time.Unix(signingTime, 0) },
	}
	p := &testProvisioner{}
	provider, err := flyext.New(p, config)
	if err != nil {
		t.Fatal(err)
	}
	if w := do(provider, w.request(t)); w.Code != http.StatusOK {
		t.Fatalf("the genuine request: %d %s", w.Code, w.Body)
	}
	for _, method := range []string{"GET", "DELETE"} {
		forged := newGet("/flyio/extensions/victim?"+w.body).set("X-Signature", w.header.Get("X-Signature"))
		forged.method = method
		if w := do(provider, forged.request(t)); w.Code != http.StatusUnauthorized {
			t.Errorf("%s with the body for a query: %d %s", method, w.Code, w.Body)
		}
	}
	if calls := p.recorded(); len(calls) != 1 {
		t.Errorf("calls %v", calls)
	}
}

// And a signed query is no body.
func TestSignedQueryIsNoBody(t *testing.T) {
	t.Parallel()
	query := url.Values{
		"timestamp": {fmt.Sprint(signingTime)}, "nonce": {"n1"}, "url": {signingBase + "/extensions/x1"},
	}.Encode()
	get := newGet("/flyio/extensions/x1?" + query).xSignature()
	forged := newPost()
	forged.body = query
	forged.setLength().set("X-Signature", get.header.Get("X-Signature"))
	p := &testProvisioner{}
	provider, err := flyext.New(p, flyext.Config{
		BaseURL: signingBase, Verifier: flyext.XSignature(signingSecret),
		Now: func() time.Time { return time.Unix(signingTime, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if w := do(provider, get.request(t)); w.Code != http.StatusOK {
		t.Fatalf("the genuine request: %d %s", w.Code, w.Body)
	}
	if w := do(provider, forged.request(t)); w.Code < 400 || len(p.recorded()) != 1 {
		t.Errorf("%d %s, calls %v", w.Code, w.Body, p.recorded())
	}
}

// A clock that ran ahead when a message was admitted, and is set right after
// its nonce would have been forgotten, must not admit the message again.
func TestClockStepsBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(signingTime, 0).Add(4*time.Minute + 50*time.Second)
	auth, err := flyext.NewAuthenticator(flyext.Config{
		BaseURL: signingBase, Verifier: flyext.XSignature(signingSecret), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	message := newPost().xSignature()
	wantRefusal(t, auth.Check(message.request(t)), "")
	now = now.Add(80 * time.Second)
	for i := range 3 { // traffic, which clears what has expired
		other := newPost()
		other.body = strings.Replace(strings.Replace(other.body, "n1", fmt.Sprint("other", i), 1),
			fmt.Sprint(signingTime), fmt.Sprint(now.Unix()), 1)
		wantRefusal(t, auth.Check(other.setLength().xSignature().request(t)), "")
	}
	now = now.Add(-5 * time.Minute)
	wantRefusal(t, auth.Check(message.request(t)), "message was used before")
}

// A policy that nobody can fulfil is a mistake to be told at once.
func TestRequireComponentsFailsClosed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "@autority", "@AUTHORITY", "(request-target)", "Authorization", "x y", "@method"} {
		_, err := flyext.NewAuthenticator(flyext.Config{
			BaseURL:  signingBase,
			Verifier: flyext.Policy{RequireComponents: []string{name}}.MessageSignature(signingKey),
		})
		if err == nil {
			t.Errorf("%q is taken for a component", name)
		}
	}
}

func TestVerifyWithoutBaseURL(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]flyext.Verifier{
		"X-Signature": flyext.XSignature(signingSecret), "message signature": flyext.MessageSignature(signingKey),
	} {
		w := newPost().rfc9421().xSignature()
		m := &flyext.Message{
			Method: w.method, Target: w.target, Host: w.host, Header: w.header, Body: []byte(w.body), Now: time.Unix(signingTime, 0),
		}
		if _, err := v.Verify(t.Context(), m); err == nil || !strings.Contains(err.Error(), "BaseURL") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerificationOf(t *testing.T) {
	t.Parallel()
	auth, err := flyext.NewAuthenticator(flyext.Config{BaseURL: signingBase, Verifier: admitAll{flyext.Generation2}})
	if err != nil {
		t.Fatal(err)
	}
	h := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(flyext.VerificationOf(r.Context()).Generation)
	}))
	if w := do(h, httptest.NewRequest("GET", "/flyio/own", nil)); strings.TrimSpace(w.Body.String()) != "2" {
		t.Errorf("got %s", w.Body)
	}
	if v := flyext.VerificationOf(context.Background()); v.Generation != 0 {
		t.Error("a verification out of nothing")
	}
}
