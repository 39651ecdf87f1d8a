package flyext_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// The MAC of X-Signature does not tell a body from a query. A customer names their
// organization "a&nonce=…&url=…", and Fly.io signs a body with that name. Used as the
// query of a DELETE, the body names another customer's extension. net/http accepts such
// a request target.
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
		t.Fatalf("the genuine request: got %d %s, want 200", w.Code, w.Body)
	}
	for _, method := range []string{"GET", "DELETE"} {
		forged := newGet("/flyio/extensions/victim?"+w.body).set("X-Signature", w.header.Get("X-Signature"))
		forged.method = method
		if w := do(provider, forged.request(t)); w.Code != http.StatusUnauthorized {
			t.Errorf("%s with the body as its query: got %d %s, want 401", method, w.Code, w.Body)
		}
	}
	if calls := p.recorded(); len(calls) != 1 {
		t.Errorf("calls %v, want only the genuine one", calls)
	}
}

// A signed query is not accepted as a body either.
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
		t.Fatalf("the genuine request: got %d %s, want 200", w.Code, w.Body)
	}
	if w := do(provider, forged.request(t)); w.Code < 400 || len(p.recorded()) != 1 {
		t.Errorf("got %d %s and the calls %v, want a refusal and only the genuine call", w.Code, w.Body, p.recorded())
	}
}

// A message is admitted while the clock runs ahead. The clock is corrected after the
// message's nonce has expired. The message must not be admitted again.
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
	for i := range 3 { // further requests remove expired nonces
		other := newPost()
		other.body = strings.Replace(strings.Replace(other.body, "n1", fmt.Sprint("other", i), 1),
			fmt.Sprint(signingTime), fmt.Sprint(now.Unix()), 1)
		wantRefusal(t, auth.Check(other.setLength().xSignature().request(t)), "")
	}
	now = now.Add(-5 * time.Minute)
	if e, ok := errors.AsType[*flyext.Error](auth.Check(message.request(t))); !ok || e.Status != 503 || !errors.Is(e, flyext.ErrNonceExpired) {
		t.Errorf("got %v", e)
	}
}

// NewAuthenticator refuses a policy that no request can meet.
func TestRequireComponentsFailsClosed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "@autority", "@AUTHORITY", "(request-target)", "Authorization", "x y", "@method"} {
		_, err := flyext.NewAuthenticator(flyext.Config{
			BaseURL:  signingBase,
			Verifier: flyext.Policy{RequireComponents: []string{name}}.MessageSignature(signingKey),
		})
		if err == nil {
			t.Errorf("RequireComponents accepts %q", name)
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
			t.Errorf("%s: got %v, want an error that names BaseURL", name, err)
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
		t.Error("a context without a request has a verification")
	}
}

// Fly.io may sign both formats with one secret. The signature base of a message, with
// a field that a customer chose, must not pass as the body or query of an X-Signature.
// It cannot, because it has quotes, or line breaks and spaces that no URL has.
func TestMACOfAnotherFormat(t *testing.T) {
	t.Parallel()
	name := "a&" + url.Values{
		"timestamp": {fmt.Sprint(signingTime)}, "nonce": {"mine"}, "url": {signingBase + "/extensions/victim"},
	}.Encode() + "&b"
	for format, base := range map[string]string{
		"RFC 9421":     "\"@method\": POST\n\"x-name\": " + name + "\n\"@signature-params\": (\"@method\" \"x-name\")",
		"draft-cavage": "(request-target): post /flyio/extensions\nx-name: " + name,
	} {
		mac := hex.EncodeToString(newPost().mac(base))
		post := newPost().set("X-Signature", mac)
		post.body = base
		wantCode(t, newAuthenticator(t, flyext.XSignature(signingSecret), 0).Check(post.setLength().request(t)), flyext.CodeMalformedBody)

		get := newGet("/flyio/extensions/victim?"+base).set("X-Signature", mac)
		if status, _, body := send(t, serve(t, flyext.XSignature(signingSecret), nil), get.bytes()); status != http.StatusBadRequest {
			t.Errorf("%s as a query on the wire: %d %s", format, status, body)
		}
		// A server that is less strict than net/http is for HTTP/1 refuses it as well.
		wantRefusal(t, newAuthenticator(t, flyext.XSignature(signingSecret), 0).Check(get.request(t)), "x-signature: the query could be a body")
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

// The text of a request, an id or a Provisioner's error cannot begin a new line of the
// log or send control characters to a terminal.
func TestLogInjection(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	const evil = "x\nlevel=ERROR msg=\"all is lost\"\x1b[2J\r\u2028"
	p := &testProvisioner{provision: func(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
		return nil, errors.New("no region " + r.PrimaryRegion)
	}, fetch: func(_ context.Context, id string) (*flyext.Extension, error) { panic("no stream " + id) }}
	provider := newProvider(t, p, func(c *flyext.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	text, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	do(provider, xsigned("POST", "/flyio/extensions", `{"id":`+string(text)+`,"organization_id":"o1","primary_region":`+string(text)+`}`))
	do(provider, xsigned("GET", "/flyio/extensions/"+url.PathEscape(evil), ""))
	stranger := httptest.NewRequest("GET", "/flyio/"+url.PathEscape(evil), nil)
	stranger.Method = evil
	do(provider, stranger)
	stranger = httptest.NewRequest("GET", "/flyio/extensions/"+url.PathEscape(evil), nil)
	stranger.Header = http.Header{"X-Signature": {evil}, "Authorization": {evil}, "Signature": {evil}}
	do(provider, stranger)
	if calls := p.recorded(); len(calls) != 2 {
		t.Errorf("calls %q, want 2", calls)
	}
	lines := slices.Collect(strings.Lines(log.String()))
	for _, line := range lines {
		if !strings.HasPrefix(line, "time=") || strings.ContainsAny(line, "\x1b\r\u2028") {
			t.Errorf("the log has the line %q", line)
		}
	}
	if len(lines) != 4 {
		t.Errorf("%d lines in the log, want 4: %s", len(lines), log.String())
	}
}

// A shortened or lengthened MAC is refused.
func TestMACOfAnotherLength(t *testing.T) {
	t.Parallel()
	v := flyext.Policy{ZntrioDialect: true}.MessageSignature(signingKey)
	for name, w := range map[string]*wireRequest{"RFC 9421": newPost().rfc9421(), "draft-cavage": newPost().cavage(), "zntrio": newPost().zntrio()} {
		field := w.header.Get("Signature")
		at := strings.LastIndexByte(field, '=') - 43 // of 44 digits
		sum, err := base64.StdEncoding.DecodeString(field[at : at+44])
		if err != nil || len(sum) != 32 {
			t.Fatalf("%s: %q: %v", name, field, err)
		}
		for _, value := range []string{string(sum[:31]), string(sum[:1]), string(sum) + "\x00", string(sum) + string(sum)} {
			w.set("Signature", field[:at]+encode64(value)+field[at+44:])
			wantRefusal(t, newAuthenticator(t, v, 0).Check(w.request(t)), wrongMAC)
		}
		w.set("Signature", field)
		wantRefusal(t, newAuthenticator(t, v, 0).Check(w.request(t)), "")
	}
}
