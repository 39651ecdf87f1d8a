package flyext_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

var eventKey = flyext.Key{ID: "flyio-signing-secret", Secret: testSecret}

// signedEvent returns an event as a server receives it, signed by Fly.io.
func signedEvent(t *testing.T, signer flytest.Signer, mode flytest.EventMode) *http.Request {
	t.Helper()
	fly := &flytest.Platform{BaseURL: testBase, Signer: signer}
	r, err := fly.NewEventRequest(t.Context(), mode, flyext.Event{ID: "e1", Source: "https://api.fly.io", MachineID: "m1", Status: "failed"})
	if err != nil {
		t.Fatal(err)
	}
	return received(r)
}

// received turns a client's request into the request that the server receives.
func received(r *http.Request) *http.Request {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	in.Host = r.URL.Host
	in.Header.Set("Content-Length", fmt.Sprint(r.ContentLength))
	in.Body, _ = r.GetBody()
	return in
}

// bodyOf returns the body of a request and leaves the request readable.
func bodyOf(t *testing.T, r *http.Request) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	return string(body)
}

// An attacker intercepts an event that Fly.io signed, changes it and sends it on. want
// is the logged reason of the refusal. It is "" if the format does not detect the
// change.
func TestEventAttacks(t *testing.T) {
	t.Parallel()
	set := func(fields ...string) func(*http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(fields); i += 2 {
				if r.Header.Set(fields[i], fields[i+1]); fields[i+1] == "" {
					r.Header.Del(fields[i])
				}
			}
		}
	}
	none := func(*http.Request) {}
	const uncovered = "a header field of the event is not covered"
	rfc, cavage, x := flytest.RFC9421(eventKey), flytest.CavageOptions{CoverDigest: true}.Cavage(eventKey), flytest.XSignature(testSecret)
	uncoveredType := flytest.CavageOptions{CoverDigest: true, Headers: []string{
		"(request-target)", "date", "digest", "ce-id", "ce-source", "ce-specversion", "ce-time", "ce-type",
	}}.Cavage(eventKey)
	bodyAlone := flytest.CavageOptions{CoverDigest: true, Headers: []string{"(request-target)", "date", "digest"}}.Cavage(eventKey)
	for _, test := range []struct {
		name   string
		signer flytest.Signer
		mode   flytest.EventMode
		spoil  func(*http.Request)
		want   string
	}{
		{"rfc9421: another id", rfc, flytest.BinaryMode, set("Ce-Id", "e2"), "MAC does not match"},
		{"rfc9421: no time", rfc, flytest.BinaryMode, set("Ce-Time", ""), "message signature"},
		{"rfc9421: an added attribute", rfc, flytest.BinaryMode, set("Ce-Subject", "m2"), uncovered},
		{"rfc9421: binary as structured", rfc, flytest.BinaryMode, set("Content-Type", "application/cloudevents+json"), "MAC does not match"},
		{"rfc9421: structured as binary", rfc, flytest.StructuredMode, set("Content-Type", "application/json", "Ce-Id", "e2"), "MAC does not match"},
		{"rfc9421: structured, with an added header field", rfc, flytest.StructuredMode, set("Ce-Id", "e2"), uncovered},
		{"rfc9421: a batch as an event", rfc, flytest.BatchedMode, set("Content-Type", "application/cloudevents+json"), "MAC does not match"},
		{"cavage: another id", cavage, flytest.BinaryMode, set("Ce-Id", "e2"), "MAC does not match"},
		{"cavage: an added attribute", cavage, flytest.BinaryMode, set("Ce-Subject", "m2"), uncovered},
		{"cavage: binary as structured", cavage, flytest.BinaryMode, set("Content-Type", "Application/CloudEvents+json"), "MAC does not match"},
		{"cavage: JSON as structured", bodyAlone, flytest.StructuredMode, set("Content-Type", "Application/CloudEvents+json"), uncovered},
		{"cavage: text instead of JSON", cavage, flytest.BinaryMode, set("Content-Type", "text/plain"), "MAC does not match"},
		{"cavage: no type", cavage, flytest.BinaryMode, set("Content-Type", ""), "message signature"},
		{"cavage: an unsigned Content-Type", uncoveredType, flytest.BinaryMode, none, uncovered},
		{"cavage: structured as binary", cavage, flytest.StructuredMode, set("Content-Type", "application/json"), "MAC does not match"},
		{"cavage: structured, with an added header field", cavage, flytest.StructuredMode, set("Ce-Id", "e2"), uncovered},
		{"x-signature: other data", x, flytest.BinaryMode, func(r *http.Request) { flytest.SetBody(r, []byte(`{"machine_id":"m2"}`)) }, "MAC does not match"},
		{"x-signature: to another route", x, flytest.BinaryMode, func(r *http.Request) { r.RequestURI = "/flyio/extensions" }, "message was signed for another URL"},
		{"x-signature: a query", x, flytest.BinaryMode, func(r *http.Request) { r.RequestURI += "?a=b" }, "a query or a body that the MAC does not cover"},
		{"x-signature: another id, in binary mode", x, flytest.BinaryMode, set("Ce-Id", "e2"), ""},
		{"x-signature: another type, in binary mode", x, flytest.BinaryMode, set("Ce-Type", "another"), ""},
		{"unchanged", x, flytest.StructuredMode, none, ""},
		{"unchanged batch", rfc, flytest.BatchedMode, none, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l, log := &listener{}, &logBuffer{}
			provider := newProvider(t, l, func(c *flyext.Config) {
				c.Verifier = flyext.AnyOf(flyext.XSignature(testSecret), flyext.MessageSignature(eventKey))
				c.Logger = log.logger()
			})
			r := signedEvent(t, test.signer, test.mode)
			test.spoil(r)
			w := do(provider, r)
			if test.want == "" {
				if w.Code != 200 || len(l.received()) != 1 {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
				return
			}
			if w.Code != 401 || !strings.Contains(log.text(), test.want) {
				t.Errorf("got %d, log %s", w.Code, log.text())
			}
			wantCalls(t, l, "")
		})
	}
}

