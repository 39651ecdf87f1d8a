package main

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// browserPatience is far more than any one step takes on loopback.
const browserPatience = 60 * time.Second

// browsers bounds how many are open at once, so that each gets on.
var browsers = make(chan struct{}, 2)

var errNoChromium = errors.New("there is no Chromium to test the dashboard with (on Debian: apt-get install chromium)")

// chromium starts the one browser of all tests.
var chromium = sync.OnceValues(func() (context.Context, error) {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path == "" {
			path, _ = exec.LookPath(name)
		}
	}
	if path == "" {
		return nil, errNoChromium
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(filepath.Join(buildDir, "chromium")),
		chromedp.NoSandbox, // root cannot have it; and it sees no pages but these tests'
		chromedp.DisableGPU,
		chromedp.IgnoreCertErrors,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"),
	)
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ = chromedp.NewContext(ctx)
	stopChromium = func() {
		_ = chromedp.Cancel(ctx) // waits until it has ended; how does not matter any more
		stop()
	}
	return ctx, chromedp.Do(ctx)
})

// stopChromium is for the end of all tests.
var stopChromium = func() {}

// A tab is one of a browser, which has cookies of its own.
type tab struct {
	t   *testing.T
	ctx context.Context // as long as the tab lives; a step has patience's
}

// patience is the context of one step.
func (b *tab) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.ctx, browserPatience)
}

// newBrowser opens a browser without cookies.
func newBrowser(t *testing.T) *tab {
	t.Helper()
	ctx, err := chromium()
	if errors.Is(err, errNoChromium) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	browsers <- struct{}{}
	t.Cleanup(func() { <-browsers })
	return openTab(t, ctx, chromedp.WithNewBrowserContext())
}

func openTab(t *testing.T, parent context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // the tab lives as long as the context of its first action
		t.Fatal(err)
	}
	return &tab{t, ctx}
}

// another opens a second tab of the same browser.
func (b *tab) another() *tab {
	b.t.Helper()
	return openTab(b.t, b.ctx)
}

