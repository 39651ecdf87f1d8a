package flyext_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

const (
	routeSSO      = "/extensions/{id}/sso"
	routeCallback = "/callback"
)

// observed returns a sign-on test whose provider has an observer.
func observed(t *testing.T, change ...func(*flyext.SSOConfig)) (*ssoTest, *observer) {
	t.Helper()
	st, seen := newSSOTest(t, change...), &observer{}
	config := st.config(change...)
	config.Observe = seen.observe
	p, err := flyext.New(noProvisioner{}, config)
	if err != nil {
		t.Fatal(err)
	}
	st.provider, st.world["logjam.io"] = p, p
	return st, seen
}

// Both requests of a sign-on are observed, with the extension.
func TestObserveSignOn(t *testing.T) {
	t.Parallel()
	st, seen := observed(t)
	b := st.browser()
	callback := b.authorize(b.begin("x1"))
	wantOutcome(t, seen.one(t), flyext.Outcome{Route: routeSSO, Method: "GET", Status: 302, ExtensionID: "x1"})
	seen.all = nil
	if p := b.get(callback); p.status != http.StatusSeeOther {
		t.Fatalf("got %d %s", p.status, p.body)
	}
	wantOutcome(t, seen.one(t), flyext.Outcome{Route: routeCallback, Method: "GET", Status: 303, ExtensionID: "x1"})
}

func TestObserveSignOnRefusals(t *testing.T) {
	t.Parallel()
	signIn := func(f func(http.ResponseWriter) error) func(*flyext.SSOConfig) {
		return func(c *flyext.SSOConfig) {
			c.SignIn = func(w http.ResponseWriter, _ *http.Request, _ *flyext.Identity) error { return f(w) }
		}
	}
	for _, c := range []struct {
		name   string
		change func(*flyext.SSOConfig)
		begin  string // the extension
		target string // "" means the callback of a handshake that began
		want   flyext.Outcome
	}{
		{name: "an unknown extension", target: "/extensions/secret-id/sso",
			want: flyext.Outcome{Route: routeSSO, Method: "GET", Status: 404, Code: flyext.CodeNotFound}},
		{name: "a forged state", target: "/callback?state=forged&code=c",
			want: flyext.Outcome{Route: routeCallback, Method: "GET", Status: 400, Code: flyext.CodeInvalidState}},
		{name: "not a member", begin: "x3",
			want: flyext.Outcome{Route: routeCallback, Method: "GET", Status: 403, Code: flyext.CodeNotAMember, ExtensionID: "x3"}},
		{name: "an error of SignIn", begin: "x1", change: signIn(func(http.ResponseWriter) error { return errOfTheService }),
			want: flyext.Outcome{Route: routeCallback, Method: "GET", Status: 500, Code: flyext.CodeInternal, ExtensionID: "x1",
				Err: errOfTheService}},
		{name: "a panic of SignIn", begin: "x1", change: signIn(func(http.ResponseWriter) error { panic("at the session") }),
			want: flyext.Outcome{Route: routeCallback, Method: "GET", Status: 500, Code: flyext.CodeInternal, ExtensionID: "x1",
				Panic: "at the session"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var changes []func(*flyext.SSOConfig)
			if c.change != nil {
				changes = append(changes, c.change)
			}
			st, seen := observed(t, changes...)
			b := st.browser()
			target := ssoBase + c.target
			if c.target == "" {
				target = b.authorize(b.begin(c.begin))
			}
			seen.all = nil
			b.get(target)
			wantOutcome(t, seen.one(t), c.want)
		})
	}
}

// If SignIn fails after it began its answer, the outcome has the status of that answer
// and the error.
func TestObserveSignOnBrokenOff(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func() error{
		"an error": func() error { return errOfTheService },
		"a panic":  func() error { panic("at the template") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st, seen := observed(t, func(c *flyext.SSOConfig) {
				c.SignIn = func(w http.ResponseWriter, _ *http.Request, _ *flyext.Identity) error {
					w.WriteHeader(http.StatusOK)
					return end()
				}
			})
			b := st.browser()
			r := httptest.NewRequest("GET", b.authorize(b.begin("x1")), nil)
			r.RequestURI = r.URL.RequestURI()
			r.AddCookie(onlyCookie(t, b, r.URL.String()))
			seen.all = nil
			func() {
				defer func() {
					if v := recover(); v != http.ErrAbortHandler {
						t.Errorf("recovered %v, want http.ErrAbortHandler", v)
					}
				}()
				st.provider.ServeHTTP(httptest.NewRecorder(), r)
			}()
			o := seen.one(t)
			if o.Status != 200 || o.Code != "" || o.Err == nil || o.Route != routeCallback || o.ExtensionID != "x1" {
				t.Errorf("got %+v", o)
			}
			if name == "a panic" && (o.Panic != "at the template" || !strings.Contains(string(o.Stack), "TestObserveSignOnBrokenOff")) {
				t.Errorf("got the panic %v with the stack %s", o.Panic, o.Stack)
			}
			if name == "an error" && (!errors.Is(o.Err, errOfTheService) || o.Panic != nil) {
				t.Errorf("got the error %v and the panic %v, want only the error of SignIn", o.Err, o.Panic)
			}
		})
	}
}

// If the browser disconnects during a handshake, the outcome is the answer that it
// would have got.
func TestObserveSignOnAbandoned(t *testing.T) {
	t.Parallel()
	st, seen := observed(t)
	b := st.browser()
	callback := b.authorize(b.begin("x1"))
	seen.all = nil
	ctx, leave := context.WithCancel(t.Context())
	st.fly.token = func(http.ResponseWriter, *http.Request) { leave() }
	r := httptest.NewRequestWithContext(ctx, "GET", callback, nil)
	r.RequestURI = r.URL.RequestURI()
	r.AddCookie(onlyCookie(t, b, callback))
	do(st.provider, r)
	wantOutcome(t, seen.one(t), flyext.Outcome{Route: routeCallback, Method: "GET", Status: 502,
		Code: flyext.CodeFlyUnavailable, ExtensionID: "x1", Err: context.Canceled})
}
