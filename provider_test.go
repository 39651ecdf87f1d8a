package flyext_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

const (
	testSecret = "a-signing-secret-of-the-tests"
	testBase   = "https://logjam.test/flyio"
)

// testProvisioner records its calls. Its funcs replace the default answers.
type testProvisioner struct {
	mu    sync.Mutex
	calls []string

	provision   func(context.Context, *flyext.ProvisionRequest) (*flyext.Extension, error)
	update      func(context.Context, string, *flyext.UpdateRequest) (*flyext.Extension, error)
	fetch       func(context.Context, string) (*flyext.Extension, error)
	deprovision func(context.Context, string) error
}

func (p *testProvisioner) record(call string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call)
}

func (p *testProvisioner) recorded() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

func (p *testProvisioner) Provision(ctx context.Context, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
	p.record("provision " + req.ID)
	if p.provision != nil {
		return p.provision(ctx, req)
	}
	return &flyext.Extension{Secrets: flyext.Secrets{"LOGJAM_URL": "https://user:p&<>@logjam.test"}}, nil
}

func (p *testProvisioner) Update(ctx context.Context, id string, req *flyext.UpdateRequest) (*flyext.Extension, error) {
	p.record("update " + id)
	if p.update != nil {
		return p.update(ctx, id, req)
	}
	return &flyext.Extension{}, nil
}

func (p *testProvisioner) Fetch(ctx context.Context, id string) (*flyext.Extension, error) {
	p.record("fetch " + id)
	if p.fetch != nil {
		return p.fetch(ctx, id)
	}
	return &flyext.Extension{}, nil
}

func (p *testProvisioner) Deprovision(ctx context.Context, id string) error {
	p.record("deprovision " + id)
	if p.deprovision != nil {
		return p.deprovision(ctx, id)
	}
	return nil
}

// small is a Provisioner without any optional capability.
type small struct{ p *testProvisioner }

func (s small) Provision(ctx context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	return s.p.Provision(ctx, r)
}

func (s small) Update(ctx context.Context, id string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
	return s.p.Update(ctx, id, r)
}

func newProvider(t testing.TB, p flyext.Provisioner, change func(*flyext.Config)) *flyext.Provider {
	t.Helper()
	c := flyext.Config{BaseURL: testBase, Verifier: flyext.XSignature(testSecret), Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c)
	}
	provider, err := flyext.New(p, c)
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// admitAll is a Verifier that accepts every request, for tests of the later steps.
type admitAll struct{ generation flyext.Generation }

func (v admitAll) Verify(context.Context, *flyext.Message) (flyext.Verification, error) {
	return flyext.Verification{Generation: v.generation}, nil
}

func unsigned(c *flyext.Config) { c.Verifier = admitAll{flyext.Generation2} }

var lastNonce atomic.Int64

// xsigned returns a request with an X-Signature, as Fly.io sends it. body is a JSON
// object; the members of the signature are added at its end.
func xsigned(method, target, body string) *http.Request {
	nonce, now := strconv.FormatInt(lastNonce.Add(1), 10), time.Now().Unix()
	full := "https://logjam.test" + strings.TrimPrefix(target, "https://logjam.test")
	signed := url.Values{
		"timestamp": {strconv.FormatInt(now, 10)}, "nonce": {nonce}, "url": {full},
	}.Encode()
	if body == "" {
		target += "?" + signed
	} else {
		separator := ","
		if strings.TrimSpace(body) == "{}" {
			separator = ""
		}
		body = strings.TrimSuffix(strings.TrimSpace(body), "}") +
			fmt.Sprintf(`%s"timestamp":%d,"nonce":%q,"url":%q}`, separator, now, nonce, full)
		signed = body
	}
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "logjam.test"
	h := hmac.New(sha256.New, []byte(testSecret))
	io.WriteString(h, signed)
	r.Header.Set("X-Signature", hex.EncodeToString(h.Sum(nil)))
	return r
}

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// answer is the body of an error.
type answer struct{ Error, Message string }

func readAnswer(t testing.TB, w *httptest.ResponseRecorder) answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || a.Error == "" || a.Message == "" {
		t.Fatalf("body %q is not an error with a code and a message: %v", w.Body, err)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q, want application/json", got)
	}
	return a
}

const minimal = `{"id":"x1","organization_id":"o1"}`

