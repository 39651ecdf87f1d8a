package flyext_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

func TestSSOSignsIn(t *testing.T) {
	t.Parallel()
	all := []flyext.Membership{{"o1", "admin"}, {"o2", "member"}, {"o4", "auditor"}}
	for name, c := range map[string]struct {
		change    func(*flyext.SSOConfig)
		extension string
		authorize string
		scope     string
		want      flyext.Identity
	}{
		"admin": {
			extension: "x1", authorize: "https://api.fly.io/oauth/authorize", scope: "read",
			want: flyext.Identity{
				UserID: "u1", Name: "Nathan", Email: "u1@customer.fly.io", Role: "admin",
				ExtensionID: "x1", OrganizationID: "o1", Organizations: all, Generation: flyext.Generation2,
			},
		},
		"member": {
			extension: "x2", authorize: "https://api.fly.io/oauth/authorize", scope: "read",
			want: flyext.Identity{
				UserID: "u1", Name: "Nathan", Email: "u1@customer.fly.io", Role: "member",
				ExtensionID: "x2", OrganizationID: "o2", Organizations: all, Generation: flyext.Generation2,
			},
		},
		"id with a slash": {
			extension: "a/b", authorize: "https://api.fly.io/oauth/authorize", scope: "read",
			want: flyext.Identity{
				UserID: "u1", Name: "Nathan", Email: "u1@customer.fly.io", Role: "admin",
				ExtensionID: "a/b", OrganizationID: "o1", Organizations: all, Generation: flyext.Generation2,
			},
		},
		"generation 1": {
			change:    func(s *flyext.SSOConfig) { s.Generation = flyext.Generation1 },
			extension: "x1", authorize: "https://fly.io/oauth/authorize",
			scope: `{"organization_id":"o1","permission":"admin"}`,
			want: flyext.Identity{
				Role: "admin", ExtensionID: "x1", OrganizationID: "o1", Generation: flyext.Generation1,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change := func(*flyext.SSOConfig) {}
			if c.change != nil {
				change = c.change
			}
			st := newSSOTest(t, change)
			b := st.browser()
			to := b.begin(c.extension)
			if got, _, _ := strings.Cut(to, "?"); got != c.authorize {
				t.Errorf("authorize URL is %s, want %s", got, c.authorize)
			}
			for parameterName, want := range map[string]string{
				"client_id": ssoClientID, "response_type": "code", "redirect_uri": ssoBase + "/callback",
				"scope": c.scope, "code_challenge_method": "S256",
			} {
				if got := parameter(t, to, parameterName); got != want {
					t.Errorf("%s is %q, want %q", parameterName, got, want)
				}
			}
			p := b.get(b.authorize(to))
			if p.status != http.StatusSeeOther || p.location() != "/streams/"+c.extension {
				t.Errorf("got %d to %q: %s", p.status, p.location(), p.body)
			}
			if len(st.signedIn) != 1 || !reflect.DeepEqual(st.signedIn[0], c.want) {
				t.Errorf("signed in: %+v, want %+v", st.signedIn, c.want)
			}
		})
	}
}

// One machine starts the handshake and another one, perhaps with other keys,
// completes it.
func TestSSOAcrossMachinesAndKeys(t *testing.T) {
	t.Parallel()
	const newKey = "the-key-that-comes-after-it-0123456789"
	same := func(*flyext.SSOConfig) {}
	both := func(s *flyext.SSOConfig) { s.StateKey, s.OldStateKeys = newKey, []string{ssoStateKey} }
	newOne := func(s *flyext.SSOConfig) { s.StateKey = newKey }
	for name, c := range map[string]struct {
		first, second func(*flyext.SSOConfig)
		code          string // of the refusal, or ""
	}{
		"same key":                           {same, same, ""},
		"new key, old key kept":              {same, both, ""},
		"old key removed after the change":   {both, newOne, ""},
		"new key, old key removed too early": {same, newOne, flyext.CodeInvalidState},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t, c.first)
			b := st.browser()
			callback := b.authorize(b.begin("x1"))
			st.world["logjam.io"] = st.newProvider(c.second)
			p := b.get(callback)
			if c.code != "" {
				st.wantRefusal(p, http.StatusBadRequest, c.code)
			} else if len(st.signedIn) != 1 {
				t.Errorf("got %d %s, want a sign-in", p.status, p.body)
			}
		})
	}
}

// A SignOn without a Provider serves a route for organizations that the service adds.
func TestSSOAlone(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	signOn, err := flyext.NewSignOn(st.config())
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/flyio/organizations/{id}", func(w http.ResponseWriter, r *http.Request) {
		signOn.Begin(w, r, flyext.Destination{OrganizationID: r.PathValue("id"), ExtensionID: r.FormValue("extension")})
	})
	mux.HandleFunc("/flyio/callback", signOn.Callback)
	st.world["logjam.io"] = mux

	for name, c := range map[string]struct {
		target string
		want   flyext.Destination
		code   string
	}{
		"organization":                      {"/organizations/o2", flyext.Destination{OrganizationID: "o2"}, ""},
		"extension of the organization":     {"/organizations/o2?extension=x2", flyext.Destination{ExtensionID: "x2", OrganizationID: "o2"}, ""},
		"extension of another organization": {"/organizations/o2?extension=x1", flyext.Destination{}, flyext.CodeNotFound},
		"not UTF-8":                         {"/organizations/%ff", flyext.Destination{}, flyext.CodeNotFound},
	} {
		b := st.browser()
		p := b.get(ssoBase + c.target)
		if c.code != "" {
			if p.code != c.code {
				t.Errorf("%s: got %d %s, want %s", name, p.status, p.body, c.code)
			}
			continue
		}
		st.signedIn = nil
		b.get(b.authorize(p.location()))
		if len(st.signedIn) != 1 {
			t.Errorf("%s: %d sign-ins, want one", name, len(st.signedIn))
			continue
		}
		id := st.signedIn[0]
		if got := (flyext.Destination{ExtensionID: id.ExtensionID, OrganizationID: id.OrganizationID}); got != c.want || id.Role != "member" {
			t.Errorf("%s: signed in %+v, want a member at %+v", name, id, c.want)
		}
	}
}

