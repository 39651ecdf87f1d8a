package flytest_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/common-fate/httpsig/contentdigest"
	"github.com/common-fate/httpsig/inmemory"
	"github.com/common-fate/httpsig/sigparams"
	"github.com/common-fate/httpsig/verifier"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

func hmacOf(message string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(message))
	return h.Sum(nil)
}

func at(unix int64) func() time.Time { return func() time.Time { return time.Unix(unix, 0) } }

func newRequest(t *testing.T, p *flytest.Platform, method, path, body string) *http.Request {
	t.Helper()
	r, err := p.NewRequest(t.Context(), method, path, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestXSignatureKeepsTheBody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, body, before, after string }{
		{"members", `{"name":"a","id":"b"}`, `{"name":"a","id":"b",`, `}`},
		{"empty object", `{}`, `{`, `}`},
		{"empty object with spaces", " { \n } \n", " { \n ", "} \n"},
		{"spaces", "{ \"name\" :\t\"a\" }\n", "{ \"name\" :\t\"a\" ,", "}\n"},
		{"escapes", `{"name":"\u0061\/<&>","n":1.50e+2}`, `{"name":"\u0061\/<&>","n":1.50e+2,`, `}`},
		{"brace in a text", `{"name":"}"}`, `{"name":"}",`, `}`},
		{"nested", `{"website":{"url":"x","nonce":[{}]}}`, `{"website":{"url":"x","nonce":[{}]},`, `}`},
		{"duplicate members", `{"id":"a","id":"b"}`, `{"id":"a","id":"b",`, `}`},
		{"invalid UTF-8", "{\"name\":\"\xff\"}", "{\"name\":\"\xff\",", `}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fly := &flytest.Platform{BaseURL: "https://Logjam.IO:443/flyio/", Signer: flytest.XSignature(secret), Now: at(1685641159)}
			r := newRequest(t, fly, http.MethodPost, "/extensions", c.body)
			got := string(body(r))
			added, okBefore := strings.CutPrefix(got, c.before)
			added, okAfter := strings.CutSuffix(added, c.after)
			if !okBefore || !okAfter {
				t.Fatalf("body is %q, want %q … %q", got, c.before, c.after)
			}
			var params struct {
				Timestamp  int64
				Nonce, URL string
			}
			if err := json.Unmarshal([]byte("{"+added+"}"), &params); err != nil {
				t.Fatalf("added %q: %v", added, err)
			}
			if params.Timestamp != 1685641159 || len(params.Nonce) < 20 || params.URL != "https://logjam.io/flyio/extensions" {
				t.Errorf("added %+v", params)
			}
			if r.Header.Get("X-Signature") != hex.EncodeToString(hmacOf(got)) || r.ContentLength != int64(len(got)) {
				t.Errorf("X-Signature %q is not the HMAC of the body, or Content-Length is wrong", r.Header.Get("X-Signature"))
			}
		})
	}
}

func TestXSignatureSignsTheQuery(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodHead} {
		fly := &flytest.Platform{BaseURL: "https://logjam.io/flyio", Signer: flytest.XSignature(secret), Now: at(1685641159)}
		r := newRequest(t, fly, method, "/extensions/a%2Fb?b=%7e&a", "")
		added, ok := strings.CutPrefix(r.URL.RawQuery, "b=%7e&a&")
		params, err := url.ParseQuery(added)
		if !ok || err != nil || len(params) != 3 || params.Get("timestamp") != "1685641159" || params.Get("nonce") == "" ||
			params.Get("url") != "https://logjam.io/flyio/extensions/a%2Fb?b=%7e&a" {
			t.Errorf("%s: query is %q", method, r.URL.RawQuery)
		}
		if r.Header.Get("X-Signature") != hex.EncodeToString(hmacOf(r.URL.RawQuery)) {
			t.Errorf("%s: X-Signature %q is not the HMAC of the query", method, r.Header.Get("X-Signature"))
		}
	}
}

func TestMessageSignatureBase(t *testing.T) {
	t.Parallel()
	const sum = "2dcZsnSAtVzUkYAg50c+cW7TVpyK2v6SbPmxC0+O8GQ="
	for _, c := range []struct {
		name               string
		signer             flytest.Signer
		method, body       string
		names, values, tag string
		digest             http.Header
	}{
		{
			name: "RFC 9421 with a body", signer: flytest.RFC9421(key), method: http.MethodPatch, body: `{"name":"a"}`,
			names:  `"@method" "@target-uri" "@authority" "content-type" "content-length" "content-digest"`,
			values: "PATCH|https://logjam.io/flyio/extensions/a%2Fb|logjam.io|application/json|12|sha-256=:SUM:",
			tag:    `;tag="flyio"`, digest: http.Header{"Content-Digest": {"sha-256=:SUM:"}},
		},
		{
			name: "RFC 9421 without a body", signer: flytest.RFC9421(key), method: http.MethodDelete,
			names:  `"@method" "@target-uri" "@authority"`,
			values: "DELETE|https://logjam.io/flyio/extensions/a%2Fb|logjam.io", tag: `;tag="flyio"`,
		},
		{
			name: "RFC 9421 over a bearer token", method: http.MethodGet,
			signer: flytest.All(flytest.BearerToken(token), flytest.RFC9421(key)),
			names:  `"@method" "@target-uri" "@authority" "authorization"`,
			values: "GET|https://logjam.io/flyio/extensions/a%2Fb|logjam.io|Bearer " + token, tag: `;tag="flyio"`,
		},
		{
			name: "draft-05 with a body", signer: flytest.Draft05(key), method: http.MethodPatch, body: `{"name":"a"}`,
			names:  `"@method" "@target-uri" "@authority" "content-type" "content-length" "digest"`,
			values: "PATCH|https://logjam.io/flyio/extensions/a%2Fb|logjam.io|application/json|12|SHA-256=SUM",
			digest: http.Header{"Digest": {"SHA-256=SUM"}},
		},
		{
			name: "draft-05 without a body", signer: flytest.Draft05(key), method: http.MethodGet,
			names:  `"@method" "@target-uri" "@authority"`,
			values: "GET|https://logjam.io/flyio/extensions/a%2Fb|logjam.io",
		},
	} {
		// The library signs with the real clock only, and resign signs with other
		// clocks. Both signatures must have the same form.
		for _, clock := range []string{"real clock", "injected clock"} {
			t.Run(c.name+"/"+clock, func(t *testing.T) {
				t.Parallel()
				fly := &flytest.Platform{BaseURL: "https://logjam.io/flyio", Signer: c.signer}
				if clock == "injected clock" {
					fly.Now = at(1685641159)
				}
				begun := time.Now().Unix()
				r := newRequest(t, fly, c.method, "/extensions/a%2Fb", c.body)
				params, ok := strings.CutPrefix(r.Header.Get("Signature-Input"), "sig1=")
				rest, okRest := strings.CutPrefix(params, "("+c.names+`);keyid="flyio-signing-secret";alg="hmac-sha256"`+c.tag+`;nonce="`)
				nonce, created, okNonce := strings.Cut(rest, `";created=`)
				if !ok || !okRest || !okNonce || len(nonce) < 20 {
					t.Fatalf("Signature-Input: %s", params)
				}
				var unix int64
				if _, err := fmt.Sscan(created, &unix); err != nil {
					t.Fatal(err)
				}
				if fly.Now != nil && unix != 1685641159 || fly.Now == nil && (unix < begun || unix > begun+60) {
					t.Errorf("created is %d", unix)
				}
				base := ""
				values := strings.Split(strings.ReplaceAll(c.values, "SUM", sum), "|")
				for i, name := range strings.Fields(c.names) {
					base += name + ": " + values[i] + "\n"
				}
				base += `"@signature-params": ` + params
				want := "sig1=:" + base64.StdEncoding.EncodeToString(hmacOf(base)) + ":"
				if got := r.Header.Get("Signature"); got != want {
					t.Errorf("Signature: %s, want %s over\n%s", got, want, base)
				}
				for _, name := range []string{"Digest", "Content-Digest"} {
					if got, want := r.Header.Get(name), strings.ReplaceAll(c.digest.Get(name), "SUM", sum); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				if string(body(r)) != c.body {
					t.Errorf("the body is %q", body(r))
				}
			})
		}
	}
}

