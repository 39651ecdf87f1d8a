package console_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

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
