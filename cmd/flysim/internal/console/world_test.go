package console_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
)

const (
	signingSecret = "signing-secret-8f31"
	clientSecret  = "client-secret-2c1b"
	bearerToken   = "bearer-token-77aa"
	ownURL        = "http://localhost:4000"
	providerBase  = "http://logjam.test/flyio"
)

// A logjam is a provider. Its extensions are ready at once, or when a test says
// so.
type logjam struct {
	mu       sync.Mutex
	slow     bool // extensions are not ready at once
	finished flyext.Status
	streams  map[string]flyext.ProvisionRequest
	events   []flyext.Event
}

func (l *logjam) ReceiveEvent(_ context.Context, e *flyext.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, *e)
	return nil
}

func newLogjam() *logjam { return &logjam{streams: make(map[string]flyext.ProvisionRequest)} }

func (l *logjam) set(change func(*logjam)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *logjam) extension(r flyext.ProvisionRequest) *flyext.Extension {
	x := &flyext.Extension{ID: "lj-" + r.ID, Name: r.Name, Secrets: flyext.Secrets{
		"LOGJAM_URL":   "https://" + r.ID + ":s3cret-of-" + r.ID + "@logjam.io/ingest",
		"LOGJAM_TOKEN": "token-of-" + r.ID,
	}}
	if l.slow {
		x.Status = flyext.Provisioning
		if l.finished != "" {
			x.Status = l.finished
			x.Message = "The region is full."
		}
	}
	return x
}

func (l *logjam) Provision(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.Contains(r.Name, "taken") {
		return nil, flyext.Conflict("The name is taken <b>already</b>.")
	}
	if _, ok := l.streams[r.ID]; !ok {
		l.streams[r.ID] = *r
	}
	return l.extension(l.streams[r.ID]), nil
}

func (l *logjam) find(id string) (string, flyext.ProvisionRequest, error) {
	key := strings.TrimPrefix(id, "lj-")
	r, ok := l.streams[key]
	if !ok {
		return "", r, flyext.NotFound("There is no such stream.")
	}
	return key, r, nil
}

func (l *logjam) Update(_ context.Context, id string, u *flyext.UpdateRequest) (*flyext.Extension, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key, r, err := l.find(id)
	if err != nil {
		return nil, err
	}
	if name, ok := u.Name.Get(); ok {
		r.Name = name
	}
	l.streams[key] = r
	return l.extension(r), nil
}

func (l *logjam) Fetch(_ context.Context, id string) (*flyext.Extension, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, r, err := l.find(id)
	if err != nil {
		return nil, err
	}
	return l.extension(r), nil
}

func (l *logjam) Deprovision(_ context.Context, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	key, _, err := l.find(id)
	if err == nil {
		delete(l.streams, key)
	}
	return nil
}

func (l *logjam) organizationOf(_ context.Context, id string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, r, err := l.find(id)
	return r.OrganizationID, err
}

func signIn(w http.ResponseWriter, _ *http.Request, id *flyext.Identity) error {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, err := fmt.Fprintf(w, "<!doctype html><title>Logjam</title><h1>Welcome, %s</h1><p>You are %s.", id.Name, id.Role)
	return err
}

// handler returns the provider at the URL base.
func (l *logjam) handler(t *testing.T, base, oauthURL string) http.Handler {
	t.Helper()
	config := flyext.Config{
		BaseURL: base,
		Verifier: flyext.AnyOf(flyext.XSignature(signingSecret), flyext.AllOf(
			flyext.BearerToken(bearerToken), flyext.MessageSignature(flyext.Key{ID: flytest.DefaultKeyID, Secret: signingSecret}))),
	}
	if oauthURL != "" {
		config.SSO = &flyext.SSOConfig{
			ClientID: "logjam", ClientSecret: clientSecret, StateKey: strings.Repeat("k", 32), OAuthURL: oauthURL,
			OrganizationOf: l.organizationOf, SignIn: signIn, Roles: []string{"admin"},
		}
	}
	p, err := flyext.New(l, config)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A transport is a provider without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// directly returns a client whose requests are served in this goroutine.
func directly(h http.Handler) *http.Client {
	return &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		in := r.Clone(r.Context())
		in.RequestURI, in.Host = r.URL.RequestURI(), r.URL.Host
		if in.Body == nil {
			in.Body = http.NoBody
		}
		if r.ContentLength > 0 {
			in.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, in)
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		answer := w.Result()
		answer.Request = r
		return answer, nil
	})}
}