func TestRoutes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, target string
		status               int
		code, allow, call    string
	}{
		{"provision", "POST", "/flyio/extensions", 200, "", "", "provision x1"},
		{"update", "PATCH", "/flyio/extensions/x1", 200, "", "", "update x1"},
		{"fetch", "GET", "/flyio/extensions/x1", 200, "", "", "fetch x1"},
		{"deprovision", "DELETE", "/flyio/extensions/x1", 200, "", "", "deprovision x1"},
		{"an id with an escaped slash", "GET", "/flyio/extensions/a%2Fb", 200, "", "", "fetch a/b"},
		{"an id with a lower-case escape", "PATCH", "/flyio/extensions/a%2fb", 200, "", "", "update a/b"},
		{"an id with a space and an umlaut", "DELETE", "/flyio/extensions/a%20%C3%BC", 200, "", "", "deprovision a ü"},
		{"an id of dots", "GET", "/flyio/extensions/%2E%2E", 200, "", "", "fetch .."},
		{"an id with a question mark", "GET", "/flyio/extensions/a%3Fb", 200, "", "", "fetch a?b"},
		{"a plus is a plus", "GET", "/flyio/extensions/a+b", 200, "", "", "fetch a+b"},
		{"a target in absolute form", "GET", "https://logjam.test/flyio/extensions/a%2Fb", 200, "", "", "fetch a/b"},
		{"an absolute form without a path", "GET", "https://logjam.test", 404, "route_not_found", "", ""},
		{"wrong method on the collection", "GET", "/flyio/extensions", 405, "method_not_allowed", "POST", ""},
		{"wrong method on an extension", "POST", "/flyio/extensions/x1", 405, "method_not_allowed", "DELETE, GET, PATCH", ""},
		{"HEAD", "HEAD", "/flyio/extensions/x1", 405, "method_not_allowed", "DELETE, GET, PATCH", ""},
		{"an unknown method", "BREW", "/flyio/extensions/x1", 405, "method_not_allowed", "DELETE, GET, PATCH", ""},
		{"two elements", "GET", "/flyio/extensions/a/b", 404, "route_not_found", "", ""},
		{"no id", "GET", "/flyio/extensions/", 404, "route_not_found", "", ""},
		{"a doubled slash", "POST", "/flyio//extensions", 404, "route_not_found", "", ""},
		{"outside of the base path", "POST", "/extensions", 404, "route_not_found", "", ""},
		{"a longer base path", "POST", "/flyio2/extensions", 404, "route_not_found", "", ""},
		{"the base path", "GET", "/flyio", 404, "route_not_found", "", ""},
		{"an id that is not UTF-8", "GET", "/flyio/extensions/%ff", 404, "route_not_found", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{}
			body := ""
			switch tt.method {
			case "POST":
				body = minimal
			case "PATCH":
				body = "{}"
			}
			w := do(newProvider(t, p, nil), xsigned(tt.method, tt.target, body))
			if w.Code != tt.status {
				t.Fatalf("got %d %s, want %d", w.Code, w.Body, tt.status)
			}
			if got := w.Header().Get("Allow"); got != tt.allow {
				t.Errorf("Allow is %q, want %q", got, tt.allow)
			}
			if tt.code != "" && readAnswer(t, w).Error != tt.code {
				t.Errorf("got %s, want the code %s", w.Body, tt.code)
			}
			if w.Header().Get("X-Request-Id") == "" {
				t.Error("the answer has no X-Request-Id")
			}
			if got := strings.Join(p.recorded(), ","); got != tt.call {
				t.Errorf("calls %q, want %q", got, tt.call)
			}
		})
	}
}

func TestBaseURLWithoutPath(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"https://logjam.test", "https://logjam.test/"} {
		p := &testProvisioner{}
		provider := newProvider(t, p, func(c *flyext.Config) { c.BaseURL = base })
		if w := do(provider, xsigned("POST", "/extensions", minimal)); w.Code != 200 {
			t.Errorf("base URL %s: status %d", base, w.Code)
		}
	}
}

