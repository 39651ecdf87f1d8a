package flyext_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

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
		t.Errorf("got %d to %q, want a redirect to the URL of SignedIn", p.status, p.location())
	}
	if cookies := p.header.Values("Set-Cookie"); len(cookies) > 0 {
		t.Errorf("a handshake was started: %q", cookies)
	}
	if p := b.get(ssoBase + "/extensions/x1/sso"); !strings.HasPrefix(p.location(), "https://api.fly.io/") {
		t.Errorf("without a session: redirect to %q, want Fly.io", p.location())
	}
	want := flyext.Destination{ExtensionID: "x1", OrganizationID: "o1"}
	if len(asked) != 2 || asked[0] != want {
		t.Errorf("SignedIn was called for %+v, want two calls for %+v", asked, want)
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
		status int // 0: the connection is closed
		code   string
		logged string
	}{
		"OrganizationOf: not found": {func(s *flyext.SSOConfig) {
			s.OrganizationOf = func(context.Context, string) (string, error) { return "", flyext.NotFound("No such stream.") }
		}, 404, flyext.CodeNotFound, "No such stream."},
		"OrganizationOf: another error": {func(s *flyext.SSOConfig) {
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
		"SignedIn: not a URL": {func(s *flyext.SSOConfig) {
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
		"SignIn: no answer and no error": {func(s *flyext.SSOConfig) {
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
						t.Error("the answer was completed, want the connection closed")
					}
				} else {
					p = b.get(callback)
				}
			}
			if c.status != 0 && (p.status != c.status || p.code != c.code) {
				t.Errorf("got %d %s, want %d %s", p.status, p.body, c.status, c.code)
			}
			if strings.Contains(p.body, inside) {
				t.Errorf("the page shows the text of the internal error: %s", p.body)
			}
			if !strings.Contains(st.logged(), c.logged) {
				t.Errorf("the log lacks %q:\n%s", c.logged, st.logged())
			}
		})
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

// The records of a sign-on on the service's own routes name the half of the handshake.
func TestSSORecordsNameTheRoute(t *testing.T) {
	t.Parallel()
	log := &logBuffer{}
	config := newSSOTest(t).config()
	config.Logger = log.logger()
	signOn, err := flyext.NewSignOn(config)
	if err != nil {
		t.Fatal(err)
	}
	refused := httptest.NewRequest("POST", "/flyio/start", nil)
	for want, call := range map[string]func(http.ResponseWriter){
		"/extensions/{id}/sso": func(w http.ResponseWriter) { signOn.Begin(w, refused, flyext.Destination{ExtensionID: "x1"}) },
		"/organizations/{organization_id}/sso": func(w http.ResponseWriter) {
			signOn.Begin(w, refused, flyext.Destination{OrganizationID: "o1"})
		},
		"/callback": func(w http.ResponseWriter) { signOn.Callback(w, refused) },
	} {
		call(httptest.NewRecorder())
		if !strings.Contains(log.text(), want) {
			t.Errorf("the log has no route %s: %s", want, log.text())
		}
	}
}

// If Fly.io sends no new refresh token, the old one stays valid (RFC 6749, section 6).
func TestRecheckKeepsTheRefreshToken(t *testing.T) {
	t.Parallel()
	fly := http.NewServeMux()
	fly.HandleFunc("POST /oauth/token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("refresh_token") != "r1" || r.FormValue("grant_type") != "refresh_token" {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = io.WriteString(w, `{"access_token":"a"}`)
	})
	fly.HandleFunc("GET /oauth/token/info", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"user_id":"u1","organizations":[{"id":"o1","role":"admin"}]}`)
	})
	config := newSSOTest(t).config()
	config.SSO.KeepGrant, config.SSO.HTTPClient = true, &http.Client{Transport: world{"api.fly.io": fly}}
	signOn, err := flyext.NewSignOn(config)
	if err != nil {
		t.Fatal(err)
	}
	stored := `{"user_id":"u1","organization_id":"o1","refresh_token":"r1"}`
	grant, err := flyext.ParseGrant([]byte(stored))
	if err != nil {
		t.Fatal(err)
	}
	id, err := signOn.Recheck(t.Context(), grant)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := id.Grant.Reveal(); err != nil || string(text) != stored {
		t.Errorf("the new grant is %s, %v; want %s", text, err, stored)
	}
}
