package flyext_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// FuzzPayload sends admitted requests with arbitrary bodies. The answer is either a 200
// after one call with the required fields, or a 4xx error before any call.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{
		minimal, `{}`, ``, `[]`, `{"id":"x","id":"y"}`, `{"id":1}`, minimal + minimal,
		`{"id":"x","organization_id":"o","read_regions":["mad",null],"ip_address":"fdaa::1","email":null,"website":{"a":[1]}}`,
		"{\"id\":\"\xff\"}", `{"\u0069d":"\ud83d\ude00","organization_id":"o"}`, "\xef\xbb\xbf" + minimal,
	} {
		f.Add(false, []byte(seed))
		f.Add(true, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, update bool, body []byte) {
		p := &testProvisioner{}
		p.provision = func(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
			if r.ID == "" || r.OrganizationID == "" {
				t.Errorf("%q reached the Provisioner without an id: %+v", body, r)
			}
			for name, value := range r.Extra {
				if !json.Valid(value) {
					t.Errorf("the extra %q of the body %q is %q, which is not JSON", name, body, value)
				}
			}
			return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
		}
		method, target := "POST", "/flyio/extensions"
		if update {
			method, target = "PATCH", "/flyio/extensions/x1"
		}
		w := do(newProvider(t, p, unsigned), httptest.NewRequest(method, target, bytes.NewReader(body)))
		calls := len(p.recorded())
		switch {
		case w.Code == http.StatusOK && calls == 1:
			if !json.Valid(body) {
				t.Errorf("%q is not JSON, but was accepted", body)
			}
		case w.Code/100 == 4 && calls == 0:
			readAnswer(t, w)
		default:
			t.Errorf("%q: got %d after %d calls", body, w.Code, calls)
		}
	})
}

// FuzzXSignature signs arbitrary content as a body or as a query and sends it to an
// arbitrary target. An admitted request names the URL that it was sent to. A signature
// by another secret is never admitted.
func FuzzXSignature(f *testing.F) {
	f.Add(false, "/flyio/extensions", signingBody)
	f.Add(true, "/flyio/extensions/x1", "timestamp=1700000000&nonce=n1&url="+url.QueryEscape(signingBase+"/extensions/x1"))
	f.Add(true, "/flyio/extensions/a%2Fb", "timestamp=1700000000&nonce=n1&url="+url.QueryEscape(signingBase+"/extensions/a%2fb"))
	f.Add(true, "/flyio/extensions/x1", signingBody)
	f.Add(false, "/flyio/extensions", `{"timestamp":"1700000000","nonce":"n1","url":"HTTPS://LOGJAM.TEST:443/flyio/extensions"}`)
	f.Add(false, "/flyio/extensions?a=b", signingBody)
	f.Add(false, "", `{"timestamp":1700000000,"nonce":"1","url":"https://logjam.test/"}`)
	f.Fuzz(func(t *testing.T, query bool, target, content string) {
		if target == "" {
			return // a request line has a target; without one, r.URL counts
		}
		auth, err := flyext.NewAuthenticator(flyext.Config{
			BaseURL: signingBase, Verifier: flyext.XSignature(signingSecret),
			Now: func() time.Time { return time.Unix(signingTime, 0) },
		})
		if err != nil {
			t.Fatal(err)
		}
		// The request as net/http parses it. It refuses some of these targets itself.
		request := func(secret string) *http.Request {
			w := newPost().signedWith(secret)
			w.method, w.target, w.body = "POST", target, content
			if query {
				w.method, w.target, w.body = "GET", target+"?"+content, ""
			}
			w.xSignature()
			r := &http.Request{
				Method: w.method, RequestURI: w.target, Host: w.host, Header: w.header,
				Body: http.NoBody, URL: &url.URL{}, ContentLength: int64(len(w.body)),
			}
			if w.body != "" {
				r.Body = readCloser{bytes.NewReader([]byte(w.body))}
			}
			return r
		}
		if auth.Check(request("another secret")) == nil {
			t.Fatalf("a request signed with another secret is admitted: %q %q", target, content)
		}
		if auth.Check(request(signingSecret)) != nil {
			return
		}
		named := ""
		if query {
			path, rest, _ := strings.Cut(target+"?"+content, "?")
			values, err := url.ParseQuery(rest)
			if err != nil {
				t.Fatalf("a malformed query is admitted: %q", rest)
			}
			named, target = values.Get("url"), path
		} else {
			var body struct{ URL string }
			if err := json.Unmarshal([]byte(content), &body); err != nil {
				t.Fatalf("a body that is not JSON is admitted: %q", content)
			}
			named = body.URL
			target, _, _ = strings.Cut(target, "?")
		}
		u, err := url.Parse(named)
		if err != nil || !strings.EqualFold(u.Scheme, "https") || !strings.EqualFold(strings.TrimSuffix(u.Host, ":443"), "logjam.test") {
			t.Fatalf("a request signed for %q is admitted", named)
		}
		want, err := url.PathUnescape(target)
		if err != nil || u.Path != want {
			t.Fatalf("a request signed for %q is admitted at %q", named, target)
		}
	})
}
