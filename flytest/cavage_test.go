package flytest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/flyext/flyext/flytest"
)

// TestRubySignature compares the signature with that of the proposal's Ruby library.
func TestRubySignature(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../testdata/interop/ruby-http-signatures.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name    string
		Now     int64
		Request struct {
			Method     string
			Headers    [][2]string
			BodyBase64 []byte `json:"body_base64"`
		}
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Name != "99designs-ruby/fly-doc/R1" {
			continue
		}
		fly := &flytest.Platform{
			BaseURL: "https://logjam.org/flyio", Now: at(c.Now),
			Signer: flytest.CavageOptions{RepeatAsAuthorization: true}.Cavage(key),
		}
		r := newRequest(t, fly, c.Request.Method, "/extensions", string(c.Request.BodyBase64))
		for _, h := range c.Request.Headers {
			switch h[0] {
			case "Signature", "Authorization", "Date":
				if got := r.Header.Values(h[0]); len(got) != 1 || got[0] != h[1] {
					t.Errorf("%s: %q, Ruby sent %q", h[0], got, h[1])
				}
			}
		}
		return
	}
	t.Fatal("the testdata lacks the recorded request")
}

func TestCavageCovers(t *testing.T) {
	t.Parallel()
	const empty = "SHA-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	const date = "Thu, 01 Jun 2023 17:39:19 GMT"
	for _, c := range []struct {
		name, method, body string
		options            flytest.CavageOptions
		covered, base      string
		authorization      bool
	}{
		{
			name: "body", method: http.MethodPatch, body: `{"name":"a"}`, covered: "(request-target) date content-length",
			base: "(request-target): patch /flyio/extensions/a%20b?c=d\ndate: " + date + "\ncontent-length: 12",
		},
		{
			name: "body with digest", method: http.MethodPatch, body: `{"name":"a"}`,
			options: flytest.CavageOptions{CoverDigest: true}, covered: "(request-target) date content-length digest",
			base: "(request-target): patch /flyio/extensions/a%20b?c=d\ndate: " + date +
				"\ncontent-length: 12\ndigest: SHA-256=2dcZsnSAtVzUkYAg50c+cW7TVpyK2v6SbPmxC0+O8GQ=",
		},
		{
			name: "no body", method: http.MethodGet, covered: "(request-target) date",
			base: "(request-target): get /flyio/extensions/a%20b?c=d\ndate: " + date,
		},
		{
			name: "authorization", method: http.MethodDelete, options: flytest.CavageOptions{RepeatAsAuthorization: true},
			covered: "(request-target) date", authorization: true,
			base: "(request-target): delete /flyio/extensions/a%20b?c=d\ndate: " + date,
		},
		{
			name: "no body with digest", method: http.MethodDelete, options: flytest.CavageOptions{CoverDigest: true},
			covered: "(request-target) date digest",
			base:    "(request-target): delete /flyio/extensions/a%20b?c=d\ndate: " + date + "\ndigest: " + empty,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fly := &flytest.Platform{BaseURL: "https://logjam.org/flyio", Signer: c.options.Cavage(key), Now: at(1685641159)}
			r := newRequest(t, fly, c.method, "/extensions/a%20b?c=d", c.body)
			want := `keyId="flyio-signing-secret",algorithm="hmac-sha256",headers="` + c.covered + `",signature="` +
				base64.StdEncoding.EncodeToString(hmacOf(c.base)) + `"`
			if got := r.Header.Values("Signature"); len(got) != 1 || got[0] != want {
				t.Errorf("Signature: %q\nwant %q", got, want)
			}
			wantAuthorization := ""
			if c.authorization {
				wantAuthorization = "Signature " + want
			}
			if got := r.Header.Get("Authorization"); got != wantAuthorization {
				t.Errorf("Authorization: %q\nwant %q", got, wantAuthorization)
			}
		})
	}
}

func TestZntrioSigns(t *testing.T) {
	t.Parallel()
	fly := &flytest.Platform{
		BaseURL: "https://logjam.org/flyio", Now: at(1685641159),
		Signer: flytest.All(flytest.BearerToken(token), flytest.Zntrio(key)),
	}
	r := newRequest(t, fly, http.MethodPatch, "/extensions/a%2Fb?c=%20d", `{"name":"a"}`)
	input, ok := strings.CutPrefix(r.Header.Get("Signature-Input"), "sig1=")
	nonce, okStart := strings.CutPrefix(input, `(@request-target, host, date, digest, authorization); alg="hmac-sha256"; `+
		`keyid="flyio-signing-secret"; created=1685641159; nonce="`)
	nonce, okEnd := strings.CutSuffix(nonce, `"`)
	if !ok || !okStart || !okEnd || len(nonce) < 20 {
		t.Errorf("Signature-Input: %s", input)
	}
	base := "@request-target: patch /flyio/extensions/a/b?c=%20d\nhost: logjam.org\ndate: Thu, 01 Jun 2023 17:39:19 GMT\n" +
		"digest: SHA-256=2dcZsnSAtVzUkYAg50c+cW7TVpyK2v6SbPmxC0+O8GQ=\nauthorization: Bearer " + token + "\n@signature-params: " + input + "\n"
	want := "sig1=:" + base64.StdEncoding.EncodeToString(hmacOf(base)) + ":"
	if got := r.Header.Get("Signature"); got != want {
		t.Errorf("Signature: %s, want %s", got, want)
	}
}