func TestNewFailsClosed(t *testing.T) {
	t.Parallel()
	ok := flyext.XSignature(testSecret)
	tests := []struct {
		name   string
		p      flyext.Provisioner
		config flyext.Config
	}{
		{"no provisioner", nil, flyext.Config{BaseURL: testBase, Verifier: ok}},
		{"no base URL", small{}, flyext.Config{Verifier: ok}},
		{"a base URL that does not parse", small{}, flyext.Config{BaseURL: "https://[", Verifier: ok}},
		{"a base URL without a host", small{}, flyext.Config{BaseURL: "https:///flyio", Verifier: ok}},
		{"a base URL of another scheme", small{}, flyext.Config{BaseURL: "ftp://logjam.test", Verifier: ok}},
		{"a base URL without a scheme", small{}, flyext.Config{BaseURL: "logjam.test/flyio", Verifier: ok}},
		{"a base URL with a query", small{}, flyext.Config{BaseURL: testBase + "?a=b", Verifier: ok}},
		{"a base URL with an empty query", small{}, flyext.Config{BaseURL: testBase + "?", Verifier: ok}},
		{"a base URL with a fragment", small{}, flyext.Config{BaseURL: testBase + "#a", Verifier: ok}},
		{"a base URL with a user", small{}, flyext.Config{BaseURL: "https://u:p@logjam.test", Verifier: ok}},
		{"a base URL with a host in Unicode", small{}, flyext.Config{BaseURL: "https://b\u00fccher.test/flyio", Verifier: ok}},
		{"a base URL with a trailing space", small{}, flyext.Config{BaseURL: testBase + " ", Verifier: ok}},
		{"a base URL with an escaped letter", small{}, flyext.Config{BaseURL: "https://logjam.test/fly%69o", Verifier: ok}},
		{"a base URL with an escape in lower case", small{}, flyext.Config{BaseURL: "https://logjam.test/fly%c3%afo", Verifier: ok}},
		{"a base URL with a step up", small{}, flyext.Config{BaseURL: "https://logjam.test/a/../flyio", Verifier: ok}},
		{"a base URL with two slashes", small{}, flyext.Config{BaseURL: "https://logjam.test/a//flyio", Verifier: ok}},
		{"a base URL with a large port", small{}, flyext.Config{BaseURL: "https://logjam.test:99999/flyio", Verifier: ok}},
		{"a base URL with an empty port", small{}, flyext.Config{BaseURL: "https://logjam.test:/flyio", Verifier: ok}},
		{"a base URL with port 0", small{}, flyext.Config{BaseURL: "https://logjam.test:0/flyio", Verifier: ok}},
		{"a timeout of days", small{}, flyext.Config{BaseURL: testBase, Verifier: ok, Timeout: 25 * time.Hour}},
		{"a maximum age that overflows", small{}, flyext.Config{BaseURL: testBase, Verifier: flyext.Policy{MaxAge: math.MaxInt64}.XSignature("s")}},
		{"a clock skew that overflows", small{}, flyext.Config{BaseURL: testBase, Verifier: flyext.Policy{ClockSkew: math.MaxInt64}.MessageSignature(flyext.Key{ID: "k", Secret: "s"})}},
		{"a maximum age of days, inside", small{}, flyext.Config{BaseURL: testBase, Verifier: flyext.AnyOf(ok, flyext.AllOf(flyext.Policy{MaxAge: 25 * time.Hour}.XSignature("s")))}},
		{"an event verifier with a maximum age of days", small{}, flyext.Config{BaseURL: testBase, Verifier: ok, EventVerifier: flyext.Policy{MaxAge: 25 * time.Hour}.XSignature("s")}},
		{"no verifier", small{}, flyext.Config{BaseURL: testBase}},
		{"a negative timeout", small{}, flyext.Config{BaseURL: testBase, Verifier: ok, Timeout: -1}},
		{"a negative body bound", small{}, flyext.Config{BaseURL: testBase, Verifier: ok, MaxBodyBytes: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if p, err := flyext.New(tt.p, tt.config); err == nil || p != nil {
				t.Errorf("New returned %v, %v; want an error", p, err)
			}
		})
	}
}