func TestSSOBeginNeedsADestination(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	w := httptest.NewRecorder()
	st.provider.SignOn().Begin(w, httptest.NewRequest("GET", "/dashboard", nil), flyext.Destination{})
	if w.Code != http.StatusInternalServerError || !strings.Contains(st.logged(), "Begin needs") {
		t.Errorf("got %d and the log %s, want 500 and the reason", w.Code, st.logged())
	}
	if w.Header().Get("X-Request-Id") == "" || !strings.Contains(st.logged(), w.Header().Get("X-Request-Id")) {
		t.Errorf("the request id is %q, and the log lacks it: %s", w.Header().Get("X-Request-Id"), st.logged())
	}
}

func TestSSOMethods(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	none, err := flyext.New(noProvisioner{}, flyext.Config{BaseURL: ssoBase, Verifier: flyext.XSignature("s")})
	if err != nil {
		t.Fatal(err)
	}
	for _, provider := range []*flyext.Provider{st.provider, none} {
		st.world["logjam.io"] = provider
		for _, path := range []string{"/extensions/x1/sso", "/callback"} {
			for _, method := range []string{"HEAD", "POST", "PUT", "OPTIONS", "DELETE", "FORGED-LOG-ENTRY"} {
				p := st.browser().do(method, ssoBase+path)
				if p.status != http.StatusMethodNotAllowed || p.header.Get("Allow") != "GET" {
					t.Errorf("%s %s: got %d and Allow %q, want 405 and GET", method, path, p.status, p.header.Get("Allow"))
				}
			}
		}
	}
	st.wantNoSignIn()
	if strings.Contains(st.logged(), "FORGED") {
		t.Errorf("the log has an unknown method of the request: %s", st.logged())
	}
}

func TestProviderWithoutSSO(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	none, err := flyext.New(noProvisioner{}, flyext.Config{BaseURL: ssoBase, Verifier: flyext.XSignature("s")})
	if err != nil {
		t.Fatal(err)
	}
	st.world["logjam.io"] = none
	for _, path := range []string{"/extensions/x1/sso", "/callback"} {
		if p := st.browser().get(ssoBase + path); p.status != http.StatusNotImplemented || p.code != flyext.CodeUnsupported {
			t.Errorf("%s: got %d %s, want 501", path, p.status, p.body)
		}
	}
	if none.SignOn() != nil {
		t.Error("SignOn returned a SignOn, want nil")
	}
}

func TestSSOPathsThatAreNone(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	for _, path := range []string{
		"/extensions//sso", "/extensions/x1/sso/", "/extensions/x1/SSO", "/extensions/x1/y/sso",
		"/callback/", "/extensions/callback/x",
	} {
		r := httptest.NewRequest("GET", "/flyio"+path, nil)
		w := httptest.NewRecorder()
		st.provider.ServeHTTP(w, r)
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, w.Code)
		}
	}
}

// A handshake whose browser disconnected is not logged as an error. The answer is a
// page in case the browser is still connected.
func TestSSOAbandoned(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	callback := b.authorize(b.begin("x1"))
	ctx, leave := context.WithCancel(t.Context())
	st.fly.token = func(w http.ResponseWriter, r *http.Request) { leave() }
	r := httptest.NewRequestWithContext(ctx, "GET", callback, nil)
	r.RequestURI = r.URL.RequestURI()
	r.AddCookie(onlyCookie(t, b, callback))
	w := httptest.NewRecorder()
	st.provider.ServeHTTP(w, r)
	if w.Code != http.StatusBadGateway || !strings.Contains(w.Body.String(), flyext.CodeFlyUnavailable) {
		t.Errorf("got %d %q, want 502 with the code", w.Code, w.Body)
	}
	if strings.Contains(st.logged(), "ERROR") || !strings.Contains(st.logged(), "request abandoned") {
		t.Errorf("the log has an error or lacks the abandoned request: %s", st.logged())
	}
	st.wantNoSignIn()
}

// The sign-on works behind http.StripPrefix, which rewrites the path.
func TestSSOUnderStripPrefix(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	st.world["logjam.io"] = http.StripPrefix("/flyio", st.provider)
	b := st.browser()
	b.get(b.authorize(b.begin("a/b")))
	if len(st.signedIn) != 1 || st.signedIn[0].ExtensionID != "a/b" {
		t.Errorf("signed in: %+v", st.signedIn)
	}
}
