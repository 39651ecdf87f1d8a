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

// A Tab is one of a browser that [New] opened. Only the test's goroutine may use
// it. A step that takes longer than a minute ends the test.
type Tab struct {
	t        testing.TB
	ctx      context.Context // as long as the tab lives
	patience time.Duration   // of one step
	console  console
}

// step is the context of one step.
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

// Open goes to a URL, whose answer must have a status.
func (b *Tab) Open(target string, status int) {
	b.t.Helper()
	b.navigate(chromedp.Navigate(target), status)
}

// Click clicks what leads to another page: a link, or a form's button. The
// page's answer must have a status, the last one's where it redirects. What does
// not lead away is for [Tab.ClickHere].
func (b *Tab) Click(selector string, status int) {
	b.t.Helper()
	b.navigate(chromedp.Click(chromedp.CSS(selector)), status)
}

// ClickHere clicks what leaves the browser on its page, such as a radio button
// or one with a script. It does not wait for what the script does: see
// [Tab.WaitFor].
func (b *Tab) ClickHere(selector string) {
	b.t.Helper()
	do(b, chromedp.Click(chromedp.CSS(selector)))
}

// Reload loads the page once more. Its answer must have a status.
func (b *Tab) Reload(status int) {
	b.t.Helper()
	b.navigate(chromedp.Reload(), status)
}

// Navigate takes steps that lead to another page, and waits for it. Its answer
// must have a status:
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
		b.t.Fatalf("the browser is still on its page, %s", b.Location())
	}
	if answer.Status != int64(status) {
		b.t.Fatalf("%s answered with %d, want %d:\n%s", answer.URL, answer.Status, status, b.Text("body"))
	}
}

// Back presses the back button, and says whether the page came from Chromium's
// cache, as the user had left it.
func (b *Tab) Back() (cached bool) {
	b.t.Helper()
	history := do(b, chromedp.NavigationEntries())
	if history.CurrentIndex == 0 {
		b.t.Fatal("there is no page to go back to")
	}
	// A cached page is loaded already: chromedp's own way back would wait for that
	// for ever.
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
	b.t.Fatal("the browser is gone")
	panic("unreachable")
}

// Location is the URL that the browser is at.
func (b *Tab) Location() string {
	b.t.Helper()
	return do(b, chromedp.Location())
}

// WantPage checks where the browser is, and that text is among what it shows
// there. The test goes on where it is not.
func (b *Tab) WantPage(target, text string) {
	b.t.Helper()
	if got := b.Location(); got != target {
		b.t.Errorf("the browser is at %s, want %s", got, target)
	}
	if got := b.Text("body"); !strings.Contains(got, text) {
		b.t.Errorf("the page is %q, want %q on it", got, text)
	}
}

// Cookies are what the browser has stored, of all sites. Expires is set, in whole
// seconds, where a cookie outlives the browser; MaxAge never is.
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

// SetCookie stores a cookie of [Tab.Cookies] until the browser is closed, as
// somebody would who has copied it. It needs its Domain.
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

// sameSites has no name for a cookie that says nothing: that one is the zero
// value on both sides.
var sameSites = map[network.CookieSameSite]http.SameSite{
	network.CookieSameSiteStrict: http.SameSiteStrictMode,
	network.CookieSameSiteLax:    http.SameSiteLaxMode,
	network.CookieSameSiteNone:   http.SameSiteNoneMode,
}
