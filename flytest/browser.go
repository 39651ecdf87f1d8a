package flytest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
)

// A Browser is a customer's: it keeps cookies and follows redirects, and shows
// every step that it took. It runs no scripts and fills in no forms. Another
// browser is another Browser. It is not safe for concurrent use.
//
// As browsers do, it sends cookies that are Secure to this machine without TLS as
// well, and those that are SameSite=Strict not on a way that led through another
// origin, such as Fly.io's sign-on.
type Browser struct {
	platform Platform // for how it exchanges; it signs nothing
	jar      *cookies
	origins  []string
}

// Cookies keep those that are SameSite=Strict apart.
type cookies struct {
	strict, others http.CookieJar
	crossed        bool // the way led through another origin
}

// SetCookies implements [http.CookieJar].
func (c *cookies) SetCookies(u *url.URL, set []*http.Cookie) {
	for _, cookie := range set {
		jar, other := c.others, c.strict
		if cookie.SameSite == http.SameSiteStrictMode {
			jar, other = other, jar
		}
		replaced := *cookie
		replaced.Value, replaced.MaxAge = "", -1
		other.SetCookies(trusted(u), []*http.Cookie{&replaced})
		jar.SetCookies(trusted(u), []*http.Cookie{cookie})
	}
}

// Cookies implements [http.CookieJar].
func (c *cookies) Cookies(u *url.URL) []*http.Cookie {
	have := c.others.Cookies(trusted(u))
	if c.crossed {
		return have
	}
	return append(have, c.strict.Cookies(trusted(u))...)
}

// trusted returns the URL that says whether a cookie may be Secure. Of this
// machine a browser does not ask for TLS.
func trusted(u *url.URL) *url.URL {
	host := u.Hostname()
	if host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return u
	}
	secure := *u
	secure.Scheme = "https"
	return &secure
}

// NewBrowser returns a browser without cookies. It sends requests to the
// origins of the given URLs and to nobody else: a redirect that leads elsewhere
// ends the visit. client is used without its redirects and cookies; nil means
// [http.DefaultClient]. A URL that is not absolute is an error.
func NewBrowser(client *http.Client, urls ...string) (*Browser, error) {
	strict, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	others, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	jar := &cookies{strict: strict, others: others}
	b := &Browser{jar: jar}
	if client == nil {
		client = http.DefaultClient
	}
	own := *client
	own.Jar = jar
	b.platform.Client = &own
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return nil, fmt.Errorf("flytest: %q is no http or https URL", text)
		}
		b.origins = append(b.origins, originOf(u.String()))
	}
	return b, nil
}

// A Visit is what came of opening a URL.
type Visit struct {
	// Exchanges are the requests and their answers, redirects included, in
	// their order. There is at least one.
	Exchanges []Exchange
	// Elsewhere is where the last answer redirects to, if the browser does not
	// go there; else nil.
	Elsewhere *url.URL
}

// Last returns the last exchange: the page that the visit ended at.
func (v *Visit) Last() Exchange { return v.Exchanges[len(v.Exchanges)-1] }

// maxRedirects is what browsers give up at.
const maxRedirects = 20

var errRedirects = errors.New("flytest: stopped after too many redirects")

// Open opens a URL and follows where it leads. An answer of any status is no
// error; a page that does not answer is, and so are too many redirects. The
// visit then ends at the last answer that there was, and may be nil.
func (b *Browser) Open(ctx context.Context, target string) (*Visit, error) {
	to, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("flytest: %w", err)
	}
	if !b.visits(to) {
		return nil, fmt.Errorf("flytest: the browser does not visit %s", to.Redacted())
	}
	var visit *Visit
	b.jar.crossed = false
	for range maxRedirects {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
		if err != nil {
			return visit, fmt.Errorf("flytest: %w", err)
		}
		r.Header.Set("User-Agent", "flytest")
		r.Header.Set("Accept", "text/html")
		e, err := b.platform.exchange(r)
		if err != nil {
			return visit, err
		}
		if visit == nil {
			visit = &Visit{}
		}
		visit.Exchanges = append(visit.Exchanges, e)
		next := redirectOf(e.Response)
		if next == nil {
			return visit, nil
		}
		if !b.visits(next) {
			visit.Elsewhere = next
			return visit, nil
		}
		b.jar.crossed = b.jar.crossed || originOf(next.String()) != originOf(to.String())
		to = next
	}
	return visit, errRedirects
}

func (b *Browser) visits(u *url.URL) bool {
	return u.Host != "" && slices.Contains(b.origins, originOf(u.String()))
}

// redirectOf returns where an answer sends a browser, or nil. One whose Location
// is no URL was an error already, of net/http.
func redirectOf(answer *http.Response) *url.URL {
	switch answer.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil
	}
	to, err := answer.Location()
	if err != nil {
		return nil
	}
	return to
}

// DashboardURL returns what "flyctl ext <provider> dashboard" opens in the
// customer's browser: {base}/extensions/{id}/sso.
func (p *Platform) DashboardURL(id string) (string, error) {
	if id == "" {
		return "", errNoID
	}
	base, err := p.base()
	return base + ExtensionPath(id) + "/sso", err
}

// OpenDashboard is a customer who opens the dashboard of an extension in a new
// browser: it walks the single sign-on as far as the provider's own pages. The
// browser visits the provider and oauthURL, where the [OAuthServer] is that the
// provider sends it to; that one must choose for itself, by
// [OAuthServer.SetChoice].
func (p *Platform) OpenDashboard(ctx context.Context, id, oauthURL string) (*Visit, error) {
	target, err := p.DashboardURL(id)
	if err != nil {
		return nil, err
	}
	b, err := NewBrowser(p.Client, target, oauthURL)
	if err != nil {
		return nil, err
	}
	return b.Open(ctx, target)
}