// X-Signature does not cover Content-Type. An attacker therefore sends an event signed
// in structured mode as the data of a binary event with attributes of their own. The
// provider refuses it.
func TestStructuredEventIsNoData(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"application/json", "text/plain", "application/octet-stream", ""} {
		l := &listener{}
		r := signedEvent(t, flytest.XSignature(testSecret), flytest.StructuredMode)
		for name, value := range map[string]string{
			"Ce-Id": "e2", "Ce-Source": "https://api.fly.io", "Ce-Type": "another", "Ce-Specversion": "1.0", "Content-Type": contentType,
		} {
			if r.Header.Set(name, value); value == "" {
				r.Header.Del(name)
			}
		}
		if w := do(newProvider(t, l, nil), r); w.Code != 400 || readAnswer(t, w).Error != "malformed_body" {
			t.Errorf("%q: got %d %s", contentType, w.Code, w.Body)
		}
		wantCalls(t, l, "")
	}
}

// The formats of generation 1 sign the attributes, so the data may itself be an event.
func TestEventAsDataOfGeneration1(t *testing.T) {
	t.Parallel()
	l := &listener{}
	provider := newProvider(t, l, func(c *flyext.Config) { c.Verifier = admitAll{flyext.Generation1} })
	if w := do(provider, binary(envelope("e2"))); w.Code != 200 {
		t.Errorf("got %d %s, want 200", w.Code, w.Body)
	}
	wantCalls(t, l, "event e1")
}

// An attacker cannot replay an event that has arrived, even under another id: its nonce
// is spent.
func TestEventReplay(t *testing.T) {
	t.Parallel()
	for name, signer := range map[string]flytest.Signer{"X-Signature": flytest.XSignature(testSecret), "RFC 9421": flytest.RFC9421(eventKey)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, log := &listener{}, &logBuffer{}
			provider := newProvider(t, l, func(c *flyext.Config) {
				c.Verifier = flyext.AnyOf(flyext.XSignature(testSecret), flyext.MessageSignature(eventKey))
				c.Logger = log.logger()
			})
			r := signedEvent(t, signer, flytest.BinaryMode)
			again := r.Clone(t.Context())
			again.Body, _ = r.GetBody()
			if w := do(provider, r); w.Code != 200 {
				t.Fatalf("got %d %s, want 200", w.Code, w.Body)
			}
			if name == "X-Signature" { // which does not cover the header fields
				again.Header.Set("Ce-Id", "e2")
			}
			if w := do(provider, again); w.Code != 401 || !strings.Contains(log.text(), "message was used before") {
				t.Errorf("got %d, log %s", w.Code, log.text())
			}
			wantCalls(t, l, "event e1")
		})
	}
}

