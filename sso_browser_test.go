package flyext_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// A browser keeps cookies and does not follow redirects by itself.
type browser struct {
	st     *ssoTest
	jar    *cookiejar.Jar
	accept string
}

func (st *ssoTest) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		st.t.Fatal(err)
	}
	return &browser{st: st, jar: jar, accept: "application/json"}
}

// A page is an answer with its body.
type page struct {
	status int
	header http.Header
	body   string
	code   string // of the error, if the body is JSON
}

func (p page) location() string { return p.header.Get("Location") }

func (b *browser) do(method, target string) page {
	b.st.t.Helper()
	r, err := http.NewRequestWithContext(b.st.t.Context(), method, target, nil)
	if err != nil {
		b.st.t.Fatal(err)
	}
	r.Header.Set("Accept", b.accept)
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	answer, err := b.st.world.RoundTrip(r)
	if err != nil {
		b.st.t.Fatal(err)
	}
	b.jar.SetCookies(r.URL, answer.Cookies())
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		b.st.t.Fatal(err)
	}
	p := page{status: answer.StatusCode, header: answer.Header, body: string(body)}
	var e struct{ Error string }
	if json.Unmarshal(body, &e) == nil {
		p.code = e.Error
	}
	if r.URL.Host == "logjam.io" {
		b.check(r, p)
	}
	return p
}

// check tests the requirements for all answers of the sign-on.
func (b *browser) check(r *http.Request, p page) {
	b.st.t.Helper()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
	} {
		if got := p.header.Get(name); got != want {
			b.st.t.Errorf("%s %s: %s is %q, want %q", r.Method, r.URL.Path, name, got, want)
		}
	}
	policy := p.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
		b.st.t.Errorf("%s: Content-Security-Policy is %q", r.URL.Path, policy)
	}
	b.st.noSecretsIn("a page", p.body)
	b.st.noSecretsIn("a redirect", p.location())
	for _, c := range b.jar.Cookies(r.URL) {
		if strings.Contains(p.body+p.location(), c.Value) {
			b.st.t.Errorf("%s shows the cookie %s", r.URL.Path, c.Name)
		}
	}
}

func (b *browser) get(target string) page {
	b.st.t.Helper()
	return b.do(http.MethodGet, target)
}

// begin opens an extension's dashboard and returns the URL of the redirect.
func (b *browser) begin(extensionID string) (authorize string) {
	b.st.t.Helper()
	p := b.get(ssoBase + "/extensions/" + url.PathEscape(extensionID) + "/sso")
	if p.status != http.StatusFound {
		b.st.t.Fatalf("sso of %s: status %d, %s", extensionID, p.status, p.body)
	}
	return p.location()
}

// authorize signs in at Fly.io and returns the URL of the callback.
func (b *browser) authorize(target string) (callback string) {
	b.st.t.Helper()
	p := b.get(target)
	if p.status != http.StatusFound {
		b.st.t.Fatalf("authorize: status %d, %s", p.status, p.body)
	}
	return p.location()
}

// edit replaces one parameter of a URL, or removes it if there are no values.
func edit(t testing.TB, target, name string, values ...string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q[name] = values
	if len(values) == 0 {
		delete(q, name)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func parameter(t testing.TB, target, name string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get(name)
}