// answering is a provider with one answer.
func answering(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}

// A world is a console in front of a provider.
type world struct {
	t       *testing.T
	console *console.Console
	log     *strings.Builder
}

func newWorld(t *testing.T, provider http.Handler, changes ...func(*console.Config)) *world {
	t.Helper()
	w := &world{t: t, log: &strings.Builder{}}
	config := console.Config{
		BaseURL: providerBase, Format: flytest.FormatXSignature, Credentials: flytest.Credentials{SigningSecret: signingSecret},
		ClientID: "logjam", ClientSecret: clientSecret, URL: ownURL, Registration: flytest.Registration{Async: true},
		Client: directly(provider), Logger: slog.New(slog.NewTextHandler(&lockedWriter{w: w.log}, nil)),
	}
	for _, change := range changes {
		change(&config)
	}
	c, err := console.New(config)
	if err != nil {
		t.Fatal(err)
	}
	w.console = c
	return w
}

type lockedWriter struct {
	mu sync.Mutex
	w  *strings.Builder
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.console.ServeHTTP(rec, r)
	return rec
}

func (w *world) get(path string) *httptest.ResponseRecorder {
	w.t.Helper()
	return w.do(httptest.NewRequest(http.MethodGet, ownURL+path, nil))
}

// page returns the source of a page.
func (w *world) page(path string) string {
	w.t.Helper()
	rec := w.get(path)
	if rec.Code != http.StatusOK {
		w.t.Fatalf("GET %s: %d %s", path, rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func formRequest(path string, form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, ownURL+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

// post sends a form, and returns the URL of the redirect.
func (w *world) post(path string, form url.Values) (location string) {
	w.t.Helper()
	rec := w.do(formRequest(path, form))
	if rec.Code != http.StatusSeeOther {
		w.t.Fatalf("POST %s: %d %s", path, rec.Code, rec.Body)
	}
	return rec.Header().Get("Location")
}

// provision provisions an extension and returns the path of its page.
func (w *world) provision(id string) string {
	w.t.Helper()
	return w.post("/extensions", url.Values{"id": {id}, "name": {"collider-" + id}, "customer": {nathan}})
}

// nathan is the admin among the default users, as a customer.
const nathan = "organization=g1lx9my4pzemqwk7&user=k9d01lp82rky6vo2"

// wantAll checks that the source of a page has these texts, in any order.
func (w *world) wantAll(page string, texts ...string) {
	w.t.Helper()
	missing := ""
	for _, text := range texts {
		if !strings.Contains(page, text) {
			missing += fmt.Sprintf("the page has no %q\n", text)
		}
	}
	if missing != "" {
		w.t.Errorf("%s%s", missing, body(page))
	}
}

// body returns a page without its style and script.
func body(page string) string {
	_, after, _ := strings.Cut(page, "</style>")
	before, _, _ := strings.Cut(after, "<script>")
	return before
}

// decodeBodies decodes the bodies of a history, which are in base64.
func decodeBodies(history string) string {
	return regexp.MustCompile(`"(?:request|answer)_body":"([^"]*)"`).ReplaceAllStringFunc(history, func(match string) string {
		_, quoted, _ := strings.Cut(match, `":"`)
		decoded, _ := base64.StdEncoding.DecodeString(strings.TrimSuffix(quoted, `"`))
		return string(decoded)
	})
}