// peer is a correct HMAC for the library's own verifier.
type peer struct{}

func (peer) GetKey(_ context.Context, id, _ string) (verifier.Algorithm, error) {
	if id != key.ID {
		return nil, errors.New("unknown key")
	}
	return peer{}, nil
}

func (peer) Type() string                          { return "hmac-sha256" }
func (peer) ContentDigest() contentdigest.Digester { return contentdigest.SHA256 }
func (peer) Verify(_ context.Context, base string, signature []byte) error {
	if !hmac.Equal(signature, hmacOf(base)) {
		return errors.New("wrong signature")
	}
	return nil
}

func TestPeerVerifiesRFC9421(t *testing.T) {
	t.Parallel()
	v := verifier.Verifier{
		NonceStorage: inmemory.NewNonceStorage(), KeyDirectory: peer{}, Tag: "flyio", Scheme: "https", Authority: "example.com",
		Validation: sigparams.ValidateOpts{
			BeforeDuration: time.Minute, RequireNonce: true,
			RequiredCoveredComponents: map[string]bool{"@method": true, "@target-uri": true},
		},
	}
	client := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, err := v.Parse(w, r, time.Now()); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
		}
	}))
	fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.RFC9421(key), Client: client}
	for _, c := range []struct{ method, body string }{
		{http.MethodPost, `{"id":"a"}`}, {http.MethodPatch, `{}`}, {http.MethodGet, ""}, {http.MethodDelete, ""},
	} {
		r := newRequest(t, fly, c.method, flytest.ExtensionPath("a/b ü"), c.body)
		answer, err := fly.Do(r)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %v, %v", c.method, answer, err)
		}
		r.Host = "other.example.com"
		if answer, err := fly.Do(r); err != nil || answer.StatusCode == http.StatusOK {
			t.Errorf("%s to another host: %v, %v", c.method, answer, err)
		}
	}
}

