// Package browsertest drives Chromium in tests, as a person would: it opens
// pages, clicks, types and reads. It is a module of its own, so that the driver
// beneath it reaches no user of the library.
//
// A package's tests share one Chromium, which [Main] stops. In it, each test has
// a browser of its own: cookies and storage that no other test sees.
//
//	func TestMain(m *testing.M) { os.Exit(browsertest.Main(m)) }
//
//	func TestForm(t *testing.T) {
//		b := browsertest.New(t)
//		b.Open(server.URL, http.StatusOK)
//		b.Fill("#name", "Nathan")
//		b.Click("#save", http.StatusOK)
//		b.WantPage(server.URL+"/saved", "Nathan")
//	}
//
// What cannot be done ends the test, as a selector that matches nothing does.
// And what a page complains of in its console fails it: an exception, a
// console.error, a violation of its Content-Security-Policy, a resource that
// would not load. See [Tab.WantComplaint].
package browsertest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// defaultPatience is far more than any one step takes on loopback.
const defaultPatience = 60 * time.Second

// slots bounds how many tests have a browser at once, so that each gets on.
var slots = make(chan struct{}, 2)

var errNoChromium = errors.New("needs Chromium (Debian: apt-get install chromium; macOS: brew install chromium)")

// chromium starts the one Chromium of all tests.
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
	dir, err := os.MkdirTemp("", "browsertest-")
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(dir),
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
		_ = os.RemoveAll(dir)
	}
	return ctx, chromedp.Do(ctx)
})

// stopChromium is for the end of all tests.
var stopChromium = func() {}

// inMain is whether somebody will stop Chromium.
var inMain atomic.Bool

// Main runs a package's tests, stops the Chromium that they started, if any, and
// returns what to exit with. It is for TestMain: without it, [New] fails, because
// Chromium would stay.
func Main(m *testing.M) int {
	inMain.Store(true)
	defer func() { stopChromium() }()
	return m.Run()
}

// New opens a browser without cookies, and closes it when the test ends. It
// knows no hosts but localhost and 127.0.0.1, and trusts any certificate of
// theirs. Without Chromium the test is skipped; where the environment has
// CI=true, it fails.
//
// Two tests have a browser at once; others wait in New for their turn. A test
// may open several, for several people. But a test with a browser must not wait
// for subtests that open their own: it would keep a turn from them.
func New(t testing.TB) *Tab {
	t.Helper()
	if !inMain.Load() {
		t.Fatal("TestMain does not call browsertest.Main, which stops Chromium")
	}
	ctx := start(t)
	takeSlot(t)
	return openTab(t, ctx, chromedp.WithNewBrowserContext())
}

// start starts Chromium, or skips the test on a machine without it.
func start(t testing.TB) context.Context {
	t.Helper()
	ctx, err := chromium()
	if errors.Is(err, errNoChromium) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

// holders are the tests that have a slot. One that has need not wait for
// another's, or two tests with two browsers each would wait for each other.
var holders sync.Map

func takeSlot(t testing.TB) {
	if _, has := holders.LoadOrStore(t, true); has {
		return
	}
	slots <- struct{}{}
	t.Cleanup(func() {
		holders.Delete(t)
		<-slots
	})
}

func openTab(t testing.TB, parent context.Context, options ...chromedp.ContextOption) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // the tab lives as long as the context of its first action
		t.Fatal(err)
	}
	b := &Tab{t: t, ctx: ctx, patience: defaultPatience}
	b.listen()
	return b
}
