package flyext_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

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

// One machine begins the handshake and another one ends it.
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
		"same key":                   {same, same, ""},
		"new key, old one kept":      {same, both, ""},
		"old one not used any more":  {both, newOne, ""},
		"new key, old one forgotten": {same, newOne, flyext.CodeInvalidState},
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

func TestSSOSignedInAlready(t *testing.T) {
	t.Parallel()
	var asked []flyext.Destination
	st := newSSOTest(t, func(s *flyext.SSOConfig) {
		s.SignedIn = func(r *http.Request, to flyext.Destination) string {
			asked = append(asked, to)
			if r.URL.Query().Get("session") == "" {
				return ""
			}
			return "streams/" + to.ExtensionID
		}
	})
	b := st.browser()
	p := b.get(ssoBase + "/extensions/x1/sso?session=1")
	if p.status != http.StatusFound || p.location() != "streams/x1" {
		t.Errorf("got %d to %q, want a redirect to the stream as it is", p.status, p.location())
	}
	if cookies := p.header.Values("Set-Cookie"); len(cookies) > 0 {
		t.Errorf("a handshake began: %q", cookies)
	}
	if p := b.get(ssoBase + "/extensions/x1/sso"); !strings.HasPrefix(p.location(), "https://api.fly.io/") {
		t.Errorf("without a session: redirect to %q, want Fly.io", p.location())
	}
	want := flyext.Destination{ExtensionID: "x1", OrganizationID: "o1"}
	if len(asked) != 2 || asked[0] != want {
		t.Errorf("SignedIn was asked for %+v, want %+v", asked, want)
	}
}

