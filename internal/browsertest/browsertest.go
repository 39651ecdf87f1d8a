// Package browsertest drives Chromium in tests as a user would: it opens pages,
// clicks, types and reads. It is a separate module, so that users of the library do
// not depend on the driver.
//
// A package's tests share one Chromium, which [Main] stops. Each test has its own
// browser in it, with separate cookies and storage.
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
// An action that fails ends the test, for example if a selector matches nothing. An
// error in a page's console fails the test: an exception, a console.error, a
// violation of the Content-Security-Policy, or a resource that does not load. See
// [Tab.WantComplaint].
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

// defaultPatience is far longer than a step takes on loopback.
const defaultPatience = 60 * time.Second

// slots limits the number of tests that have a browser at the same time.
var slots = make(chan struct{}, 2)

var errNoChromium = errors.New("needs Chromium (Debian: apt-get install chromium; macOS: brew install chromium)")

// chromium starts the Chromium that all tests share.
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
		chromedp.NoSandbox, // unavailable to root, and only the tests' own pages are opened
		chromedp.DisableGPU,
		chromedp.IgnoreCertErrors,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"),
	)
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ = chromedp.NewContext(ctx)
	stopChromium = func() {
		_ = chromedp.Cancel(ctx) // waits for its end
		stop()
		_ = os.RemoveAll(dir)
	}
	return ctx, chromedp.Do(ctx)
})

// stopChromium is called after all tests.
var stopChromium = func() {}

// inMain reports whether Main will stop Chromium.
var inMain atomic.Bool

// Main runs a package's tests, stops the Chromium that they started, and returns
// the exit code for TestMain. Without it, [New] fails, because Chromium would keep
// running.
func Main(m *testing.M) int {
	inMain.Store(true)
	defer func() { stopChromium() }()
	return m.Run()
}

// New opens a browser without cookies and closes it when the test ends. The browser
// reaches only localhost and 127.0.0.1, and accepts any certificate. Without
// Chromium the test is skipped, or fails with CI=true. With -short it is skipped, as
// each test of a separate program.
//
// Only two tests have browsers at the same time; others wait in New. A test may
// open several browsers, for several users. A test with a browser must not wait for
// subtests that call New, because they could wait forever.
func New(t testing.TB) *Tab {
	t.Helper()
	if !inMain.Load() {
		t.Fatal("TestMain does not call browsertest.Main; call it to stop Chromium")
	}
	ctx := start(t)
	takeSlot(t)
	return openTab(t, ctx, chromedp.WithNewBrowserContext())
}

// start starts Chromium, or skips the test if it is not installed.
func start(t testing.TB) context.Context {
	t.Helper()
	if testing.Short() { // .ci/run sets -short together with -race
		t.Skip("-short leaves out the tests with a browser")
	}
	ctx, err := chromium()
	if errors.Is(err, errNoChromium) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

// holders are the tests that have a slot. Such a test does not wait for a second
// slot, because two tests with two browsers each would wait for each other.
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
