package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// report sends a report of another command.
func (w *world) report(text string) {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, ownURL+"/requests/reported", strings.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	if rec := w.do(r); rec.Code != http.StatusOK {
		w.t.Fatalf("%s: %d", text, rec.Code)
	}
}

// TestReportOutcome: flysim check sends requests that a provider must refuse. Only an
// internal error or a missing answer is bad.
func TestReportOutcome(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), withData(dir))
	cases := []struct {
		status       int
		class, sign  string
		ok, failed   bool // the filters that select it
		headlineEnds string
	}{
		{200, "good", "✓", true, false, "200 OK"},
		{303, "said", "", false, false, "303 See Other"},
		{401, "said", "", false, false, "401 Unauthorized"},
		{404, "said", "", false, false, "404 Not Found"},
		{500, "bad", "✕", false, true, "500 Internal Server Error"},
		{0, "bad", "✕", false, true, "no answer"},
	}
	for _, c := range cases {
		w.report(fmt.Sprintf(`{"method":"POST","url":"%s/extensions","target":"/flyio/extensions","status":%d}`, providerBase, c.status))
	}
	check := func() {
		t.Helper()
		for i, c := range cases {
			row := fmt.Sprintf(`<li id="q%d" `, i+1)
			for query, want := range map[string]bool{"": true, "?status=ok": c.ok, "?status=failed": c.failed} {
				if _, after, ok := strings.Cut(w.page("/requests"+query), row); ok != want {
					t.Errorf("%d, %q: selected is %t, want %t", c.status, query, ok, want)
				} else if ok && (!strings.HasPrefix(after, `class="`+c.class+`"`) || !strings.Contains(strings.SplitN(after, "</li>", 2)[0], `<span class="sign" aria-hidden="true">`+c.sign+`</span>`)) {
					t.Errorf("%d: the row is %.300s", c.status, after)
				}
			}
			w.wantAll(w.page(fmt.Sprintf("/requests/%d", i+1)), `<div id="result" class="notice `+c.class+`"><h2>Command line: `+c.headlineEnds+`</h2>`)
		}
	}
	check()
	w = newWorld(t, newLogjam().handler(t, providerBase, ""), withData(dir)) // reads the history
	check()
}

// A report cannot make the person send a request to another host.
func TestAttackReport(t *testing.T) {
	t.Parallel()
	asked := false
	w := newWorld(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	report := func(kind, body string) int {
		r := httptest.NewRequest(http.MethodPost, ownURL+"/requests/reported", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		return w.do(r).Code
	}
	for _, target := range []string{
		"http://evil.example/flyio/extensions", "http://logjam.test.evil.example/flyio/x", "http://logjam.test/flyio@evil.example/", "http://logjam.test/flyioevil/", "http://a@logjam.test/flyio/x", "file:///etc/passwd",
	} {
		body := `{"method":"POST","url":"` + target + `","target":"/flyio/extensions","request":[{"Name":"X-Signature","Value":"x"}],"status":200}`
		if code := report("application/json", body); code != http.StatusOK {
			t.Errorf("%s: %d", target, code)
		}
		n := strings.Split(strings.SplitN(w.page("/requests"), `<li id="q`, 2)[1], `"`)[0]
		for _, action := range []string{"/resend", "/replay"} {
			if rec := w.do(formRequest("/requests/"+n+action, nil)); rec.Code != http.StatusConflict {
				t.Errorf("%s%s: %d", target, action, rec.Code)
			}
		}
	}
	if asked {
		t.Error("a request was sent")
	}
	for kind, body := range map[string]string{"text/plain": `{}`, "application/json": `{"target":"x"}`} {
		if code := report(kind, body); code < 400 {
			t.Errorf("%s %s: %d", kind, body, code)
		}
	}
}
