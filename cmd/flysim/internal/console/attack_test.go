package console_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
)

// A stranger's page has its own name resolved to 127.0.0.1, and asks for what
// the browser takes for its own origin (DNS rebinding).
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
		for _, target := range []string{"/", path, "/users", "/wire/2/answer", "/live", "/icon.svg", authorizePath} {
			if test.ok && target == "/live" {
				continue // it does not end
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
			t.Errorf("Host %q: a form is taken: %t", test.host, got)
		}
	}
}

// A stranger's page sends forms to the console (CSRF).
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
		{"the own name on another port", http.Header{"Origin": {"http://localhost:8080"}}},
	} {
		for _, target := range []string{
			"/extensions", path + "/provision", path + "/update", path + "/fetch", path + "/deprovision", path + "/event", path + "/forget", "/users", authorizePath,
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
		t.Errorf("the provider was asked %d times", asked)
	}
	if got := w.page("/"); strings.Contains(got, "evil") {
		t.Error("a user was added")
	}
}

// A page of another site makes the browser send what costs memory or holds
// connections. Each such request is refused before it is looked at.
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
		t.Error("a request of another site is remembered")
	}
}

// A link or an image changes nothing: what acts is no GET.
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
	for _, target := range []string{"/", path, "/users", "/webhooks", "/nothing", "/wire/2/answer", "/icon.svg"} {
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
	// What the policy allows is what the page has, and not a byte more of it.
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

const script = `<script>alert(1)</script>`

// A provider answers with a page's source in place of everything. It is shown as
// text.
func TestAttackMarkup(t *testing.T) {
	t.Parallel()
	evil := func(status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Evil", script)
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			text, _ := json.Marshal(map[string]any{
				"id": script, "name": `"><img src=x onerror=alert(1)>` + script, "status": script, "fly_app_name": script, "error_message": script,
				"config": map[string]string{script: script, "A": `javascript:alert(1)`}, "error": script, "message": script,
			})
			_, _ = w.Write(text)
		})
	}
	for _, status := range []int{200, 404, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, evil(status))
			path := w.provision(script)
			for _, action := range []string{"/fetch", "/update", "/provision", "/deprovision"} {
				w.post(path+action, url.Values{"name": {script}})
			}
			w.post("/users", userForm("was", "", "id", script, "name", script, "organization_id", script, "organization_name", script, "role", script))
			for _, target := range []string{path, "/", "/users?saved=" + url.QueryEscape(script)} {
				page := w.page(target)
				if strings.Contains(body(page), "<script>alert") || strings.Contains(page, "<img") {
					t.Errorf("%s has the markup:\n%s", target, body(page))
				}
				w.wantAll(page, "&lt;script&gt;alert(1)&lt;/script&gt;")
			}
			// The bytes themselves are a file, not a page.
			for _, n := range []string{"2", "3", "4", "5", "6"} {
				rec := w.get("/wire/" + n + "/answer")
				if rec.Code != http.StatusOK || rec.Header().Get("Content-Type") != "application/octet-stream" ||
					!strings.HasPrefix(rec.Header().Get("Content-Disposition"), "attachment;") ||
					!strings.Contains(rec.Header().Get("Content-Security-Policy"), "sandbox") {
					t.Errorf("wire %s: %d %v", n, rec.Code, rec.Header())
				}
			}
		})
	}
}

// A provider's id is a path of its own, wherever it wants to lead.
func TestAttackDashboardLink(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`id="dashboard" href="([^"]*)"`)
	for _, id := range []string{
		"javascript:alert(1)", "//evil.example/", "https://evil.example/", "../../evil", "..", ".", "a/../../b", "a?b#c", "@evil.example", "\\\\evil.example", "a\nb", "%2e%2e/",
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			text, _ := json.Marshal(map[string]any{"id": id, "config": map[string]string{}})
			w := newWorld(t, answering(200, string(text)))
			found := link.FindStringSubmatch(w.page(w.provision("ext1")))
			if found == nil {
				t.Fatal("there is no link")
			}
			u, err := url.Parse(found[1])
			if err != nil || u.Scheme != "http" || u.Host != "logjam.test" || u.RawQuery != "" || u.Fragment != "" ||
				!regexp.MustCompile(`^/flyio/extensions/[^/]+/sso$`).MatchString(u.EscapedPath()) || strings.Contains(u.EscapedPath(), "/../") {
				t.Errorf("it leads to %s", found[1])
			}
		})
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
		t.Errorf("a query that is none: %d", rec.Code)
	}
}

