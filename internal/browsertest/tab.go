package browsertest

import (
	"context"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// A Tab is a tab of a browser that [New] opened. Only the test's goroutine may use
// it. A step that takes longer than a minute ends the test.
type Tab struct {
	t        testing.TB
	ctx      context.Context // ends when the tab closes
	patience time.Duration   // timeout of a step
	console  console
}

// step returns the context of one step.
func (b *Tab) step() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.ctx, b.patience)
}

func do[T any](b *Tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := b.step()
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

func call[P, R any](b *Tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := b.step()
	defer cancel()
	result, err := chromedp.Call(ctx, command, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// Another opens a second tab of the same browser, with the same cookies.
func (b *Tab) Another() *Tab {
	b.t.Helper()
	return openTab(b.t, b.ctx)
}

// Open opens a URL and checks the status of the response.
func (b *Tab) Open(target string, status int) {
	b.t.Helper()
	b.navigate(chromedp.Navigate(target), status)
}

// Click clicks a link or button that opens another page, and checks the status of
// the response after redirects. For other elements, use [Tab.ClickHere].
func (b *Tab) Click(selector string, status int) {
	b.t.Helper()
	b.navigate(chromedp.Click(chromedp.CSS(selector)), status)
}

// ClickHere clicks an element that does not open another page, such as a radio
// button or a button with a script. It does not wait for the script; see
// [Tab.WaitFor].
func (b *Tab) ClickHere(selector string) {
	b.t.Helper()
	do(b, chromedp.Click(chromedp.CSS(selector)))
}

// Reload reloads the page and checks the status of the response.
func (b *Tab) Reload(status int) {
	b.t.Helper()
	b.navigate(chromedp.Reload(), status)
}

// Navigate performs steps that open another page, waits for it, and checks the
// status of the response:
//
//	b.Navigate(func() { b.Press(browsertest.KeyEnter) }, http.StatusOK)
func (b *Tab) Navigate(steps func(), status int) {
	b.t.Helper()
	b.navigate(func(context.Context, *chromedp.Target) (chromedp.Void, error) {
		steps()
		return chromedp.Void{}, nil
	}, status)
}

func (b *Tab) navigate(step chromedp.Action[chromedp.Void], status int) {
	b.t.Helper()
	ctx, cancel := b.step()
	defer cancel()
	answer, err := chromedp.RunResponse(ctx, step)
	if err != nil {
		b.t.Fatal(err)
	}
	if answer == nil {
		b.t.Fatalf("the browser is still on the page %s", b.Location())
	}
	if answer.Status != int64(status) {
		b.t.Fatalf("%s returned %d, want %d:\n%s", answer.URL, answer.Status, status, b.Text("body"))
	}
}

// Back presses the back button and reports whether Chromium restored the page from
// its cache, in the state in which the user left it.
func (b *Tab) Back() (cached bool) {
	b.t.Helper()
	history := do(b, chromedp.NavigationEntries())
	if history.CurrentIndex == 0 {
		b.t.Fatal("no page to go back to")
	}
	// chromedp's own function would wait forever for a cached page to load.
	ctx, cancel := b.step()
	defer cancel()
	navigated, loaded := chromedp.Events(ctx, cdppage.FrameNavigated), chromedp.Events(ctx, cdppage.LoadEventFired)
	call(b, cdppage.NavigateToHistoryEntry, cdppage.NavigateToHistoryEntryParams{
		EntryID: history.Entries[history.CurrentIndex-1].ID,
	})
	if first(b, navigated).Type == cdppage.NavigationTypeBackForwardCacheRestore {
		return true
	}
	first(b, loaded)
	return false
}

// first waits for an event.
func first[E any](b *Tab, events iter.Seq2[E, error]) E {
	b.t.Helper()
	for event, err := range events {
		if err != nil {
			b.t.Fatal(err)
		}
		return event
	}
	b.t.Fatal("the browser has closed")
	panic("unreachable")
}

// Location returns the URL of the page.
func (b *Tab) Location() string {
	b.t.Helper()
	return do(b, chromedp.Location())
}

// WantPage checks the URL of the page and that it shows text. A difference fails
// the test without ending it.
func (b *Tab) WantPage(target, text string) {
	b.t.Helper()
	if got := b.Location(); got != target {
		b.t.Errorf("the URL is %s, want %s", got, target)
	}
	if got := b.Text("body"); !strings.Contains(got, text) {
		b.t.Errorf("the page shows %q, want %q in it", got, text)
	}
}

// Cookies returns the browser's cookies of all sites. Expires is set, in whole
// seconds, if a cookie is not a session cookie. MaxAge is never set.
func (b *Tab) Cookies() []*http.Cookie {
	b.t.Helper()
	ctx, cancel := b.step()
	defer cancel()
	params := storage.GetCookiesParams{BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID}
	stored, err := chromedp.CallBrowser(ctx, storage.GetCookies, params)
	if err != nil {
		b.t.Fatal(err)
	}
	var cookies []*http.Cookie
	for _, c := range stored.Cookies {
		cookie := &http.Cookie{
			Name: c.Name, Value: c.Value, Domain: c.Domain, Path: c.Path,
			Secure: c.Secure, HttpOnly: c.HTTPOnly, SameSite: sameSites[c.SameSite],
		}
		if !c.Session {
			cookie.Expires = time.Unix(int64(c.Expires), 0)
		}
		cookies = append(cookies, cookie)
	}
	return cookies
}

// SetCookie stores a cookie returned by [Tab.Cookies] until the browser closes, as
// an attacker would who copied it. Domain is required.
func (b *Tab) SetCookie(c *http.Cookie) {
	b.t.Helper()
	params := network.SetCookieParams{
		Name: c.Name, Value: c.Value, Domain: c.Domain, Path: c.Path, Secure: &c.Secure, HTTPOnly: &c.HttpOnly,
	}
	for name, mode := range sameSites {
		if mode == c.SameSite {
			params.SameSite = name
		}
	}
	call(b, network.SetCookie, params)
}

// sameSites omits cookies without SameSite, which have the zero value in both
// types.
var sameSites = map[network.CookieSameSite]http.SameSite{
	network.CookieSameSiteStrict: http.SameSiteStrictMode,
	network.CookieSameSiteLax:    http.SameSiteLaxMode,
	network.CookieSameSiteNone:   http.SameSiteNoneMode,
}
