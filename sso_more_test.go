package flyext_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// Malformed parameters that a third party adds to the callback's query are ignored.
func TestCallbackIgnoresMalformedParameters(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"&utm=50%", "&utm=a;b", "&%zz=1", "&;"} {
		st := newSSOTest(t)
		b := st.browser()
		if p := b.get(b.authorize(b.begin("x1")) + more); len(st.signedIn) != 1 {
			t.Errorf("%s: got %d %s", more, p.status, p.body)
		}
	}
}

// A user reloads the callback after a successful sign-in. If the service recognizes the
// browser's session, the user is redirected to the extension.
func TestCallbackLoadedAgain(t *testing.T) {
	t.Parallel()
	known := false
	st := newSSOTest(t, func(s *flyext.SSOConfig) {
		s.SignedIn = func(_ *http.Request, to flyext.Destination) string {
			if known && to.ExtensionID == "x1" {
				return "/streams/x1"
			}
			return ""
		}
	})
	b := st.browser()
	callback := b.authorize(b.begin("x1"))
	b.get(callback)
	if len(st.signedIn) != 1 {
		t.Fatalf("%d sign-ins, want one", len(st.signedIn))
	}
	if p := b.get(callback); p.status != http.StatusForbidden || !strings.Contains(p.body, flyext.CodeUnknownHandshake) {
		t.Errorf("a browser without a session got %d %s", p.status, p.body)
	}
	known = true
	if p := b.get(callback); p.status != http.StatusFound || p.header.Get("Location") != "/streams/x1" || len(st.signedIn) != 1 {
		t.Errorf("got %d to %q and %d sign-ins, want a redirect to the extension and one sign-in", p.status, p.header.Get("Location"), len(st.signedIn))
	}
	st.move("x1", "another")
	if p := b.get(callback); p.status == http.StatusFound {
		t.Error("the user was redirected to an extension of another organization")
	}
}

// An attacker sends thousands of cookies and a long Accept field. The answer stays
// short, and the field is not read to its end.
func TestWorkOfTheSignOnIsBounded(t *testing.T) { // not parallel: it counts allocations
	st := newSSOTest(t)
	provider := st.newProvider()
	r := httptest.NewRequest("GET", "/flyio/extensions/x1/sso", nil)
	var cookies strings.Builder
	for i := range 2900 {
		fmt.Fprintf(&cookies, "__Secure-flyext-sso-%d=v; ", i)
	}
	r.Header.Set("Cookie", strings.TrimSuffix(cookies.String(), "; "))
	if w := do(provider, r); len(w.Header()["Set-Cookie"]) > 20 {
		t.Errorf("the answer sets %d cookies, want at most 20", len(w.Header()["Set-Cookie"]))
	}

	var accept strings.Builder
	accept.WriteString("a/b")
	for i := range 60_000 {
		fmt.Fprintf(&accept, ";a%d*0=1", i)
	}
	for _, field := range []string{accept.String(), strings.Repeat("a/b,", 200_000)} {
		for _, p := range []*flyext.Provider{provider, newProvider(t, &testProvisioner{}, nil)} { // the second provider has no sign-on
			r := httptest.NewRequest("GET", "/flyio/callback", nil)
			r.Header.Set("Accept", field+",application/json")
			if n := testing.AllocsPerRun(3, func() { do(p, r.Clone(r.Context())) }); n > 500 {
				t.Errorf("%v allocations, want at most 500", n)
			}
		}
	}
}

func TestInsecureAllowHTTP(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		base, oauth string
		allow, ok   bool
	}{
		"containers":              {"http://logjam:8080/flyio", "http://fly:4000", true, true},
		"containers, not allowed": {"http://logjam:8080/flyio", "http://fly:4000", false, false},
		"only OAuth over http":    {"https://logjam.io/flyio", "http://fly:4000", false, false},
		"loopback":                {"http://localhost:8080/flyio", "http://127.0.0.1:4000", false, true},
		"loopback in upper case":  {"http://LOCALHOST:8080/flyio", "http://LocalHost:4000", false, true},
		"loopback with a dot":     {"http://localhost.:8080/flyio", "http://localhost.:4000", false, true},
		"like loopback":           {"http://localhost.evil.test/flyio", "http://localhost:4000", false, false},
		"another scheme":          {"https://logjam.io/flyio", "ftp://fly:4000", true, false},
	} {
		st := newSSOTest(t)
		config := st.config(func(s *flyext.SSOConfig) { s.OAuthURL, s.InsecureAllowHTTP = c.oauth, c.allow })
		config.BaseURL = c.base
		if _, err := flyext.NewSignOn(config); (err == nil) != c.ok {
			t.Errorf("%s: NewSignOn returned the error %v, want an error: %t", name, err, !c.ok)
		}
	}
}

