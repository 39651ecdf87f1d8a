package main

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const secret = "signing-secret"

// A world is the service on a server with a Fly.io that uses it.
type world struct {
	*service
	server *httptest.Server
	oauth  *flytest.OAuthServer
	fly    *flytest.Platform
}

// start serves the service with the handler that mount returns.
func start(t *testing.T, mount func(*service) http.Handler) *world {
	t.Helper()
	w := &world{}
	var handler http.Handler
	w.server = httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	t.Cleanup(w.server.Close)
	base := w.server.URL + "/flyio"
	w.oauth = &flytest.OAuthServer{ClientID: "logjam", ClientSecret: "client-secret", RedirectURLs: []string{base + "/callback"}}
	oauth := httptest.NewServer(w.oauth)
	t.Cleanup(oauth.Close)
	env := map[string]string{
		"BASE_URL": base, "FLYIO_SIGNING_SECRET": secret, "STATE_KEY": strings.Repeat("k", 32),
		"FLYIO_CLIENT_ID": "logjam", "FLYIO_CLIENT_SECRET": "client-secret", "FLYIO_OAUTH_URL": oauth.URL,
	}
	var err error
	if w.service, err = newService(func(name string) string { return env[name] }, sdktrace.NewTracerProvider()); err != nil {
		t.Fatal(err)
	}
	handler = mount(w.service)
	w.fly = &flytest.Platform{BaseURL: base, Signer: flytest.XSignature(secret), Client: w.server.Client()}
	return w
}

func onServeMux(s *service) http.Handler {
	mux := http.NewServeMux()
	s.mountServeMux(mux)
	return mux
}

// mounts are the two ways to mount the provider and the service's signed routes.
var mounts = map[string]func(*service) http.Handler{"chi": (*service).handler, "ServeMux": onServeMux}

func (w *world) do(t *testing.T, method, path, body string, fly *flytest.Platform) (status int, text string) {
	t.Helper()
	var content []byte
	if body != "" {
		content = []byte(body)
	}
	r, err := fly.NewRequest(t.Context(), method, path, content)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := fly.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(got)
}

// TestRoutes checks that the service's signed routes and the provider's do not hide
// each other.
func TestRoutes(t *testing.T) {
	t.Parallel()
	for name, mount := range mounts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, mount)
			stranger := *w.fly
			stranger.Signer = flytest.XSignature("another secret")
			for _, c := range []struct {
				name, method, path, body string
				fly                      *flytest.Platform
				status                   int
				text                     string
			}{
				{"eligibility", "POST", "/extensions/eligibility", `{"organization_id":"o1"}`, w.fly, 201, `"eligible":true`},
				{"eligibility, wrong secret", "POST", "/extensions/eligibility", `{"organization_id":"o1"}`, &stranger, 401, "unauthenticated"},
				{"subscription", "PUT", "/organizations/o%2F1/subscription", `{"plan":"pro"}`, w.fly, 200, `"plan":"pro"`},
				{"subscription, wrong secret", "PUT", "/organizations/o%2F1/subscription", `{"plan":"free"}`, &stranger, 401, "unauthenticated"},
				{"an extension with the id eligibility", "GET", "/extensions/eligibility", "", w.fly, 404, "There is no such stream."},
				{"provision", "POST", "/extensions", `{"id":"a/b","organization_id":"o1"}`, w.fly, 200, "LOGJAM_TOKEN"},
				{"fetch", "GET", "/extensions/a%2Fb", "", w.fly, 200, `"status":"ready"`},
				{"list, which is not supported", "GET", "/organizations/o1/extensions", "", w.fly, 501, "unsupported"},
				{"unknown route", "GET", "/elsewhere", "", w.fly, 404, "route_not_found"},
			} {
				if status, text := w.do(t, c.method, c.path, c.body, c.fly); status != c.status || !strings.Contains(text, c.text) {
					t.Errorf("%s: got %d %s, want %d %s", c.name, status, text, c.status, c.text)
				}
			}
			if w.streams.plans["o/1"] != "pro" || len(w.streams.plans) != 1 {
				t.Errorf("got plans %v, want o/1 on pro", w.streams.plans)
			}
		})
	}
}

// TestOwner checks that the owner of a stream is the only organization that gets its
// secrets by its id, also after the stream has moved to another organization.
func TestOwner(t *testing.T) {
	t.Parallel()
	w := start(t, (*service).handler)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"owner", "POST", "/extensions", `{"id":"x1","organization_id":"o1"}`, 200},
		{"another", "POST", "/extensions", `{"id":"x1","organization_id":"o2"}`, 409},
		{"owner again", "POST", "/extensions", `{"id":"x1","organization_id":"o1"}`, 200},
		{"move", "PATCH", "/extensions/x1", `{"organization_id":"o2"}`, 200},
		{"new owner", "POST", "/extensions", `{"id":"x1","organization_id":"o2"}`, 200},
		{"old owner", "POST", "/extensions", `{"id":"x1","organization_id":"o1"}`, 409},
	} {
		status, text := w.do(t, c.method, c.path, c.body, w.fly)
		if status != c.status || strings.Contains(text, "LOGJAM_TOKEN") != (c.status == 200) {
			t.Errorf("%s: got %d %s, want %d", c.name, status, text, c.status)
		}
	}
}