// An organization-level entry, on a route of the service's own, with the
// sign-on alone.
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
		"organization":                  {"/organizations/o2", flyext.Destination{OrganizationID: "o2"}, ""},
		"extension of the organization": {"/organizations/o2?extension=x2", flyext.Destination{ExtensionID: "x2", OrganizationID: "o2"}, ""},
		"extension of another":          {"/organizations/o2?extension=x1", flyext.Destination{}, flyext.CodeNotFound},
		"no UTF-8":                      {"/organizations/%ff", flyext.Destination{}, flyext.CodeNotFound},
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
			t.Errorf("%s: nobody signed in", name)
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
		t.Errorf("got %d, log %s", w.Code, st.logged())
	}
	if w.Header().Get("X-Request-Id") == "" || !strings.Contains(st.logged(), w.Header().Get("X-Request-Id")) {
		t.Errorf("the request's id is %q, and the log is %s", w.Header().Get("X-Request-Id"), st.logged())
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
					t.Errorf("%s %s: got %d, Allow %q", method, path, p.status, p.header.Get("Allow"))
				}
			}
		}
	}
	st.wantNobody()
	if strings.Contains(st.logged(), "FORGED") {
		t.Errorf("the log has a method of a stranger's own: %s", st.logged())
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
		t.Error("SignOn is not nil")
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

func TestSSOFunctionsThatFail(t *testing.T) {
	t.Parallel()
	const inside = "password=hunter2"
	answered := func(w http.ResponseWriter, _ *http.Request, _ *flyext.Identity) error {
		w.WriteHeader(http.StatusOK)
		return errors.New(inside)
	}
	for name, c := range map[string]struct {
		change func(*flyext.SSOConfig)
		status int // 0: the connection is broken off
		code   string
		logged string
	}{
		"OrganizationOf: not found": {func(s *flyext.SSOConfig) {
			s.OrganizationOf = func(context.Context, string) (string, error) { return "", flyext.NotFound("No such stream.") }
		}, 404, flyext.CodeNotFound, "No such stream."},
		"OrganizationOf: an error of its own": {func(s *flyext.SSOConfig) {
			s.OrganizationOf = func(context.Context, string) (string, error) { return "o1", errors.New(inside) }
		}, 500, flyext.CodeInternal, inside},
		"OrganizationOf: no organization": {func(s *flyext.SSOConfig) {
			s.OrganizationOf = func(context.Context, string) (string, error) { return "", nil }
		}, 500, flyext.CodeInternal, "OrganizationOf returned neither"},
		"OrganizationOf: too late": {func(s *flyext.SSOConfig) {
			s.OrganizationOf = func(context.Context, string) (string, error) { return "", context.DeadlineExceeded }
		}, 504, flyext.CodeTimeout, "deadline"},
		"OrganizationOf: panic": {func(s *flyext.SSOConfig) {
			s.OrganizationOf = func(context.Context, string) (string, error) { panic(inside) }
		}, 500, flyext.CodeInternal, inside},
		"SignIn: panic, logged with the extension": {func(s *flyext.SSOConfig) {
			s.SignIn = func(http.ResponseWriter, *http.Request, *flyext.Identity) error { panic(inside) }
		}, 500, flyext.CodeInternal, `"extension_id":"x1","status":500`},
		"SignedIn: no URL": {func(s *flyext.SSOConfig) {
			s.SignedIn = func(*http.Request, flyext.Destination) string { return "/a\nb" }
		}, 500, flyext.CodeInternal, "SignedIn"},
		"SignIn: refusal": {func(s *flyext.SSOConfig) {
			s.SignIn = func(http.ResponseWriter, *http.Request, *flyext.Identity) error {
				return fmt.Errorf("wrapped: %w", flyext.Gone("Your account is closed."))
			}
		}, 410, flyext.CodeGone, "closed"},
		"SignIn: error": {func(s *flyext.SSOConfig) {
			s.SignIn = func(http.ResponseWriter, *http.Request, *flyext.Identity) error { return errors.New(inside) }
		}, 500, flyext.CodeInternal, inside},
		"SignIn: nothing": {func(s *flyext.SSOConfig) {
			s.SignIn = func(http.ResponseWriter, *http.Request, *flyext.Identity) error { return nil }
		}, 500, flyext.CodeInternal, "SignIn neither wrote a response"},
		"SignIn: panic": {func(s *flyext.SSOConfig) {
			s.SignIn = func(http.ResponseWriter, *http.Request, *flyext.Identity) error { panic(inside) }
		}, 500, flyext.CodeInternal, inside},
		"SignIn: error after the answer": {func(s *flyext.SSOConfig) { s.SignIn = answered }, 0, "", inside},
		"SignIn: panic after the answer": {func(s *flyext.SSOConfig) {
			s.SignIn = func(w http.ResponseWriter, _ *http.Request, _ *flyext.Identity) error {
				_, _ = io.WriteString(w, "half a page")
				panic(inside)
			}
		}, 0, "", inside},
		"SignIn: abort": {func(s *flyext.SSOConfig) {
			s.SignIn = func(http.ResponseWriter, *http.Request, *flyext.Identity) error { panic(http.ErrAbortHandler) }
		}, 0, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t, c.change)
			b := st.browser()
			p := b.get(ssoBase + "/extensions/x1/sso")
			if p.status == http.StatusFound {
				callback := b.authorize(p.location())
				if c.status == 0 {
					r := httptest.NewRequest("GET", callback, nil)
					r.RequestURI = r.URL.RequestURI()
					for _, cookie := range b.jar.Cookies(r.URL) {
						r.AddCookie(cookie)
					}
					if err := serveInWorld(st.provider, httptest.NewRecorder(), r); err == nil {
						t.Error("the answer stands, want it broken off")
					}
				} else {
					p = b.get(callback)
				}
			}
			if c.status != 0 && (p.status != c.status || p.code != c.code) {
				t.Errorf("got %d %s, want %d %s", p.status, p.body, c.status, c.code)
			}
			if strings.Contains(p.body, inside) {
				t.Errorf("the page tells what is inside: %s", p.body)
			}
			if !strings.Contains(st.logged(), c.logged) {
				t.Errorf("the log is without %q:\n%s", c.logged, st.logged())
			}
		})
	}
}

// A browser that has left is nobody's failure; if it has not, it gets a page.
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
		t.Errorf("whoever is still there is told %d %q", w.Code, w.Body)
	}
	if strings.Contains(st.logged(), "ERROR") || !strings.Contains(st.logged(), "request abandoned") {
		t.Errorf("log %s", st.logged())
	}
	st.wantNobody()
}

// Under a proxy that strips, and a router that rewrites, the path.
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

func TestSSOTimeoutDefault(t *testing.T) {
	t.Parallel()
	var left time.Duration
	st := newSSOTest(t, func(s *flyext.SSOConfig) {
		s.OrganizationOf = func(ctx context.Context, _ string) (string, error) {
			deadline, ok := ctx.Deadline()
			if !ok {
				return "", errors.New("no deadline")
			}
			left = time.Until(deadline)
			return "o1", nil
		}
	})
	st.browser().begin("x1")
	if left <= 9*time.Second || left > 10*time.Second {
		t.Errorf("OrganizationOf has %v, want 10 seconds", left)
	}
}