// The dashboard of an organization admits members. Before the sign-in it does not
// reveal which organizations exist.
func TestOrganizationDashboard(t *testing.T) {
	t.Parallel()
	asked := 0
	st := newSSOTest(t, func(s *flyext.SSOConfig) {
		s.OrganizationExists = func(_ context.Context, id string) (bool, error) {
			asked++
			if id == "lost" {
				return false, errors.New("database is down")
			}
			return id != "o2", nil
		}
	})
	at := func(b *browser, organization string) string {
		p := b.get(ssoBase + "/organizations/" + organization + "/sso")
		if p.status != http.StatusFound {
			t.Fatalf("%s: got %d %s, want 302", organization, p.status, p.body)
		}
		return p.header.Get("Location")
	}
	b := st.browser()
	at(b, "unknown")
	if asked != 0 {
		t.Error("OrganizationExists is called before the sign-in")
	}
	b.get(b.authorize(at(b, "o1")))
	if len(st.signedIn) != 1 || st.signedIn[0].OrganizationID != "o1" || st.signedIn[0].ExtensionID != "" {
		t.Errorf("signed in: %+v", st.signedIn)
	}
	for organization, want := range map[string]string{"o2": "not_found", "unknown": flyext.CodeNotAMember} { // the user is a member of o2, which has no resources
		if p := b.get(b.authorize(at(b, organization))); !strings.Contains(p.body, want) {
			t.Errorf("%s: got %d %s", organization, p.status, p.body)
		}
	}
	if asked != 2 || len(st.signedIn) != 1 {
		t.Errorf("OrganizationExists was called %d times, want 2; %d sign-ins, want 1", asked, len(st.signedIn))
	}

	without := newSSOTest(t)
	if p := without.browser().get(ssoBase + "/organizations/o1/sso"); p.status != http.StatusNotImplemented {
		t.Errorf("without OrganizationExists: got %d", p.status)
	}
}

// SSOConfig.Refused writes the page of a refusal. Clients that want JSON still get
// JSON.
func TestRefusedByTheService(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t, func(s *flyext.SSOConfig) {
		s.Refused = func(w http.ResponseWriter, _ *http.Request, e *flyext.Error) {
			w.WriteHeader(e.Status)
			fmt.Fprintf(w, "our page for %s", e.Code)
		}
	})
	b := st.browser()
	b.accept = "text/html"
	if p := b.get(ssoBase + "/callback"); p.status != 400 || p.body != "our page for invalid_state" {
		t.Errorf("got %d %s", p.status, p.body)
	}
	b.accept = "application/json"
	if p := b.get(ssoBase + "/callback"); p.header.Get("Content-Type") != "application/json" {
		t.Errorf("a client that accepts JSON got %s", p.body)
	}
}

// The page has a heading for the error code and the command to start again. It has a
// link if a new attempt can succeed.
func TestRefusalPageHelps(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t, func(s *flyext.SSOConfig) { s.StartAgain = "flyctl ext logjam dashboard" })
	b := st.browser()
	b.accept = "text/html"
	const link = `<a href="/flyio/extensions/x1/sso">Try again</a>`
	for name, c := range map[string]struct {
		change  func(string) string
		heading string
		retry   bool
	}{
		"cancelled":   {func(s string) string { return edit(t, s, "error", "access_denied") }, "The sign-in was cancelled", true},
		"Fly.io":      {func(s string) string { return edit(t, s, "error", "server_error") }, "Fly.io did not answer correctly", true},
		"not a state": {func(s string) string { return edit(t, s, "state", "x") }, "This sign-in did not begin here", false},
		"expired":     {func(s string) string { st.advance(time.Hour); return s }, "This sign-in took too long", true},
	} {
		p := b.get(c.change(b.authorize(b.begin("x1"))))
		if !strings.Contains(p.body, "<h1>"+c.heading+"</h1>") || strings.Contains(p.body, link) != c.retry ||
			!strings.Contains(p.body, "<code>flyctl ext logjam dashboard</code>") {
			t.Errorf("%s: the heading, the link or the command is wrong: %s", name, p.body)
		}
	}
}

