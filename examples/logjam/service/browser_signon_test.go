package service

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestBrowserSignsIn(t *testing.T) {
	t.Parallel()
	for _, withTLS := range []bool{false, true} {
		t.Run(map[bool]string{false: "http", true: "https"}[withTLS], func(t *testing.T) {
			t.Parallel()
			n := newInternet(t, withTLS)
			b := newBrowser(t)
			b.Open(n.sso("alpha"), http.StatusOK)
			if at := b.Location(); !strings.HasPrefix(at, "http://localhost:") {
				t.Fatalf("the browser is at %s, want Fly.io's sign-on", at)
			}
			handshake := b.Cookies()
			if len(handshake) != 1 {
				t.Fatalf("%d cookies, want only the handshake's", len(handshake))
			}
			wantCookie(t, handshake[0], map[bool]string{false: "flyext-sso-", true: "__Secure-flyext-sso-"}[withTLS], "/flyio", withTLS, 10*time.Minute)

			b.signIn(nathan, http.StatusOK)
			b.WantPage(n.stream("alpha"), "LOGJAM_URL")
			for selector, want := range map[string]string{
				"h1": "collider-prod", "#status": "ready", "#plan": "starter", "#read-regions": "fra, syd",
				"#user": "Nathan", "#organization": "COLLIDER", ".activities": "Signed in",
			} {
				if got := b.Text(selector); !strings.Contains(got, want) {
					t.Errorf("%s is %q, want %q", selector, got, want)
				}
			}
			cookies := b.Cookies()
			if len(cookies) != 1 {
				t.Fatalf("%d cookies, want only the session's", len(cookies))
			}
			wantCookie(t, cookies[0], map[bool]string{false: "logjam-session", true: "__Host-logjam-session"}[withTLS], "/", withTLS, sessionLifetime)

			asked := n.asked()
			b.Open(n.sso("beta"), http.StatusOK)
			b.WantPage(n.stream("beta"), "collider-staging")
			if n.asked() != asked {
				t.Error("the browser has a session, but was sent to Fly.io")
			}
		})
	}
}

// wantCookie checks a cookie as the browser stored it.
func wantCookie(t *testing.T, c *http.Cookie, name, path string, secure bool, life time.Duration) {
	t.Helper()
	if !strings.HasPrefix(c.Name, name) || c.Domain != "127.0.0.1" || c.Path != path {
		t.Errorf("cookie %s for %s%s, want %s… for 127.0.0.1%s", c.Name, c.Domain, c.Path, name, path)
	}
	if c.Secure != secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("%s: Secure %t, HttpOnly %t, SameSite %d; want Secure %t, HttpOnly true, SameSite %d",
			c.Name, c.Secure, c.HttpOnly, c.SameSite, secure, http.SameSiteLaxMode)
	}
	left := time.Until(c.Expires)
	if left > life+time.Minute || left < life-time.Minute {
		t.Errorf("%s expires in %s, want %s", c.Name, left, life)
	}
}

func TestBrowserSeesOrganization(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	b := newBrowser(t)
	b.Open(n.base+"/organizations/"+collider+"/sso", http.StatusOK)
	b.signIn(emmy, http.StatusOK)
	b.WantPage(n.origin+"/organizations/"+collider, "collider-staging")
	if got := b.Text("body"); strings.Contains(got, "hadron") {
		t.Errorf("another organization's stream is on the page: %s", got)
	}
	b.Click(`a[href="/streams/alpha"]`, http.StatusOK)
	b.WantPage(n.stream("alpha"), "collider-prod")
	b.Click("#organization", http.StatusOK)
	b.WantPage(n.origin+"/organizations/"+collider, "Recent activity")
	b.Click(".brand", http.StatusOK)
	b.WantPage(n.origin+"/organizations/"+collider, "Recent activity")
}

func TestBrowserSignsOut(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	b := n.signedIn(t, nathan)
	old := b.session()
	b.Click("#sign-out", http.StatusOK)
	b.WantPage(n.origin+"/", "You are not signed in")
	if left := b.Cookies(); len(left) > 0 {
		t.Errorf("the browser still has the cookie %s", left[0].Name)
	}
	b.Back()
	b.WantPage(n.stream("alpha"), "You are not signed in")

	// A copy of the cookie, made before the user signed out.
	b.SetCookie(old)
	b.Open(n.stream("alpha"), http.StatusForbidden)
	b.WantPage(n.stream("alpha"), "You are not signed in")

	b.Click(".button", http.StatusOK)
	b.signIn(nathan, http.StatusOK)
	b.WantPage(n.stream("alpha"), "collider-prod")
	if b.session().Value == old.Value {
		t.Error("the new session has the old one's id")
	}
}

func TestBrowserIsRefused(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	for _, test := range []struct {
		name string
		act  func(b *tab)
		want string
	}{
		{"member of another organization", func(b *tab) { b.signIn(stranger, http.StatusForbidden) }, "You are not a member of the organization"},
		{"member who shares only another organization", func(b *tab) {
			b.Select("#organization", hadron)
			b.signIn(nathan, http.StatusForbidden)
		}, "You are not a member of the organization"},
		{"cancelled", func(b *tab) { b.Click("#cancel", http.StatusForbidden) }, "You cancelled the sign-in"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBrowser(t)
			b.Open(n.sso("alpha"), http.StatusOK)
			test.act(b)
			if got := b.Text("main"); !strings.Contains(got, test.want) {
				t.Errorf("the page says %q, want %q", got, test.want)
			}
			if left := b.Cookies(); len(left) > 0 {
				t.Errorf("the browser has the cookie %s", left[0].Name)
			}
			b.Open(n.stream("alpha"), http.StatusForbidden)
		})
	}
}