// X-Signature does not cover the method, and an extension may have the id "events". The
// route for events has an authenticator of its own, but shares the spent nonces. An
// update of that extension therefore cannot be replayed as an event.
func TestUpdateIsNoEvent(t *testing.T) {
	t.Parallel()
	l, log := &listener{}, &logBuffer{}
	provider := newProvider(t, l, func(c *flyext.Config) {
		c.EventVerifier, c.Logger = flyext.XSignature("another", testSecret), log.logger()
	})
	update := xsigned("PATCH", testEvents, `{"name":"n"}`)
	event := binary(bodyOf(t, update))
	event.Header.Set("X-Signature", update.Header.Get("X-Signature"))
	if w := do(provider, update); w.Code != 200 {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	if w := do(provider, event); w.Code != 401 || !strings.Contains(log.text(), "message was used before") {
		t.Errorf("got %d, log %s", w.Code, log.text())
	}
	wantCalls(t, l, "update events")
}

// A signed provisioning request is not accepted as an event, because its URL differs.
func TestProvisionIsNoEvent(t *testing.T) {
	t.Parallel()
	l := &listener{}
	provision := xsigned("POST", "/flyio/extensions", minimal)
	event := binary(bodyOf(t, provision))
	event.Header.Set("X-Signature", provision.Header.Get("X-Signature"))
	if w := do(newProvider(t, l, nil), event); w.Code != 401 {
		t.Errorf("got %d %s, want 401", w.Code, w.Body)
	}
	wantCalls(t, l, "")
}

func TestEventVerifier(t *testing.T) {
	t.Parallel()
	other := flyext.Key{ID: "events", Secret: "the secret of the events"}
	for _, test := range []struct {
		name     string
		verifier flyext.Verifier
		signer   flytest.Signer
		status   int
	}{
		{"no EventVerifier, signed as a provisioning request", nil, flytest.XSignature(testSecret), 200},
		{"no EventVerifier, signed with another key", nil, flytest.RFC9421(other), 401},
		{"an EventVerifier", flyext.MessageSignature(other), flytest.RFC9421(other), 200},
		{"an EventVerifier, signed as a provisioning request", flyext.MessageSignature(other), flytest.XSignature(testSecret), 401},
	} {
		l := &listener{}
		provider := newProvider(t, l, func(c *flyext.Config) { c.EventVerifier = test.verifier })
		if w := do(provider, signedEvent(t, test.signer, flytest.BinaryMode)); w.Code != test.status {
			t.Errorf("%s: got %d %s, want %d", test.name, w.Code, w.Body, test.status)
		}
		if w := do(provider, xsigned("POST", "/flyio/extensions", minimal)); w.Code != 200 {
			t.Errorf("%s: provisioning got %d %s, want 200", test.name, w.Code, w.Body)
		}
	}
	p, err := flyext.New(&listener{}, flyext.Config{
		BaseURL: testBase, Verifier: flyext.XSignature(testSecret), EventVerifier: flyext.XSignature(""),
	})
	if err == nil || p != nil {
		t.Errorf("New accepts an EventVerifier with an empty secret: %v, %v", p, err)
	}
}

// X-Signature cannot sign a batch: an array has no place for its parameters.
func TestXSignatureSignsNoBatch(t *testing.T) {
	t.Parallel()
	l := &listener{}
	w := &wireRequest{method: "POST", target: testEvents, host: "logjam.test", body: "[" + envelope("e1") + "]", header: http.Header{}, secret: testSecret}
	w.set("Content-Type", "application/cloudevents-batch+json").xSignature()
	if got := do(newProvider(t, l, nil), w.request(t)); got.Code != 400 || readAnswer(t, got).Message != "The body is JSON, but not an object." {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
	wantCalls(t, l, "")
}

func TestStaleEvent(t *testing.T) {
	t.Parallel()
	l := &listener{}
	r := signedEvent(t, flytest.XSignature(testSecret), flytest.StructuredMode)
	provider := newProvider(t, l, func(c *flyext.Config) { c.Now = func() time.Time { return time.Now().Add(6 * time.Minute) } })
	if w := do(provider, r); w.Code != 401 {
		t.Errorf("got %d %s, want 401", w.Code, w.Body)
	}
	wantCalls(t, l, "")
}