// Fly.io sends no notice when a user leaves an organization, so Recheck asks Fly.io.
func TestRecheck(t *testing.T) {
	t.Parallel()
	now := time.Now()
	fly := &flytest.OAuthServer{
		ClientID: ssoClientID, ClientSecret: ssoSecret, RedirectURLs: []string{ssoBase + "/callback"},
		Now: func() time.Time { return now },
	}
	user := func(role string) flytest.User {
		u := flytest.User{ID: "u1", Organizations: []flytest.UserOrganization{{OrganizationID: "o9", Role: "admin"}}}
		if role != "" {
			u.Organizations = append(u.Organizations, flytest.UserOrganization{OrganizationID: "o1", Role: role})
		}
		return u
	}
	fly.SetUsers(user("admin"))
	var signedIn *flyext.Identity
	var breakInfo atomic.Bool
	failing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if breakInfo.Load() && r.URL.Path == "/oauth/token/info" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fly.ServeHTTP(w, r)
	})
	config := flyext.Config{BaseURL: ssoBase, Now: func() time.Time { return now }, SSO: &flyext.SSOConfig{
		ClientID: ssoClientID, ClientSecret: ssoSecret, StateKey: ssoStateKey, KeepGrant: true,
		HTTPClient:     &http.Client{Transport: world{"api.fly.io": failing}},
		OrganizationOf: func(context.Context, string) (string, error) { return "o1", nil },
		SignIn: func(w http.ResponseWriter, _ *http.Request, id *flyext.Identity) error {
			signedIn = id
			w.WriteHeader(http.StatusNoContent)
			return nil
		},
	}}
	signOn, err := flyext.NewSignOn(config)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/flyio/callback", signOn.Callback)
	mux.HandleFunc("/flyio/start", func(w http.ResponseWriter, r *http.Request) {
		signOn.Begin(w, r, flyext.Destination{ExtensionID: "x1"})
	})
	fly.SetChoice(&flytest.Choice{UserID: "u1"})
	browser, err := flytest.NewBrowser(&http.Client{Transport: world{"logjam.io": mux, "api.fly.io": fly}}, ssoBase, "https://api.fly.io")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := browser.Open(t.Context(), ssoBase+"/start"); err != nil {
		t.Fatal(err)
	}
	if signedIn == nil || signedIn.Grant == nil {
		t.Fatalf("signed in: %+v", signedIn)
	}
	secret, err := signedIn.Grant.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(signedIn.Grant), fmt.Sprintf("%+v %#v", *signedIn.Grant, signedIn.Grant), fmt.Sprintf("%+v", signedIn)} {
		if strings.Contains(text, "refresh") || len(text) > 500 {
			t.Errorf("the grant is printed as %s", text)
		}
	}
	grant, err := flyext.ParseGrant(secret)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(24 * time.Hour) // the access token has expired
	id, err := signOn.Recheck(t.Context(), grant)
	if err != nil || id.UserID != "u1" || id.Role != "admin" || id.OrganizationID != "o1" || id.Grant == nil {
		t.Fatalf("got %+v, %v", id, err)
	}
	wantCode := func(name string, g *flyext.Grant, code string) {
		t.Helper()
		_, err := signOn.Recheck(t.Context(), g)
		if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Code != code || strings.Contains(e.Error(), "fo1_") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	wantCode("the old grant, again", grant, flyext.CodeInvalidGrant)
	breakInfo.Store(true)
	failed, err := signOn.Recheck(t.Context(), id.Grant)
	if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Code != flyext.CodeFlyUnavailable || failed == nil || failed.UserID != "" || failed.Role != "" {
		t.Fatalf("Fly.io fails after the refresh: got %+v, %v", failed, err)
	}
	breakInfo.Store(false)
	if id, err = signOn.Recheck(t.Context(), failed.Grant); err != nil || id.UserID != "u1" {
		t.Fatalf("the grant of a failed recheck: got %+v, %v", id, err)
	}
	fly.SetUsers(user(""))
	wantCode("a removed user", id.Grant, flyext.CodeNotAMember)
	if _, err := flyext.ParseGrant([]byte("{}")); err == nil {
		t.Error("ParseGrant accepts an empty grant")
	}
}
