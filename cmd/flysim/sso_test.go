package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/servertest"
)

func TestSSO(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		generation flyext.Generation
		args       string
		status     int
		stdout     string
	}{
		"admin":                        {flyext.Generation2, "--as admin", 0, "The admin was let in."},
		"member":                       {flyext.Generation2, "--as member", 0, "The member was let in."},
		"stranger":                     {flyext.Generation2, "--as stranger", 0, "The stranger was refused."},
		"admin, generation 1":          {flyext.Generation1, "--generation 1", 0, "The admin was let in."},
		"member, generation 1":         {flyext.Generation1, "--generation 1 --as member", 0, "The member was refused."},
		"stranger, generation 1":       {flyext.Generation1, "--generation 1 --as stranger", 0, "The stranger was refused."},
		"another organization's admin": {flyext.Generation2, "--org other", 1, "The sign-on ended with 403 Forbidden"},
		"the sign-on's own generation": {flyext.Generation1, "--sso-generation 1", 0, "The admin was let in."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := servertest.FreeAddr(t)
			m := &memory{}
			term := newTerminal(m.serve(t, "http://"+addr, c.generation)).with("FLYIO_CLIENT_ID", clientID, "FLYIO_CLIENT_SECRET", clientSecret)
			term.run(t, "provision", "--id", "x").want(t, 0)
			got := term.run(t, append(strings.Fields(c.args), "sso", "x", "--oauth-addr", addr)...).want(t, c.status)
			contains(t, words(got.stdout), c.stdout, "1 GET "+m.url+"/flyio/extensions/x/sso 302 Found 2 GET http://"+addr+"/oauth/authorize")
			narrow(t, got.stdout)

			var doc jsonVisit
			term.run(t, append(strings.Fields(c.args), "sso", "x", "--oauth-addr", addr, "--json")...).want(t, c.status).decode(t, &doc)
			if want := strings.Contains(c.stdout, "let in"); doc.LetIn != want || len(doc.Steps) < 3 {
				t.Errorf("the document is %+v", doc)
			}
			if text := got.stdout + got.stderr; strings.Contains(text, "code=") || strings.Contains(text, "state=") {
				t.Errorf("the output contains a code or a state:\n%s", text)
			}
		})
	}
}

// TestSSOFindsOpenDoors: sso fails for providers that let the wrong users in.
func TestSSOFindsOpenDoors(t *testing.T) {
	t.Parallel()
	oauth := servertest.FreeAddr(t)
	authorize := func(back string) string {
		return "http://" + oauth + "/oauth/authorize?response_type=code&scope=read&state=s&client_id=" + clientID + "&redirect_uri=" + back
	}
	for name, c := range map[string]struct {
		door   func(self string) http.HandlerFunc
		as     string
		stderr string
	}{
		"asks no one": {func(string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("welcome")) }
		}, "admin", "without asking Fly.io for the user's identity"},
		"asks no one, elsewhere": {func(string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://app.logjam.io/", http.StatusFound)
			}
		}, "stranger", "without asking Fly.io for the user's identity"},
		"believes any code": {func(self string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/sso") {
					http.Redirect(w, r, authorize(self+"/callback"), http.StatusFound)
				}
			}
		}, "admin", "without redeeming the code"},
		"lets in strangers": {func(self string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/sso") {
					http.Redirect(w, r, authorize(self+"/callback"), http.StatusFound)
					return
				}
				http.PostForm("http://"+oauth+"/oauth/token", nil)
			}
		}, "stranger", "let in a user who does not belong to the organization"},
		"knows another Fly.io": {func(string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://api.fly.io/oauth/authorize?client_id=x", http.StatusFound)
			}
		}, "admin", "start it with the OAuth URL http://" + oauth},
		"refuses all": {func(string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
		}, "admin", "did not let in an admin"},
		"fails": {func(string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
		}, "stranger", "the provider failed: 502 Bad Gateway"},
		"runs in circles": {func(string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }
		}, "admin", "too many redirects"},
	} {
		t.Run(name, func(t *testing.T) { // not parallel, because the providers share the address of the OAuth server
			var door http.HandlerFunc
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { door(w, r) }))
			defer server.Close()
			door = c.door(server.URL)
			term := newTerminal(server.URL).with("FLYIO_CLIENT_ID", clientID, "FLYIO_CLIENT_SECRET", clientSecret)
			got := term.run(t, "sso", "x", "--oauth-addr", oauth, "--as", c.as).want(t, 1)
			contains(t, words(got.stderr), c.stderr)
			narrow(t, got.stdout+got.stderr)
		})
	}
}

func TestSSOOpensTheBrowser(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]error{"a browser": nil, "no browser": errors.New("no browser")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := servertest.FreeAddr(t)
			base := (&memory{}).serve(t, "http://"+addr, flyext.Generation2)
			newTerminal(base).run(t, "provision", "--id", "x").want(t, 0)
			var stdout syncBuffer
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			opened := ""
			p := &program{
				lookupEnv: func(string) (string, bool) { return "", false },
				out:       &page{w: &stdout}, err: &page{w: &bytes.Buffer{}},
			}
			p.browse = func(url string) error {
				opened = url
				if broken == nil { // flysim serves the page while the browser is open
					answer, err := http.Get(url)
					if err != nil {
						t.Error(err)
					} else if answer.Request.URL.Path != flytest.AuthorizeEndpoint || answer.StatusCode != 200 {
						t.Errorf("the browser came to %s, %s", answer.Request.URL, answer.Status)
					}
				}
				cancel()
				return broken
			}
			p.lookupEnv = func(name string) (string, bool) {
				value, ok := map[string]string{
					"FLYSIM_BASE_URL": base, "FLYIO_SIGNING_SECRET": signingSecret,
					"FLYIO_CLIENT_ID": clientID, "FLYIO_CLIENT_SECRET": clientSecret,
				}[name]
				return value, ok
			}
			if status := p.run(ctx, []string{"sso", "x", "--open", "--oauth-addr", addr}); status != 130 {
				t.Errorf("the exit status is %d, want 130", status)
			}
			if opened != base+"/extensions/x/sso" {
				t.Errorf("the browser opened %q", opened)
			}
			contains(t, stdout.String(), opened)
			if said := strings.Contains(words(stdout.String()), "Flysim could not open a browser"); said != (broken != nil) {
				t.Errorf("the browser is missing: %v, and the output says so: %v\n%s", broken != nil, said, stdout.String())
			}
		})
	}
}

// A syncBuffer is a buffer that is safe for concurrent use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestSSOOfAnOrganization: --organization opens the dashboard of an organization.
func TestSSOOfAnOrganization(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.URL.EscapedPath()
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	term := newTerminal(server.URL+"/flyio").with("FLYIO_CLIENT_ID", clientID, "FLYIO_CLIENT_SECRET", clientSecret)
	term.run(t, "sso", "--organization", "o/1", "--oauth-addr", servertest.FreeAddr(t)).want(t, exitRefused)
	if got, want := <-asked, "GET /flyio/organizations/o%2F1/sso"; got != want {
		t.Errorf("the browser asks for %q, want %q", got, want)
	}
	term.run(t, "sso", "x", "--organization", "o").want(t, exitUsage)
	term.run(t, "sso", "--organization", "").want(t, exitUsage)
}
