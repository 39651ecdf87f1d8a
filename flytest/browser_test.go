package flytest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext/flytest"
)

func TestBrowser(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the browser requested %s of another origin", r.URL)
	}))
	t.Cleanup(elsewhere.Close)
	mux := http.NewServeMux()
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("seen"); err == nil {
			_, _ = io.WriteString(w, "again")
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "1", Path: "/"})
		_, _ = io.WriteString(w, "for the first time")
	})
	for status := 300; status < 309; status++ {
		mux.HandleFunc(fmt.Sprintf("/redirect/%d", status), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "../page")
			w.WriteHeader(status)
		})
	}
	mux.HandleFunc("/nowhere", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) })
	mux.HandleFunc("/elsewhere", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/a?b=c", http.StatusFound)
	})
	mux.HandleFunc("/javascript", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "javascript:alert(1)")
		w.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://%zz")
		w.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/to-bad", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/bad", http.StatusFound) })
	mux.HandleFunc("/error", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })

	for _, c := range []struct {
		path, body, elsewhere, err string
		status, steps              int
	}{
		{path: "/page", status: 200, steps: 1, body: "for the first time"},
		{path: "/redirect/300", status: 300, steps: 1},
		{path: "/redirect/301", status: 200, steps: 2, body: "for the first time"},
		{path: "/redirect/302", status: 200, steps: 2, body: "for the first time"},
		{path: "/redirect/303", status: 200, steps: 2, body: "for the first time"},
		{path: "/redirect/304", status: 304, steps: 1},
		{path: "/redirect/307", status: 200, steps: 2, body: "for the first time"},
		{path: "/redirect/308", status: 200, steps: 2, body: "for the first time"},
		{path: "/nowhere", status: 302, steps: 1},
		{path: "/elsewhere", status: 302, steps: 1, elsewhere: elsewhere.URL + "/a?b=c"},
		{path: "/javascript", status: 302, steps: 1, elsewhere: "javascript:alert(1)"},
		{path: "/loop", status: 302, steps: 20, err: "flytest: stopped after too many redirects"},
		{path: "/error", status: 403, steps: 1, body: "no\n"},
	} {
		t.Run(c.path, func(t *testing.T) {
			t.Parallel()
			b, err := flytest.NewBrowser(nil, site.URL)
			if err != nil {
				t.Fatal(err)
			}
			visit, err := b.Open(t.Context(), site.URL+c.path)
			if (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
				t.Fatalf("error %v, want %s", err, c.err)
			}
			got := ""
			if visit.Elsewhere != nil {
				got = visit.Elsewhere.String()
			}
			last := visit.Last()
			if last.Response.StatusCode != c.status || len(visit.Exchanges) != c.steps || got != c.elsewhere {
				t.Errorf("got status %s after %d steps and Elsewhere %q, want %d, %d and %q", last.Response.Status, len(visit.Exchanges), got, c.status, c.steps, c.elsewhere)
			}
			if c.body != "" && string(last.ResponseBody) != c.body {
				t.Errorf("got body %q, want %q", last.ResponseBody, c.body)
			}
		})
	}

	t.Run("cookies are a browser's own", func(t *testing.T) {
		t.Parallel()
		for range 2 {
			b, err := flytest.NewBrowser(site.Client(), site.URL)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"for the first time", "again"} {
				visit, err := b.Open(t.Context(), site.URL+"/page")
				if err != nil || string(visit.Last().ResponseBody) != want {
					t.Errorf("got error %v or another page, want %q", err, want)
				}
			}
		}
		if site.Client().Jar != nil {
			t.Error("the caller's client has the cookies")
		}
	})
	t.Run("a page that does not answer", func(t *testing.T) {
		t.Parallel()
		b, err := flytest.NewBrowser(nil, site.URL)
		if err != nil {
			t.Fatal(err)
		}
		if visit, err := b.Open(t.Context(), site.URL+"/bad"); err == nil || visit != nil {
			t.Errorf("got %v, %v, want no visit and an error", visit, err)
		}
		if visit, err := b.Open(t.Context(), site.URL+"/to-bad"); err == nil || len(visit.Exchanges) != 1 {
			t.Errorf("got %v, %v, want one exchange and an error", visit, err)
		}
	})
	t.Run("misuse", func(t *testing.T) {
		t.Parallel()
		for _, text := range []string{"", "logjam.io", "ftp://logjam.io", "https://", "https://%zz"} {
			if b, err := flytest.NewBrowser(nil, text); err == nil {
				t.Errorf("NewBrowser(%q) = %v, want an error", text, b)
			}
		}
		b, err := flytest.NewBrowser(nil, site.URL)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range []string{elsewhere.URL, "/page", "", "https://%zz", strings.Replace(site.URL, "http:", "https:", 1)} {
			if visit, err := b.Open(t.Context(), target); err == nil || visit != nil {
				t.Errorf("Open(%q) = %v, %v, want an error", target, visit, err)
			}
		}
	})
}

func TestDashboardURL(t *testing.T) {
	t.Parallel()
	fly := &flytest.Platform{BaseURL: "HTTPS://Logjam.io:443/flyio/"}
	if got, err := fly.DashboardURL("a/b"); err != nil || got != "https://logjam.io/flyio/extensions/a%2Fb/sso" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := fly.DashboardURL(""); err == nil {
		t.Error("DashboardURL accepts an empty id")
	}
	if _, err := (&flytest.Platform{}).DashboardURL("a"); err == nil {
		t.Error("DashboardURL accepts an empty base URL")
	}
	if _, err := fly.OpenDashboard(t.Context(), "a", "no URL"); err == nil {
		t.Error("OpenDashboard accepts an invalid OAuth URL")
	}
}

// TestBrowserCookies checks that cookies follow the rules of real browsers.
func TestBrowserCookies(t *testing.T) {
	t.Parallel()
	provider, fly := http.NewServeMux(), http.NewServeMux()
	providerServer, flyServer := httptest.NewServer(provider), httptest.NewServer(fly)
	t.Cleanup(providerServer.Close)
	t.Cleanup(flyServer.Close)
	provider.HandleFunc("/begin", func(w http.ResponseWriter, r *http.Request) {
		for _, c := range []http.Cookie{
			{Name: "lax", SameSite: http.SameSiteLaxMode}, {Name: "none"}, {Name: "secure", Secure: true},
			{Name: "strict", SameSite: http.SameSiteStrictMode},
			{Name: "once-strict", SameSite: http.SameSiteStrictMode}, {Name: "once-strict"},
		} {
			c.Value, c.Path = "1", "/"
			http.SetCookie(w, &c)
		}
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	})
	provider.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) {
		var names []string
		for _, c := range r.Cookies() {
			names = append(names, c.Name)
		}
		slices.Sort(names)
		_, _ = io.WriteString(w, strings.Join(names, " "))
	})
	fly.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, providerServer.URL+"/end", http.StatusFound)
	})
	browser, err := flytest.NewBrowser(nil, providerServer.URL, flyServer.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, to, want string }{
		{"on the site", "/begin?to=/end", "lax none once-strict secure strict"},
		{"through another site", "/begin?to=" + url.QueryEscape(flyServer.URL), "lax none once-strict secure"},
		{"typed", "/end", "lax none once-strict secure strict"},
	} {
		visit, err := browser.Open(t.Context(), providerServer.URL+c.to)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(visit.Last().ResponseBody); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