// TestConformance runs the conformance test against the whole service.
func TestConformance(t *testing.T) {
	t.Parallel()
	w := start(t, (*service).handler)
	c := flytest.Conformance{
		BaseURL: w.fly.BaseURL, Client: w.server.Client(), Credentials: flytest.Credentials{SigningSecret: secret},
		Only: []string{"idempotent", "replay", "stale", "unsigned", "status"},
	}
	c.Test(t)
}

// TestSignOn signs in a member of the organization and refuses another user.
func TestSignOn(t *testing.T) {
	t.Parallel()
	w := start(t, (*service).handler)
	if _, err := w.fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "x1", OrganizationID: "o1"}); err != nil {
		t.Fatal(err)
	}
	w.oauth.SetUsers(
		flytest.User{ID: "nathan", Organizations: []flytest.UserOrganization{{OrganizationID: "o1", Role: "admin"}}},
		flytest.User{ID: "stranger", Organizations: []flytest.UserOrganization{{OrganizationID: "o2", Role: "admin"}}},
	)
	for user, want := range map[string]int{"nathan": 200, "stranger": 403} {
		w.oauth.SetChoice(&flytest.Choice{UserID: user})
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		browser := &http.Client{Transport: w.server.Client().Transport, Jar: jar}
		for path, status := range map[string]int{"/flyio/extensions/x1/sso": want} {
			if got := get(t, browser, w.server.URL+path); got != status {
				t.Errorf("%s: %s returned %d, want %d", user, path, got, status)
			}
		}
		page := map[int]int{200: 200, 403: 404}[want]
		if got := get(t, browser, w.server.URL+"/streams/x1"); got != page {
			t.Errorf("%s: the page returned %d, want %d", user, got, page)
		}
	}
}

func get(t *testing.T, client *http.Client, url string) (status int) {
	t.Helper()
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

// TestRateLimit checks that browsers are limited and Fly.io is not.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	w := start(t, (*service).handler)
	last := 0
	for range 61 {
		last = get(t, w.server.Client(), w.server.URL+"/flyio/extensions/x1/sso")
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("a browser's request 61: got %d, want 429", last)
	}
	if _, err := w.fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "x1", OrganizationID: "o1"}); err != nil {
		t.Errorf("Fly.io is limited: %v", err)
	}
}

// TestAdmin checks that the operators' routes are not public, and that readiness
// ends with the shutdown.
func TestAdmin(t *testing.T) {
	t.Parallel()
	w := start(t, (*service).handler)
	if got := get(t, w.server.Client(), w.server.URL+"/metrics"); got != http.StatusNotFound {
		t.Errorf("the metrics on the public address: got %d, want 404", got)
	}
	if _, err := w.fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "x1", OrganizationID: "o1"}); err != nil {
		t.Fatal(err)
	}
	admin := httptest.NewServer(w.admin())
	defer admin.Close()
	scrape, err := http.Get(admin.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer scrape.Body.Close()
	if text, err := io.ReadAll(scrape.Body); err != nil || !strings.Contains(string(text), "flyext_requests_total{") {
		t.Errorf("got metrics %s, %v", text, err)
	}
	if got := get(t, http.DefaultClient, admin.URL+"/readyz"); got != 200 {
		t.Errorf("readiness: got %d, want 200", got)
	}
	traces := sdktrace.NewTracerProvider()
	if err := w.shutdown(&http.Server{}, &http.Server{}, traces); err != nil {
		t.Fatal(err)
	}
	if got := get(t, http.DefaultClient, admin.URL+"/readyz"); got != 503 {
		t.Errorf("readiness during shutdown: got %d, want 503", got)
	}
}

// TestRun starts the program and ends it.
func TestRun(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	env := map[string]string{
		"ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0", "BASE_URL": "https://logjam.io/flyio", "FLYIO_SIGNING_SECRET": secret,
		"STATE_KEY": strings.Repeat("k", 32), "FLYIO_CLIENT_ID": "logjam", "FLYIO_CLIENT_SECRET": "client-secret",
	}
	if err := run(ctx, func(name string) string { return env[name] }); err != nil && err != http.ErrServerClosed {
		t.Error(err)
	}
	if err := run(ctx, func(string) string { return "" }); err == nil {
		t.Error("the program starts without a configuration")
	}
}

// TestPageShowsThisCode ensures that the code in docs/existing-service.md compiles.
func TestPageShowsThisCode(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/existing-service.md")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, file := range []string{"main.go", "handler.go", "report.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	snippets := strings.Split(string(page), "```go\n")[1:]
	if len(snippets) < 6 {
		t.Errorf("the page has %d pieces of code, want at least 6", len(snippets))
	}
	for _, snippet := range snippets {
		snippet, _, _ = strings.Cut(snippet, "```")
		if !strings.Contains(source.String(), snippet) {
			t.Errorf("the page has code that differs from the program:\n%s", snippet)
		}
	}
}
