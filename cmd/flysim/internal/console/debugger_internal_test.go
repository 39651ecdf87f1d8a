package console

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestDebuggerCrossSite: a page of another site cannot use the debugger to get a
// MAC under flysim's secrets. The guard in front of all routes refuses its form.
// This test goes around the guard, so that protect has to refuse the form too.
func TestDebuggerCrossSite(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	unguarded := c.handler.(*guard).next
	send := func(h http.Handler, header http.Header, extra string) *httptest.ResponseRecorder {
		form := url.Values{"capture": {"POST /flyio/extensions HTTP/1.1\r\nX-Signature: 00\r\n\r\n{}"}, "extra": {extra}}
		r := httptest.NewRequest(http.MethodPost, "http://localhost:4000/debugger", strings.NewReader(form.Encode()))
		r.Header = header.Clone()
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	right := c.macOf(&wire{base: "{}"}).Hex
	if w := send(unguarded, http.Header{"Sec-Fetch-Site": {"same-origin"}}, ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), right) {
		t.Fatalf("the form of the page itself gets %d, without the MAC", w.Code)
	}
	for name, header := range map[string]http.Header{
		"another site":                         {"Sec-Fetch-Site": {"cross-site"}},
		"another port":                         {"Sec-Fetch-Site": {"same-site"}},
		"an old browser, another origin":       {"Origin": {"https://evil.example"}},
		"an old browser, an opaque origin":     {"Origin": {"null"}},
		"an old browser, another port":         {"Origin": {"http://localhost:8080"}},
		"another site, navigating to the page": {"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}},
	} {
		for layer, h := range map[string]http.Handler{"guard": c, "protect": unguarded} {
			if w := send(h, header, ""); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), right) {
				t.Errorf("%s, %s: %d; the answer has the MAC: %t", name, layer, w.Code, strings.Contains(w.Body.String(), right))
			}
		}
	}
	if w := send(unguarded, http.Header{}, strings.Repeat("x", maxDebuggerForm)); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large form: %d", w.Code)
	}
}
