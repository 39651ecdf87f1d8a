package console_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
)

// A page of another site resolves its own name to 127.0.0.1, so that the browser
// takes the console for its origin (DNS rebinding).
func TestAttackRebinding(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	path := w.provision("ext1")
	for _, test := range []struct {
		host string
		ok   bool
	}{
		{"localhost:4000", true},
		{"LocalHost:4000", true},
		{"127.0.0.1:4000", true},
		{"[::1]:4000", true},
		{"evil.example:4000", false},
		{"evil.example", false},
		{"localhost.evil.example:4000", false},
		{"localhost:4001", false},
		{"localhost", false},
		{"127.0.0.1.evil.example:4000", false},
		{"127.0.0.2:4000", false},
		{"", false},
	} {
		for _, target := range []string{"/", path, "/users", "/debugger", "/requests/2/explain", "/wire/2/answer", "/live", "/icon.svg", authorizePath} {
			if test.ok && target == "/live" {
				continue // the stream does not end
			}
			r := httptest.NewRequest(http.MethodGet, ownURL+target, nil)
			r.Host = test.host
			rec := w.do(r)
			if got := rec.Code == http.StatusOK; got != test.ok {
				t.Errorf("Host %q, %s: %d", test.host, target, rec.Code)
			}
			if !test.ok && (rec.Code != http.StatusMisdirectedRequest || strings.Contains(rec.Body.String(), "collider")) {
				t.Errorf("Host %q, %s: %d %s", test.host, target, rec.Code, rec.Body)
			}
		}
		r := formRequest(path+"/deprovision", nil)
		r.Host = test.host
		if got := w.do(r).Code == http.StatusSeeOther; got != test.ok {
			t.Errorf("Host %q: the form was accepted: %t", test.host, got)
		}
	}
}

// A page of another site sends forms to the console (CSRF).
func TestAttackCrossOrigin(t *testing.T) {
	t.Parallel()
	asked := 0
	sound := newLogjam().handler(t, providerBase, "")
	w := newWorld(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked++
		sound.ServeHTTP(rw, r)
	}))
	path := w.provision("ext1")
	asked = 0
	for _, test := range []struct {
		name   string
		header http.Header
	}{
		{"another site", http.Header{"Sec-Fetch-Site": {"cross-site"}}},
		{"the provider's port of the same host", http.Header{"Sec-Fetch-Site": {"same-site"}}},
		{"an old browser, another origin", http.Header{"Origin": {"https://evil.example"}}},
		{"an old browser, no origin to tell", http.Header{"Origin": {"null"}}},
		{"its own name on another port", http.Header{"Origin": {"http://localhost:8080"}}},
	} {
		for _, target := range []string{
			"/extensions", "/debugger", path + "/provision", path + "/update", path + "/fetch", path + "/deprovision", path + "/event", path + "/forget", "/users", authorizePath,
		} {
			r := httptest.NewRequest(http.MethodPost, ownURL+target, strings.NewReader("id=evil&name=evil&was=&action=save"))
			r.Header = test.header.Clone()
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if rec := w.do(r); rec.Code != http.StatusForbidden {
				t.Errorf("%s, POST %s: %d", test.name, target, rec.Code)
			}
		}
	}
	if asked != 0 {
		t.Errorf("the provider got %d requests", asked)
	}
	if got := w.page("/"); strings.Contains(got, "evil") {
		t.Error("a user was added")
	}
}

