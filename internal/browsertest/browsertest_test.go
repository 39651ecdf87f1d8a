package browsertest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext/internal/browsertest"
)

func TestMain(m *testing.M) {
	if os.Getenv("WITHOUT_MAIN") == "true" {
		os.Exit(m.Run())
	}
	os.Exit(browsertest.Main(m))
}

// pages are the pages of a site by path.
var pages = map[string]string{
	"/": `<title>Start</title><main id="main"><h1>Start</h1><p hidden id="hidden">secret</p>
		<a id="next" href="/next">Next</a> <a id="missing" href="/missing">Missing</a></main>`,
	"/next": `<h1>Next</h1>`,
	"/form": `<form action="/saved">
		<label>Name <input id="name" name="name" value="unknown"></label>
		<textarea name="note"></textarea>
		<select id="region"><option value="ams">Amsterdam</option><option value="mad">Madrid</option><option disabled value="syd">Sydney</option></select>
		<input type="checkbox" id="agree">
		<input id="fixed" readonly value="fixed">
		<button id="save">Save</button></form>
		<output></output>
		<script>for (const type of ["input", "change"]) addEventListener(type, e => document.querySelector("output").append(type + " " + e.target.id + ";"))</script>`,
	"/live": `<p id="count">0</p><button id="go">Go</button><script>
		go.onclick = () => setTimeout(() => {
			count.textContent = "1";
			setTimeout(() => count.insertAdjacentHTML("afterend", "<p id=late>late</p>"), 50);
		}, 50)</script>`,
	"/look": `<meta name="viewport" content="width=device-width"><style>
		:root { color-scheme: light dark } body { background: white; color: black; margin: 0 } #pale { color: #999 } #wide { width: 600px; height: 1px } a { display: block; height: 60px }
		@media (prefers-color-scheme: dark) { body { background: black; color: white } }</style>
		<p>plain</p><p id="pale">pale</p><p>twice</p><p style="color: #888">twice</p><div id="wide"></div><a href="/">large</a><button style="height: 20px">small</button>`,
	"/glass":     `<body style="background: white"><p style="color: rgb(0 0 0 / 50%)">glass</p>`,
	"/exception": `<script>setTimeout(() => { throw new Error("so it goes") })</script>`,
	"/promise":   `<script>Promise.reject(new Error("so it went"))</script>`,
	"/console":   `<script>console.error("a bad %s", "day"); console.warn("a mere warning")</script>`,
	"/assert":    `<script>console.assert(1 > 2, "one is no more than two")</script>`,
	"/resource":  `<script src="/gone.js"></script>`,
	"/frame":     `<iframe src="/gone.html"></iframe>`,
	"/fetch":     `<button id="go">Go</button><script>go.onclick = () => fetch("/gone.json")</script>`,
	"/cookie":    `<h1>Set</h1>`,
}

// policies are the Content-Security-Policies of pages that violate them.
var policies = map[string]string{
	"/policy-script": "script-src 'none'",
	"/policy-style":  "style-src 'none'",
	"/policy-image":  "img-src 'none'",
}