func do[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := b.patience()
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// navigate does what leads to another page, which must have a status.
func (b *tab) navigate(step chromedp.Action[chromedp.Void], status int64) {
	b.t.Helper()
	ctx, cancel := b.patience()
	defer cancel()
	answer, err := chromedp.RunResponse(ctx, step)
	if err != nil {
		b.t.Fatal(err)
	}
	if answer.Status != status {
		b.t.Fatalf("%s answered with %d, want %d:\n%s", answer.URL, answer.Status, status, b.text("body"))
	}
}

func (b *tab) open(target string, status int64) {
	b.t.Helper()
	b.navigate(chromedp.Navigate(target), status)
}

func (b *tab) click(selector string, status int64) {
	b.t.Helper()
	b.navigate(chromedp.Click(chromedp.CSS(selector)), status)
}

// back presses the back button, and says whether the page came from Chromium's
// cache, as the user had left it. That one is loaded already, so that chromedp's
// own way back would wait for it for ever.
func (b *tab) back() (cached bool) {
	b.t.Helper()
	history := do(b, chromedp.NavigationEntries())
	if history.CurrentIndex == 0 {
		b.t.Fatal("there is no page to go back to")
	}
	ctx, cancel := b.patience()
	defer cancel()
	navigated, loaded := chromedp.Events(ctx, cdppage.FrameNavigated), chromedp.Events(ctx, cdppage.LoadEventFired)
	_, err := chromedp.Call(ctx, cdppage.NavigateToHistoryEntry, cdppage.NavigateToHistoryEntryParams{
		EntryID: history.Entries[history.CurrentIndex-1].ID,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if first(b, navigated).Type == cdppage.NavigationTypeBackForwardCacheRestore {
		return true
	}
	first(b, loaded)
	return false
}

// first waits for an event.
func first[E any](b *tab, events iter.Seq2[E, error]) E {
	b.t.Helper()
	for event, err := range events {
		if err != nil {
			b.t.Fatal(err)
		}
		return event
	}
	b.t.Fatal("the browser is gone")
	panic("unreachable")
}

func (b *tab) text(selector string) string {
	b.t.Helper()
	return do(b, chromedp.EvaluateAsDevTools[string]("document.querySelector(`"+selector+"`).innerText"))
}

// wantPage checks where the browser is and what it shows there.
func (b *tab) wantPage(target, text string) {
	b.t.Helper()
	if got := do(b, chromedp.Location()); got != target {
		b.t.Errorf("the browser is at %s, want %s", got, target)
	}
	if got := b.text("body"); !strings.Contains(got, text) {
		b.t.Errorf("the page is %q, want %q on it", got, text)
	}
}

// cookies are what the browser has stored, of all sites.
func (b *tab) cookies() []*network.Cookie {
	b.t.Helper()
	params := storage.GetCookiesParams{BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID}
	ctx, cancel := b.patience()
	defer cancel()
	stored, err := chromedp.CallBrowser(ctx, storage.GetCookies, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return stored.Cookies
}

// session returns the session cookie, or nil.
func (b *tab) session() *network.Cookie {
	b.t.Helper()
	cookies := b.cookies()
	i := slices.IndexFunc(cookies, func(c *network.Cookie) bool { return strings.HasSuffix(c.Name, "logjam-session") })
	if i < 0 {
		return nil
	}
	return cookies[i]
}

// signIn makes a choice on the played Fly.io's page.
func (b *tab) signIn(userID string, status int64) {
	b.t.Helper()
	do(b, chromedp.Click(chromedp.CSS(`input[value="`+userID+`"]`)))
	b.click("#sign-in", status)
}

// An internet is Logjam and the played Fly.io, on two sites: 127.0.0.1 and
// localhost.
type internet struct {
	logjam *Logjam
	fly    *flytest.OAuthServer
	base   string // Logjam's base URL
	origin string // of Logjam

	mu        sync.Mutex
	callbacks []string // URLs that Logjam was called back with
}

// Users of the played Fly.io, and organizations that they are in.
const (
	nathan, emmy, stranger = "nathan", "emmy", "stranger"
	collider, hadron       = "collider", "hadron"
)

// newInternet starts it. With TLS, a proxy in front of Logjam has it.
func newInternet(t *testing.T, withTLS bool) *internet {
	t.Helper()
	fly := httptest.NewUnstartedServer(nil)
	_, port, _ := strings.Cut(fly.Listener.Addr().String(), ":")
	c := config{
		addr: "127.0.0.1:0", db: dbPath(t), signingSecrets: []string{testSecret},
		clientID: "logjam", clientSecret: "client-secret", oauthURL: "http://localhost:" + port,
	}
	proxy := httptest.NewUnstartedServer(nil)
	t.Cleanup(proxy.Close)
	if withTLS {
		c.baseURL = "https://" + proxy.Listener.Addr().String() + "/flyio"
	}
	s, err := newServer(t.Context(), c, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.close() })
	t.Cleanup(func() { s.http.Close() })
	if withTLS {
		proxy.Config.Handler = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: s.listener.Addr().String()})
			r.Out.Host = r.In.Host
		}}
		proxy.StartTLS()
	}

	n := &internet{logjam: &Logjam{s.store}, base: s.baseURL, origin: strings.TrimSuffix(s.baseURL, "/flyio")}
	handler := s.http.Handler
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/flyio/callback" {
			n.mu.Lock()
			n.callbacks = append(n.callbacks, n.origin+r.RequestURI)
			n.mu.Unlock()
		}
		handler.ServeHTTP(w, r)
	})
	go s.http.Serve(s.listener) // until it is closed

	n.fly = &flytest.OAuthServer{ClientID: c.clientID, ClientSecret: c.clientSecret, RedirectURLs: []string{n.base + "/callback"}}
	n.fly.SetUsers(
		flytest.User{ID: nathan, Name: "Nathan", Organizations: []flytest.Membership{
			{OrganizationID: collider, Role: "admin"}, {OrganizationID: hadron, Role: "member"},
		}},
		flytest.User{ID: emmy, Name: "Emmy", Organizations: []flytest.Membership{{OrganizationID: collider, Role: "member"}}},
		flytest.User{ID: stranger, Name: "Stranger", Organizations: []flytest.Membership{{OrganizationID: hadron, Role: "admin"}}},
	)
	fly.Config.Handler = n.fly
	fly.Start()
	t.Cleanup(fly.Close)

	for _, x := range []struct{ id, name, organization string }{
		{"alpha", "collider-prod", collider}, {"beta", "collider-staging", collider}, {"gamma", "hadron-prod", hadron},
	} {
		provision(t, n.logjam, &flyext.ProvisionRequest{
			ID: x.id, Name: x.name, OrganizationID: x.organization, OrganizationName: strings.ToUpper(x.organization),
			UserID: nathan, UserEmail: "nathan@customer.fly.io", PrimaryRegion: "mad", ReadRegions: []string{"fra", "syd"},
		})
	}
	return n
}

func (n *internet) sso(id string) string    { return n.base + "/extensions/" + id + "/sso" }
func (n *internet) stream(id string) string { return n.origin + "/streams/" + id }

// signedIn is a browser that came in, for the stream alpha.
func (n *internet) signedIn(t *testing.T, userID string) *tab {
	t.Helper()
	b := newBrowser(t)
	b.open(n.sso("alpha"), http.StatusOK)
	b.signIn(userID, http.StatusOK)
	b.wantPage(n.stream("alpha"), "collider-prod")
	return b
}

// lastCallback is the URL that Logjam was called back with last.
func (n *internet) lastCallback(t *testing.T) string {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.callbacks) == 0 {
		t.Fatal("nobody was sent back to Logjam")
	}
	return n.callbacks[len(n.callbacks)-1]
}

// asked counts the handshakes that reached Fly.io.
func (n *internet) asked() int {
	count := 0
	for _, r := range n.fly.Requests() {
		if r.Method == http.MethodGet && r.Path == flytest.AuthorizeEndpoint {
			count++
		}
	}
	return count
}