func TestSignersPrintNoSecret(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		fly := flytest.Platform{Signer: f.signer(secret)}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			if text := fmt.Sprintf(verb, fly); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s prints its secret with %s: %s", f.name, verb, text)
			}
		}
	}
}

func TestSignErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		signer flytest.Signer
		method string
		path   string
		body   string
		want   string
	}{
		{name: "no secret", signer: flytest.XSignature(""), want: "flytest: XSignature: the secret is empty"},
		{name: "no token", signer: flytest.BearerToken(""), want: "flytest: BearerToken: the token is empty"},
		{name: "no key", signer: flytest.RFC9421(flyext.Key{}), want: "flytest: the key has no ID or no Secret"},
		{name: "no key for draft-05", signer: flytest.Draft05(flyext.Key{ID: "a"}), want: "flytest: the key has no ID or no Secret"},
		{name: "no key for cavage", signer: flytest.Cavage(flyext.Key{Secret: "a"}), want: "flytest: the key has no ID or no Secret"},
		{name: "no key for zntrio", signer: flytest.Zntrio(flyext.Key{}), want: "flytest: the key has no ID or no Secret"},
		{
			name: "key id with a quote", signer: flytest.Cavage(flyext.Key{ID: `a"b`, Secret: secret}),
			want: "flytest: the key's ID must be printable ASCII without quotes and backslashes",
		},
		{name: "all of none", signer: flytest.All(), want: "flytest: All needs at least one signer"},
		{name: "all of nil", signer: flytest.All(nil), want: "flytest: All has a nil signer"},
		{name: "all of a bad one", signer: flytest.All(flytest.XSignature("")), want: "flytest: XSignature: the secret is empty"},
		{
			name: "no object", signer: flytest.XSignature(secret), method: http.MethodPost, body: `[]`,
			want: "flytest: XSignature: the body must be a JSON object",
		},
		{
			name: "no body", signer: flytest.XSignature(secret), method: http.MethodPost,
			want: "flytest: XSignature: the body must be a JSON object",
		},
		{
			name: "half an object", signer: flytest.XSignature(secret), method: http.MethodPost, body: `{"a":1`,
			want: "flytest: XSignature: the body must be a JSON object: ",
		},
		{
			name: "signed twice", signer: flytest.All(flytest.XSignature(secret), flytest.XSignature(secret)),
			method: http.MethodPost, body: `{}`, want: `flytest: the request already has a "timestamp"; XSignature adds its own`,
		},
		{
			name: "url in the query", signer: flytest.XSignature(secret), path: "/extensions/a?url=b",
			want: `flytest: the request already has a "url"; XSignature adds its own`,
		},
		{
			name: "another signature before", signer: flytest.All(flytest.Cavage(key), flytest.RFC9421(key)),
			want: "flytest: the request already has a signature in another format: ",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fly := &flytest.Platform{BaseURL: baseURL, Signer: c.signer}
			if c.path == "" {
				c.path = "/extensions/a"
			}
			r, err := fly.NewRequest(t.Context(), c.method, c.path, []byte(c.body))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
				t.Errorf("got %v, %v, want %q", r, err, c.want)
			}
		})
	}
}