// TestBrowserChangesOrganization checks that a session for one organization does
// not show another's stream, and that a member of both can sign in to the other.
func TestBrowserChangesOrganization(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	b := n.signedIn(t, nathan)
	first := b.session()
	b.Open(n.stream("gamma"), http.StatusNotFound)
	b.Click(".button", http.StatusOK)
	b.signIn(nathan, http.StatusOK)
	b.WantPage(n.stream("gamma"), "hadron-prod")
	b.Open(n.stream("alpha"), http.StatusNotFound)
	b.SetCookie(first)
	b.Open(n.stream("alpha"), http.StatusForbidden) // the first session is over
}

func TestBrowserGoesBack(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	b := n.signedIn(t, nathan)
	if b.Back() {
		b.Reload(http.StatusOK)
	}
	if at := b.Location(); !strings.HasPrefix(at, "http://localhost:") {
		t.Fatalf("the Back button leads to %s, want Fly.io and not the callback", at)
	}
	// Another user finishes the same handshake again. The handshake is over and the
	// browser has a session, so Logjam shows the stream.
	b.signIn(emmy, http.StatusOK)
	b.Open(n.stream("alpha"), http.StatusOK)
	if got := b.Text("#user"); got != "Nathan" {
		t.Errorf("signed in as %q, want Nathan", got)
	}
}

func TestBrowserHasTwoTabs(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	first := newBrowser(t)
	second := &tab{first.Another(), t}
	first.Open(n.sso("alpha"), http.StatusOK)
	second.Open(n.sso("beta"), http.StatusOK)
	if got := len(first.Cookies()); got != 2 {
		t.Errorf("%d cookies for two handshakes, want 2", got)
	}
	first.signIn(nathan, http.StatusOK)
	first.WantPage(n.stream("alpha"), "collider-prod")
	second.signIn(nathan, http.StatusOK)
	second.WantPage(n.stream("beta"), "collider-staging")
	first.Reload(http.StatusOK)
	first.WantPage(n.stream("alpha"), "collider-prod")
}

func TestBrowserReplaysCallback(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	b := n.signedIn(t, nathan)
	b.Click("#sign-out", http.StatusOK)
	b.Open(n.lastCallback(t), http.StatusForbidden)
	if got := b.Text("main"); !strings.Contains(got, "This sign-in is over") {
		t.Errorf("the page says %q", got)
	}
	if c := b.session(); c != nil {
		t.Error("a replayed callback started a session")
	}
}

// TestBrowserIsLuredIntoLogin checks login CSRF: an attacker signs in, stops before
// the callback, and makes a victim's browser open the callback. That must not sign
// the victim in as the attacker.
func TestBrowserIsLuredIntoLogin(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	callback := n.unusedCallback(t)
	victim := newBrowser(t)
	victim.Open(callback, http.StatusForbidden)
	if got := victim.Text("main"); !strings.Contains(got, "it began in another browser") {
		t.Errorf("the page says %q", got)
	}
	if left := victim.Cookies(); len(left) > 0 {
		t.Errorf("the victim's browser has the cookie %s", left[0].Name)
	}

	// The same while the victim has a handshake of their own.
	victim.Open(n.sso("alpha"), http.StatusOK)
	victim.Open(callback, http.StatusForbidden)
	if victim.session() != nil {
		t.Error("the victim is signed in")
	}
}

// unusedCallback returns the callback URL of an attacker's sign-in, before its use.
func (n *internet) unusedCallback(t *testing.T) string {
	t.Helper()
	location := func(r *http.Request, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode/100 != 3 {
			t.Fatalf("%s answered with %s", r.URL, answer.Status)
		}
		return answer.Header.Get("Location")
	}
	authorize := location(http.NewRequestWithContext(t.Context(), http.MethodGet, n.sso("alpha"), nil))
	choice, err := http.NewRequestWithContext(t.Context(), http.MethodPost, authorize, strings.NewReader("action=sign-in&user="+nathan))
	choice.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return location(choice, err)
}

// TestBrowserIsLuredIntoSignOut checks that a form on another site cannot sign the
// user out.
func TestBrowserIsLuredIntoSignOut(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte(`<form method="post" action="` + n.origin + `/sign-out"><button id="win">Win</button></form>`))
	}))
	t.Cleanup(site.Close)
	b := n.signedIn(t, nathan)
	for _, host := range []string{"localhost", "127.0.0.1"} { // another site; the same site, but another origin
		b.Open(strings.Replace(site.URL, "127.0.0.1", host, 1), http.StatusOK)
		b.Click("#win", http.StatusForbidden)
		b.Open(n.stream("alpha"), http.StatusOK)
		b.WantPage(n.stream("alpha"), "collider-prod")
	}
}
