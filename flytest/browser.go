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

// A Browser simulates a customer's browser. It keeps cookies, follows redirects
// and records every step. It runs no scripts and submits no forms. Create one
// Browser for each customer. A Browser is not safe for concurrent use.
//
// Its cookies follow the rules of real browsers. Secure cookies are sent to
// loopback hosts even without TLS. SameSite=Strict cookies are not sent after a
// redirect has passed another origin, such as Fly.io's sign-on.
type Browser struct {
	platform Platform // exchanges requests and answers, without a signature
	jar      *cookies
	origins  []string
}

// cookies keeps SameSite=Strict cookies in a jar of their own.
type cookies struct {
	strict, others http.CookieJar
	crossed        bool // a redirect has led to another origin
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

// trusted returns the URL by which a jar decides whether a cookie may be Secure.
// Browsers do not require TLS on loopback hosts.
func trusted(u *url.URL) *url.URL {
	host := u.Hostname()
	if host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return u
	}
	secure := *u
	secure.Scheme = "https"
	return &secure
}

// NewBrowser returns a Browser without cookies that visits only the origins of
// urls. A redirect to any other origin ends the visit. The browser uses client but
// ignores its redirect policy and its cookie jar; nil means [http.DefaultClient].
// Each URL must be an absolute http or https URL, otherwise NewBrowser returns an
// error.
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
			return nil, fmt.Errorf("flytest: %q must be an absolute http or https URL", text)
		}
		b.origins = append(b.origins, originOf(u.String()))
	}
	return b, nil
}

// A Visit is the result of [Browser.Open].
type Visit struct {
	// Exchanges are the requests and their answers in order, including redirects.
	// There is at least one.
	Exchanges []Exchange
	// Elsewhere is the target of the last answer's redirect, if the browser does
	// not visit its origin. Otherwise it is nil.
	Elsewhere *url.URL
}

// Last returns the last exchange, which has the page that the visit ended at.
func (v *Visit) Last() Exchange { return v.Exchanges[len(v.Exchanges)-1] }

// maxRedirects is the limit of common browsers.
const maxRedirects = 20

var errRedirects = errors.New("flytest: stopped after too many redirects")

// Open opens a URL and follows its redirects. An answer with any status is a
// success.
//
// Open returns an error if the browser does not visit the URL's origin, if a
// request gets no answer, or after 20 redirects. The returned visit then ends at
// the last answer, and is nil if there was no answer.
func (b *Browser) Open(ctx context.Context, target string) (*Visit, error) {
	to, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("flytest: %w", err)
	}
	if !b.visits(to) {
		return nil, fmt.Errorf("flytest: the browser does not visit %s; pass its origin to NewBrowser", to.Redacted())
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

// redirectOf returns the target of a redirect, or nil. net/http has already
// refused a Location that is not a URL.
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

// DashboardURL returns the URL that "flyctl ext <provider> dashboard" opens in the
// customer's browser: {base}/extensions/{id}/sso. It returns an error if id is
// empty or BaseURL is invalid.
func (p *Platform) DashboardURL(id string) (string, error) {
	if id == "" {
		return "", errNoID
	}
	base, err := p.base()
	return base + ExtensionPath(id) + "/sso", err
}

// OpenDashboard opens the dashboard of an extension in a new browser and follows
// the single sign-on to the provider's own pages. The browser visits only the
// origins of BaseURL and oauthURL.
//
// oauthURL is the URL of the [OAuthServer] that the provider redirects to. Call
// [OAuthServer.SetChoice] first, because the browser does not submit the form of
// the sign-on. The errors are those of [Browser.Open].
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
