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

// FuzzPayload gives the handler bodies of a sender who is trusted. Whatever
// they are, the answer is a 200, after one call with what must be there, or a
// 4xx in the one shape, before any call.
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
					t.Errorf("the extra %q of %q is %q", name, body, value)
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
				t.Errorf("%q is no JSON and was accepted", body)
			}
		case w.Code/100 == 4 && calls == 0:
			readAnswer(t, w)
		default:
			t.Errorf("%q: %d after %d calls", body, w.Code, calls)
		}
	})
}

// FuzzXSignature signs what it makes up, with the right secret, as a body or as
// a query, and sends it to a target of its own choice. What is admitted names a
// time, a nonce and this very URL; and a signature that is not the content's is
// never admitted.
func FuzzXSignature(f *testing.F) {
	f.Add(false, "/flyio/extensions", signingBody)
	f.Add(true, "/flyio/extensions/x1", "timestamp=1700000000&nonce=n1&url="+url.QueryEscape(signingBase+"/extensions/x1"))
	f.Add(true, "/flyio/extensions/a%2Fb", "timestamp=1700000000&nonce=n1&url="+url.QueryEscape(signingBase+"/extensions/a%2fb"))
	f.Add(true, "/flyio/extensions/x1", signingBody)
	f.Add(false, "/flyio/extensions", `{"timestamp":"1700000000","nonce":"n1","url":"HTTPS://LOGJAM.TEST:443/flyio/extensions"}`)
	f.Add(false, "/flyio/extensions?a=b", signingBody)
	f.Fuzz(func(t *testing.T, query bool, target, content string) {
		auth, err := flyext.NewAuthenticator(flyext.Config{
			BaseURL: signingBase, Verifier: flyext.XSignature(signingSecret),
			Now: func() time.Time { return time.Unix(signingTime, 0) },
		})
		if err != nil {
			t.Fatal(err)
		}
		// As net/http would have it; a target that it refuses never gets here.
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
			t.Fatalf("admitted under another secret: %q %q", target, content)
		}
		if auth.Check(request(signingSecret)) != nil {
			return
		}
		named := ""
		if query {
			path, rest, _ := strings.Cut(target+"?"+content, "?")
			values, err := url.ParseQuery(rest)
			if err != nil {
				t.Fatalf("admitted a query that cannot be parsed: %q", rest)
			}
			named, target = values.Get("url"), path
		} else {
			var body struct{ URL string }
			if err := json.Unmarshal([]byte(content), &body); err != nil {
				t.Fatalf("admitted a body that is no JSON: %q", content)
			}
			named = body.URL
			target, _, _ = strings.Cut(target, "?")
		}
		u, err := url.Parse(named)
		if err != nil || !strings.EqualFold(u.Scheme, "https") || !strings.EqualFold(strings.TrimSuffix(u.Host, ":443"), "logjam.test") {
			t.Fatalf("admitted for %q", named)
		}
		want, err := url.PathUnescape(target)
		if err != nil || u.Path != want {
			t.Fatalf("sent to %q, admitted for %q", target, named)
		}
	})
}