// New accepts a base URL if clients send its path in the same spelling.
func TestBaseURLs(t *testing.T) {
	t.Parallel()
	for _, base := range []string{
		"https://logjam.test", "https://logjam.test/", "HTTPS://LOGJAM.TEST/flyio", "https://logjam.test:65535/a/b", "http://[::1]:8080/flyio",
		"https://xn--bcher-kva.test/flyio", "https://logjam.test/a%2Fb", "https://logjam.test/fly%C3%AFo", "https://logjam.test/a;b@c",
	} {
		if _, err := flyext.New(small{}, flyext.Config{BaseURL: base, Verifier: flyext.XSignature(testSecret)}); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
}

func TestErrorsOfTheProvisioner(t *testing.T) {
	t.Parallel()
	const hidden = "pq: password=canary"
	tests := []struct {
		name   string
		err    error
		status int
		want   answer
	}{
		{"not found", flyext.NotFound("No such stream."), 404, answer{"not_found", "No such stream."}},
		{"conflict", flyext.Conflict("Taken."), 409, answer{"conflict", "Taken."}},
		{"gone", flyext.Gone("It is gone."), 410, answer{"gone", "It is gone."}},
		{"invalid", flyext.Invalid("No such plan."), 422, answer{"invalid", "No such plan."}},
		{"unsupported", flyext.Unsupported("Not here."), 501, answer{"unsupported", "Not here."}},
		{"any status and code", &flyext.Error{Status: 402, Code: "card_declined", Message: "Your card was declined."}, 402, answer{"card_declined", "Your card was declined."}},
		{"wrapped", fmt.Errorf("in the store: %w", fmt.Errorf("deeper: %w", flyext.Conflict("Taken."))), 409, answer{"conflict", "Taken."}},
		{"joined", errors.Join(errors.New(hidden), flyext.Gone("It is gone.")), 410, answer{"gone", "It is gone."}},
		{"a cause that is not sent", &flyext.Error{Status: 409, Code: "conflict", Message: "Taken.", Err: errors.New(hidden)}, 409, answer{"conflict", "Taken."}},
		{"an error of another kind", errors.New(hidden), 500, answer{"internal", "Internal Server Error"}},
		{"a status that is not an error", &flyext.Error{Status: 200, Code: "fine", Message: hidden}, 500, answer{"internal", "Internal Server Error"}},
		{"status 0", &flyext.Error{Code: "odd", Message: hidden}, 500, answer{"internal", "Internal Server Error"}},
		{"a status above 599", &flyext.Error{Status: 600, Code: "odd", Message: hidden}, 500, answer{"internal", "Internal Server Error"}},
		{"a message that is too long", flyext.Invalid(strings.Repeat("ü", 501)), 422, answer{"invalid", strings.Repeat("ü", 500)}},
		{"no code", &flyext.Error{Status: 402, Message: "Pay first."}, 402, answer{"payment_required", "Pay first."}},
		{"a code that is not UTF-8", &flyext.Error{Status: 402, Code: "\xff", Message: "Pay first."}, 402, answer{"payment_required", "Pay first."}},
		{"a message with text direction controls", flyext.Invalid("a\u202eb\u200bc\u2066d"), 422, answer{"invalid", "a b c d"}},
		{"an error that is nil inside", fmt.Errorf("wrapped: %w", (*flyext.Error)(nil)), 500, answer{"internal", "Internal Server Error"}},
		{"no message", &flyext.Error{Status: 418, Code: "teapot"}, 418, answer{"teapot", "I'm a teapot"}},
		{"a message that moves the cursor", flyext.Invalid("a\x1b[31mb\r\nc\u009bd"), 422, answer{"invalid", "a [31mb  c d"}},
		{"a deadline", fmt.Errorf("select: %w", context.DeadlineExceeded), 504, answer{"timeout", "The provider did not answer in time. Try again."}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) { return nil, tt.err }}
			log := &logBuffer{}
			w := do(newProvider(t, p, func(c *flyext.Config) { c.Logger = log.logger() }), xsigned("GET", "/flyio/extensions/x1", ""))
			if w.Code != tt.status || readAnswer(t, w) != tt.want {
				t.Errorf("got %d %s, want %d %+v", w.Code, w.Body, tt.status, tt.want)
			}
			if strings.Contains(w.Body.String(), "canary") {
				t.Error("the text of an internal error was sent")
			}
			if inError := strings.Contains(fmt.Sprint(tt.err), "canary"); inError != strings.Contains(log.text(), "canary") {
				t.Errorf("the log has the text of the error: %t, want %t; log: %s", !inError, inError, log.text())
			}
		})
	}
}

func TestMissingCapabilities(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "DELETE"} {
		provider := newProvider(t, small{&testProvisioner{}}, nil)
		if w := do(provider, xsigned(method, "/flyio/extensions/x1", "")); w.Code != 501 || readAnswer(t, w).Error != "unsupported" {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
		// An unsigned request does not learn which methods the provider has.
		if w := do(provider, httptest.NewRequest(method, "/flyio/extensions/x1", nil)); w.Code != 401 {
			t.Errorf("%s, unsigned: got %d %s, want 401", method, w.Code, w.Body)
		}
	}
}