// A page of another site makes the browser send requests that cost memory or hold
// connections. The guard refuses each of them before any work.
func TestAttackCrossSiteCost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), func(c *console.Config) { c.WebhookSecret = webhookSecret })
	fetch := http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"no-cors"}, "Sec-Fetch-Dest": {"empty"}}
	sameSite := http.Header{"Sec-Fetch-Site": {"same-site"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}
	frame := http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"iframe"}}
	old := http.Header{"Origin": {"https://evil.example"}}
	window := http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
	own := http.Header{"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}
	for _, test := range []struct {
		name, method, path string
		header             http.Header
		refused            bool
	}{
		{"stream of another site", "GET", "/live", fetch, true},
		{"stream of another port", "GET", "/live", sameSite, true},
		{"stream in a frame", "GET", "/live", frame, true},
		{"stream in a window", "GET", "/live", window, true},
		{"stream of an old browser", "GET", "/live", old, true},
		{"page fetched", "GET", "/users", fetch, true},
		{"page in a frame", "GET", "/", frame, true},
		{"page in a window", "GET", "/", window, false},
		{"own page", "GET", "/", own, false},
		{"OAuth form of another site", "POST", "/oauth/x", fetch, true},
		{"OAuth form in a window", "POST", "/oauth/authorize", window, true},
		{"OAuth form of an old browser", "POST", "/oauth/x", old, true},
		{"webhook of another site", "POST", "/webhooks", fetch, true},
		{"report of another site", "POST", "/requests/reported", fetch, true},
		{"sign-in page from the provider", "GET", authorizePath, window, false},
		{"token request of a program", "POST", "/oauth/token", nil, false},
	} {
		r := httptest.NewRequest(test.method, ownURL+test.path, strings.NewReader(strings.Repeat("a&", 30<<10)))
		r.Header = test.header.Clone()
		if r.Header == nil {
			r.Header = http.Header{}
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if test.path == "/live" {
			ended, end := context.WithCancel(t.Context())
			end() // an admitted stream would not end
			r = r.WithContext(ended)
		}
		if rec := w.do(r); (rec.Code == http.StatusForbidden) != test.refused {
			t.Errorf("%s: %d", test.name, rec.Code)
		}
	}
	if page := w.page("/users"); strings.Contains(page, "/oauth/x") {
		t.Error("the page lists a request of another site")
	}
}

// A link or an image changes nothing: each action needs a POST.
func TestAttackByLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	path := w.provision("ext1")
	for _, action := range []string{"provision", "update", "fetch", "event", "deprovision", "forget"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
			r := httptest.NewRequest(method, ownURL+path+"/"+action, nil)
			if rec := w.do(r); rec.Code != http.StatusNotFound {
				t.Errorf("%s %s: %d", method, action, rec.Code)
			}
		}
	}
	w.wantAll(w.page(path), "✓</span> ready")
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	path := w.provision("ext1")
	for _, target := range []string{"/", path, "/users", "/webhooks", "/debugger", "/requests/2/explain", "/nothing", "/wire/2/answer", "/icon.svg"} {
		h := w.get(target).Header()
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", target, name, got, want)
			}
		}
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; ") || !strings.Contains(policy, "frame-ancestors 'none'") ||
			strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "http") {
			t.Errorf("%s: the policy is %s", target, policy)
		}
	}
	// The policy allows exactly the style sheet and the script of the page.
	page := w.page(path)
	policy := w.get(path).Header().Get("Content-Security-Policy")
	for tag, directive := range map[string]string{"style": "style-src", "script": "script-src"} {
		found := regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllStringSubmatch(page, -1)
		if len(found) != 1 {
			t.Fatalf("%d elements %s", len(found), tag)
		}
		sum := sha256.Sum256([]byte(found[0][1]))
		if want := directive + " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "';"; !strings.Contains(policy, want) {
			t.Errorf("the policy %s has no %s", policy, want)
		}
	}
	if found := regexp.MustCompile(`(?i)<[^>]*\s(on[a-z]+|style)\s*=`).FindString(body(page)); found != "" {
		t.Errorf("the page has an inline handler or style: %s", found)
	}
	if found := regexp.MustCompile(`(?i)\s(src|href)="(https?:)?//[^"]*`).FindAllString(body(page), -1); len(found) != 2 {
		t.Errorf("links that lead elsewhere: %q, want those to the two dashboards", found)
	}
}

func TestAttackLargeForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	rec := w.do(formRequest("/extensions", url.Values{"id": {"a"}, "extra": {strings.Repeat("x", 300<<10)}}))
	if rec.Code != http.StatusRequestEntityTooLarge || !strings.Contains(rec.Body.String(), "A form may have 256 KiB.") {
		t.Errorf("got %d", rec.Code)
	}
	r := formRequest("/extensions", nil)
	r.Body = http.NoBody
	r.URL.RawQuery = "%zz"
	if rec := w.do(r); rec.Code != http.StatusBadRequest {
		t.Errorf("a malformed query: %d", rec.Code)
	}
}