// site serves the pages.
func site(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		body, ok := pages[r.URL.Path]
		policy, strict := policies[r.URL.Path]
		switch {
		case r.URL.Path == "/saved":
			fmt.Fprintf(w, "<h1>Saved %s</h1><p>%s", r.FormValue("name"), r.FormValue("note"))
		case strict:
			w.Header().Set("Content-Security-Policy", policy)
			fmt.Fprint(w, `<style>p { color: red }</style><script>1</script><img src="/next">`)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, "<h1>Page not found</h1>")
		default:
			if r.URL.Path == "/cookie" {
				http.SetCookie(w, &http.Cookie{Name: "crumb", Value: "1", Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: 60})
			}
			fmt.Fprint(w, "<!doctype html>"+body)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// A subject is a test that records its failures.
type subject struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (s *subject) Errorf(format string, args ...any) {
	s.failures = append(s.failures, fmt.Sprintf(format, args...))
}

func (s *subject) Fatal(args ...any) {
	s.failures = append(s.failures, fmt.Sprint(args...))
	runtime.Goexit()
}

func (s *subject) Fatalf(format string, args ...any) { s.Fatal(fmt.Sprintf(format, args...)) }
func (s *subject) Cleanup(f func())                  { s.cleanups = append(s.cleanups, f) }

// failures runs a test and returns its failures.
func failures(t *testing.T, test func(t testing.TB)) []string {
	t.Helper()
	s := &subject{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		test(s)
	}()
	<-ended
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
	return s.failures
}

// TestFails checks the failure in tests that the driver must fail.
func TestFails(t *testing.T) {
	t.Parallel()
	browsertest.Need(t)
	url := site(t)
	goTo := func(path string) func(*browsertest.Tab) {
		return func(b *browsertest.Tab) { b.Open(url+path, http.StatusOK) }
	}
	impatient := func(b *browsertest.Tab) *browsertest.Tab {
		b.SetPatience(2 * time.Second)
		return b
	}
	for _, test := range []struct {
		name string
		act  func(*browsertest.Tab)
		want string
	}{
		{"status of an opened page", func(b *browsertest.Tab) { b.Open(url+"/missing", http.StatusOK) }, "returned 404, want 200:\nPage not found"},
		{"status of a clicked page", func(b *browsertest.Tab) {
			goTo("/")(b)
			b.Click("#missing", http.StatusOK)
		}, "returned 404, want 200"},
		{"click that opens no page", func(b *browsertest.Tab) {
			goTo("/")(b)
			b.Navigate(func() { browsertest.Eval[bool](b, `(location.hash = "main", true)`) }, http.StatusOK)
		}, "still on the page"},
		{"click without an element", func(b *browsertest.Tab) {
			goTo("/")(b)
			impatient(b).ClickHere("#nothing")
		}, "deadline exceeded"},
		{"another page", func(b *browsertest.Tab) {
			goTo("/")(b)
			b.WantPage(url+"/next", "Start")
		}, "want " + url + "/next"},
		{"another text", func(b *browsertest.Tab) {
			goTo("/")(b)
			b.WantPage(url+"/", "secret")
		}, `want "secret" in it`},
		{"text without an element", func(b *browsertest.Tab) {
			goTo("/")(b)
			b.Text("#nothing")
		}, "nothing on the page matches #nothing"},
		{"no element appears", func(b *browsertest.Tab) {
			goTo("/live")(b)
			impatient(b).WaitFor("#late")
		}, `the page shows "0`},
		{"the element is hidden", func(b *browsertest.Tab) {
			goTo("/")(b)
			impatient(b).WaitFor("#hidden")
		}, "deadline exceeded"},
		{"the text stays", func(b *browsertest.Tab) {
			goTo("/live")(b)
			impatient(b).WaitForText("#count", "1")
		}, "deadline exceeded"},
		{"a condition that throws", func(b *browsertest.Tab) {
			goTo("/live")(b)
			b.WaitUntil("nothing.at.all")
		}, "nothing is not defined"},
		{"readonly field", func(b *browsertest.Tab) {
			goTo("/form")(b)
			b.Fill("#fixed", "loose")
		}, "#fixed is not editable"},
		{"missing option", func(b *browsertest.Tab) {
			goTo("/form")(b)
			b.Select("#region", "fra")
		}, `option "fra" of #region is missing`},
		{"disabled option", func(b *browsertest.Tab) {
			goTo("/form")(b)
			b.Select("#region", "syd")
		}, `option "syd" of #region is missing or disabled`},
		{"no page to go back to", func(b *browsertest.Tab) { b.Back() }, "no page to go back to"},
		{"color that cannot be measured", func(b *browsertest.Tab) {
			goTo("/glass")(b)
			b.Look("p", "a")
		}, "cannot measure the color"},
		{"exception", goTo("/exception"), "so it goes"},
		{"promise", goTo("/promise"), "so it went"},
		{"console.error", goTo("/console"), "console.error: a bad %s day"},
		{"console.assert", goTo("/assert"), "one is no more than two"},
		{"resource", goTo("/resource"), "/gone.js"},
		{"frame", goTo("/frame"), "/gone.html"},
		{"script against the policy", goTo("/policy-script"), "script-src 'none'"},
		{"style against the policy", goTo("/policy-style"), "style-src 'none'"},
		{"image against the policy", goTo("/policy-image"), "img-src 'none'"},
		{"complaint of the previous page", func(b *browsertest.Tab) {
			goTo("/console")(b)
			goTo("/next")(b)
		}, "a bad"},
		{"complaint on another site", func(b *browsertest.Tab) {
			goTo("/next")(b)
			b.Open(strings.Replace(url, "127.0.0.1", "localhost", 1)+"/console", http.StatusOK)
		}, "a bad"},
		{"complaint in another tab", func(b *browsertest.Tab) { goTo("/console")(b.Another()) }, "a bad"},
		{"complaint twice, wanted once", func(b *browsertest.Tab) {
			goTo("/console")(b)
			goTo("/console")(b)
			b.WantComplaint("a bad")
		}, "a bad"},
		{"no complaint", func(b *browsertest.Tab) {
			goTo("/next")(b)
			impatient(b).WantComplaint("a good day")
		}, `waiting for a console error with "a good day"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := failures(t, func(t testing.TB) {
				test.act(browsertest.New(t))
			})
			if len(got) != 1 || !strings.Contains(got[0], test.want) {
				t.Errorf("got failures %q, want one with %q", got, test.want)
			}
		})
	}
}

// TestLacks checks the results without Chromium and without Main.
func TestLacks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, env string
		want      []string
		fails     bool
	}{
		{"Chromium, on a user's machine", "CI=", []string{"--- SKIP", "needs Chromium", "apt-get install chromium"}, false},
		{"Chromium, in CI", "CI=true", []string{"--- FAIL", "apt-get install chromium"}, true},
		{"Main", "WITHOUT_MAIN=true", []string{"--- FAIL", "does not call browsertest.Main"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			program, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(program, "-test.v", "-test.run", "^TestOpens$")
			cmd.Env = []string{"PATH=" + t.TempDir(), "TMPDIR=" + t.TempDir(), test.env}
			output, err := cmd.CombinedOutput()
			if (err != nil) != test.fails {
				t.Errorf("got %v, want a failure: %t", err, test.fails)
			}
			for _, want := range test.want {
				if !strings.Contains(string(output), want) {
					t.Errorf("got output\n%s\nwant %q in it", output, want)
				}
			}
		})
	}
}
