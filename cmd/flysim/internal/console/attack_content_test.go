package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
)

const script = `<script>alert(1)</script>`

// The provider answers with the source of a page in each text. The console shows
// it as text.
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
			// The bytes are a file, not a page.
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

// A link with a provider's id always leads below the provider's base URL.
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
				t.Errorf("the link leads to %s", found[1])
			}
		})
	}
}

// The log names each action and has no secret, even after errors.
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

// Invisible characters and characters that change the direction of the text are
// replaced.
func TestAttackInvisible(t *testing.T) {
	t.Parallel()
	w := newWorld(t, answering(200, "{\"id\":\"x\",\"name\":\"abc\u202efdp.exe\u200b\ufeff\U000e0041\",\"config\":{}}"))
	page := w.page(w.provision("ext1"))
	if i := strings.IndexFunc(page, func(r rune) bool { return unicode.Is(unicode.Cf, r) }); i >= 0 {
		t.Errorf("the page has an invisible character: %+q", page[i:min(i+20, len(page))])
	}
	w.wantAll(page, "abc\uFFFDfdp.exe\uFFFD\uFFFD\uFFFD")
}

// Invalid UTF-8 cannot be sent as JSON, neither to the provider nor by the
// sign-on, which would panic.
func TestAttackInvalidUTF8(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	path := w.post("/extensions", url.Values{"id": {"ext1"}, "name": {"a\xff"}, "customer": {nathan}, "extra": {"{\"plan\":\"\xff\"}"}})
	w.wantAll(w.page(path), "a\uFFFD", "✓</span> ready")
	w.post("/users", userForm("name", "\xff", "email", "\xff", "id", "\xff", "organization_id", "\xff|", "role", "\xff|member"))
	for _, target := range []string{"/users", "/", authorizePath} {
		if page := w.page(target); strings.ToValidUTF8(page, "") != page {
			t.Errorf("%s is not UTF-8", target)
		}
	}
}
