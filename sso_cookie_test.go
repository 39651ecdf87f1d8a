package flyext_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

// The URLs of a handshake do not reveal its cookie.
func TestCookieForgedFromTheURL(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	attacker := st.browser()
	to := attacker.begin("x1")
	callback := attacker.authorize(to)
	cookie := onlyCookie(t, attacker, callback)

	victim := st.browser()
	u, _ := url.Parse(callback)
	for _, value := range []string{"", parameter(t, to, "code_challenge"), cookie.Name, cookie.Value + "x", strings.ToLower(cookie.Value)} {
		victim.jar.SetCookies(u, []*http.Cookie{{Name: cookie.Name, Value: value, Path: "/flyio", Secure: true}})
		st.wantRefusal(victim.get(callback), http.StatusForbidden, flyext.CodeUnknownHandshake)
	}
	if strings.Contains(to+callback, cookie.Value) {
		t.Error("the PKCE verifier is in a URL")
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(parameter(t, to, "state"), ".")[1])
	if err != nil || strings.Contains(string(payload), cookie.Value) {
		t.Errorf("the PKCE verifier is in the state: %s, %v", payload, err)
	}
}

// onlyCookie returns the only cookie that the browser would send to a URL.
func onlyCookie(t testing.TB, b *browser, target string) *http.Cookie {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	cookies := b.jar.Cookies(u)
	if len(cookies) != 1 {
		t.Fatalf("cookies: %v, want one", cookies)
	}
	return cookies[0]
}

// Two cookies with the name of one handshake are refused, because an attacker may
// have set one of them.
func TestCookieTossing(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	callback := b.authorize(b.begin("x1"))
	cookie := onlyCookie(t, b, callback)
	u, _ := url.Parse(callback)
	b.jar.SetCookies(u, []*http.Cookie{{Name: cookie.Name, Value: cookie.Value, Path: "/flyio/callback", Secure: true}})
	st.wantRefusal(b.get(callback), http.StatusForbidden, flyext.CodeUnknownHandshake)
}

func TestTwoTabs(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	first, second := b.begin("x1"), b.begin("x2")
	b.get(b.authorize(second))
	b.get(b.authorize(first))
	if len(st.signedIn) != 2 || st.signedIn[0].ExtensionID != "x2" || st.signedIn[1].ExtensionID != "x1" {
		t.Errorf("signed in: %+v, want x2 and x1", st.signedIn)
	}
}

// A page that opens dashboards in a loop must not fill the browser's cookies.
func TestCookiesAreFew(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	var last string
	for range 30 {
		last = b.begin("x1")
	}
	u, _ := url.Parse(ssoBase + "/callback")
	if n := len(b.jar.Cookies(u)); n != 8 {
		t.Errorf("%d cookies, want 8", n)
	}
	b.get(b.authorize(last))
	if len(st.signedIn) != 1 {
		t.Error("the newest handshake was forgotten")
	}
}

// Other cookies of the service do not count as handshakes.
func TestCookiesOfTheService(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	u, _ := url.Parse(ssoBase + "/callback")
	first := b.begin("x1")
	for i := range 20 {
		b.jar.SetCookies(u, []*http.Cookie{{Name: fmt.Sprint("preference-", i), Value: "of-the-service", Secure: true}})
	}
	b.begin("x1")
	b.get(b.authorize(first))
	if len(st.signedIn) != 1 {
		t.Error("the first handshake was forgotten")
	}
}

func TestCookieAttributes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		base, path, prefix string
		secure             bool
	}{
		"https":                 {"https://logjam.io/flyio", "/flyio", "__Secure-flyext-sso-", true},
		"https, root":           {"https://logjam.io", "/", "__Secure-flyext-sso-", true},
		"https on loopback":     {"https://127.0.0.1:8443/flyio", "/flyio", "__Secure-flyext-sso-", true},
		"http on loopback":      {"http://127.0.0.1:8080/flyio", "/flyio", "flyext-sso-", false},
		"http on IPv6 loopback": {"http://[::1]:8080/flyio", "/flyio", "flyext-sso-", false},
		"http on localhost":     {"http://localhost:8080/flyio/", "/flyio", "flyext-sso-", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t)
			config := st.config()
			config.BaseURL = c.base
			provider, err := flyext.New(noProvisioner{}, config)
			if err != nil {
				t.Fatal(err)
			}
			base, _ := url.Parse(strings.TrimSuffix(c.base, "/"))
			st.world[base.Host] = provider
			b := st.browser()
			p := b.get(base.String() + "/extensions/x1/sso")
			check := func(header string, maxAge int) {
				t.Helper()
				cookie, err := http.ParseSetCookie(header)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(cookie.Name, c.prefix) || cookie.Path != c.path || cookie.Domain != "" ||
					cookie.Secure != c.secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.MaxAge != maxAge {
					t.Errorf("the cookie has wrong attributes: %s", header)
				}
			}
			check(p.header.Get("Set-Cookie"), 600)
			p = b.get(b.authorize(p.location()))
			check(p.header.Get("Set-Cookie"), -1)
			if len(st.signedIn) != 1 {
				t.Errorf("got %d %s, want a sign-in", p.status, p.body)
			}
		})
	}
}