// What is remembered has an end, however much a provider answers and however
// often it is asked.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	t.Run("extensions", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, newLogjam().handler(t, providerBase, ""))
		for i := range 100 {
			w.provision(fmt.Sprint("ext", i))
		}
		rec := w.do(formRequest("/extensions", url.Values{"id": {"more"}}))
		if rec.Code != http.StatusUnprocessableEntity || !strings.Contains(rec.Body.String(), "There are 100 extensions already.") {
			t.Errorf("the 101st: %d", rec.Code)
		}
		w.provision("ext7") // not one more
		w.post("/extensions/1/deprovision", nil)
		w.provision("more")
		if rec := w.get("/extensions/1"); rec.Code != http.StatusNotFound {
			t.Errorf("the deprovisioned one: %d", rec.Code)
		}
	})
	t.Run("history", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, newLogjam().handler(t, providerBase, ""))
		path := w.provision("ext1")
		for range 120 {
			w.post(path+"/fetch", nil)
		}
		if got := strings.Count(w.page(path), `<li id="r`); got != 100 {
			t.Errorf("%d records, want the last 100", got)
		}
		if rec := w.get("/wire/2/answer"); rec.Code != http.StatusNotFound {
			t.Errorf("the bytes of a record that is gone: %d", rec.Code)
		}
	})
	t.Run("exchanges", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, newLogjam().handler(t, providerBase, ""))
		for e := range 4 {
			path := w.provision(fmt.Sprint("ext", e))
			for range 80 {
				w.post(path+"/fetch", nil)
			}
		}
		w.wantAll(w.page("/extensions/1"), "Its bytes are not kept any more.")
		if rec := w.get("/wire/2/answer"); rec.Code != http.StatusNotFound {
			t.Errorf("the first of 324 exchanges: %d", rec.Code)
		}
	})
	t.Run("deep JSON", func(t *testing.T) {
		t.Parallel()
		for _, depth := range []int{40, 9000} { // at 40 it would not be so much yet
			answer := `{"id":"x","config":{},"deep":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`
			w := newWorld(t, answering(200, answer))
			w.wantAll(w.page(w.provision("ext1")), fmt.Sprintf("As it was sent, %d bytes:", len(answer)))
		}
	})
	t.Run("bytes", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, answering(200, `{"id":"x","config":{},"padding":"`+strings.Repeat("x", 1000<<10)+`"}`))
		path := w.provision("ext1")
		for range 40 {
			w.post(path+"/fetch", nil)
		}
		page := w.page(path)
		w.wantAll(page, "Its bytes are not kept any more.")
		if len(page) > 4<<20 {
			t.Errorf("the page has %d bytes", len(page))
		}
		if got := w.get("/wire/42/answer").Body.Len(); got < 1000<<10 {
			t.Errorf("%d bytes of the last answer", got)
		}
	})
}

// The log says what was done, and holds no secret, whatever goes wrong.
func TestLogHasNoSecrets(t *testing.T) {
	t.Parallel()
	for _, provider := range []http.Handler{
		newLogjam().handler(t, providerBase, ""),
		answering(500, `token-of-ext1 is in a page of an error`),
		answering(409, `{"error":"token-of-ext1","message":"token-of-ext1"}`),
		answering(200, `{"id":"x","config":{"token-of-ext1":1}}`),
	} {
		w := newWorld(t, provider, func(c *console.Config) { c.Format, c.Credentials.BearerToken = flytest.FormatRFC9421, bearerToken })
		path := w.provision("ext1")
		for _, action := range []string{"/fetch", "/update", "/provision", "/deprovision"} {
			w.post(path+action, nil)
		}
		w.post("/users", userForm())
		for _, secret := range []string{signingSecret, bearerToken, clientSecret, "s3cret-of-ext1", "token-of-ext1"} {
			if strings.Contains(w.log.String(), secret) {
				t.Errorf("the log has %s:\n%s", secret, w.log)
			}
		}
		if got := strings.Count(w.log.String(), "asked the provider"); got != 5 {
			t.Errorf("%d records of 5 requests:\n%s", got, w.log)
		}
	}
}

// Characters that turn the direction of the text around them, or that nobody
// sees, are shown for what they are not.
func TestAttackInvisible(t *testing.T) {
	t.Parallel()
	w := newWorld(t, answering(200, "{\"id\":\"x\",\"name\":\"abc\u202efdp.exe\u200b\ufeff\U000e0041\",\"config\":{}}"))
	page := w.page(w.provision("ext1"))
	if i := strings.IndexFunc(page, func(r rune) bool { return unicode.Is(unicode.Cf, r) }); i >= 0 {
		t.Errorf("the page has a character that nobody sees: %+q", page[i:min(i+20, len(page))])
	}
	w.wantAll(page, "abc\uFFFDfdp.exe\uFFFD\uFFFD\uFFFD")
}

// What is no UTF-8 cannot be sent as JSON, neither to the provider nor by the
// sign-on, which would panic.
func TestAttackInvalidUTF8(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	path := w.post("/extensions", url.Values{"id": {"ext1"}, "name": {"a\xff"}, "customer": {nathan}, "extra": {"{\"plan\":\"\xff\"}"}})
	w.wantAll(w.page(path), "a\uFFFD", "✓</span> ready")
	w.post("/users", userForm("name", "\xff", "email", "\xff", "id", "\xff", "organization_id", "\xff|", "role", "\xff|member"))
	for _, target := range []string{"/users", "/", authorizePath} {
		if page := w.page(target); strings.ToValidUTF8(page, "") != page {
			t.Errorf("%s is no UTF-8", target)
		}
	}
}
