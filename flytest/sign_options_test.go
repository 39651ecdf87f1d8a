package flytest_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

func TestRFC9421Options(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, base, path    string
		options             flytest.RFC9421Options
		lines, list, params string // of the signature base; params follow the nonce
	}{
		{
			name: "path and query", base: "https://logjam.io/flyio", path: "/extensions/a%2Fb?c=%20d",
			options: flytest.RFC9421Options{Components: []string{"@path", "@method", "@query"}, WithoutTag: true},
			lines:   "\"@path\": /flyio/extensions/a%2Fb\n\"@method\": GET\n\"@query\": ?c=%20d\n",
			list:    `"@path" "@method" "@query"`, params: ";created=1685641159",
		},
		{
			name: "no query", base: "https://logjam.io", path: "/",
			options: flytest.RFC9421Options{Components: []string{"@path", "@query"}, WithoutTag: true},
			lines:   "\"@path\": /\n\"@query\": ?\n",
			list:    `"@path" "@query"`, params: ";created=1685641159",
		},
		{
			name: "default components with path and query", base: "https://logjam.io/flyio", path: "/extensions/a?b",
			options: flytest.RFC9421Options{PathAndQuery: true, WithoutTag: true},
			lines:   "\"@method\": GET\n\"@authority\": logjam.io\n\"@path\": /flyio/extensions/a\n\"@query\": ?b\n",
			list:    `"@method" "@authority" "@path" "@query"`, params: ";created=1685641159",
		},
		{
			name: "expires", base: "https://logjam.io", path: "/a",
			options: flytest.RFC9421Options{Components: []string{"@target-uri"}, WithoutTag: true, Expires: 30 * time.Second},
			lines:   "\"@target-uri\": https://logjam.io/a\n",
			list:    `"@target-uri"`, params: ";created=1685641159;expires=1685641189",
		},
		{
			name: "expired", base: "https://logjam.io", path: "/a",
			options: flytest.RFC9421Options{Components: []string{"@target-uri"}, WithoutTag: true, Expires: -time.Second},
			lines:   "\"@target-uri\": https://logjam.io/a\n",
			list:    `"@target-uri"`, params: ";created=1685641159;expires=1685641158",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fly := &flytest.Platform{BaseURL: c.base, Signer: c.options.RFC9421(key), Now: at(1685641159)}
			r := newRequest(t, fly, http.MethodGet, c.path, "")
			input, _ := strings.CutPrefix(r.Header.Get("Signature-Input"), "sig1=")
			if !strings.HasPrefix(input, "("+c.list+`);keyid="flyio-signing-secret";alg="hmac-sha256";nonce="`) || !strings.HasSuffix(input, `"`+c.params) {
				t.Errorf("Signature-Input: %s", input)
			}
			want := c.lines + `"@signature-params": ` + input
			if got := flytest.SignatureBase(r); got != want {
				t.Errorf("signed\n%s\nwant\n%s", got, want)
			}
			if got, want := r.Header.Get("Signature"), "sig1=:"+base64.StdEncoding.EncodeToString(hmacOf(want))+":"; got != want {
				t.Errorf("Signature: %s, want %s", got, want)
			}
		})
	}
}

// TestRFC9421OptionsAreVerified checks that flyext accepts another coverage of the URL
// and refuses expired signatures.
func TestRFC9421OptionsAreVerified(t *testing.T) {
	t.Parallel()
	target := []string{"@method", "@authority", "@path", "@query"}
	for _, c := range []struct {
		name    string
		options flytest.RFC9421Options
		want    bool
	}{
		{"path and query", flytest.RFC9421Options{Components: target}, true},
		{"default components with path and query", flytest.RFC9421Options{PathAndQuery: true}, true},
		{"path without query", flytest.RFC9421Options{Components: target[:3]}, false},
		{"expires", flytest.RFC9421Options{Expires: time.Minute}, true},
		{"expired", flytest.RFC9421Options{Expires: -time.Hour}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			auth, err := flyext.NewAuthenticator(flyext.Config{BaseURL: baseURL, Verifier: flyext.MessageSignature(key)})
			if err != nil {
				t.Fatal(err)
			}
			client := serve(t, auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusNoContent)
			})))
			fly := &flytest.Platform{BaseURL: baseURL, Signer: c.options.RFC9421(key), Client: client}
			answer, err := fly.Do(newRequest(t, fly, http.MethodGet, "/extensions/a%2Fb?c=d", ""))
			if err != nil || answer.StatusCode == http.StatusNoContent != c.want {
				t.Errorf("got %v, %v, want accepted: %t", answer, err, c.want)
			}
		})
	}
}

func TestCavageCreated(t *testing.T) {
	t.Parallel()
	fly := &flytest.Platform{
		BaseURL: "https://logjam.org/flyio", Now: at(1685641159),
		Signer: flytest.CavageOptions{Created: true, Headers: []string{"(request-target)", "(created)"}}.Cavage(key),
	}
	r := newRequest(t, fly, http.MethodDelete, "/extensions/a", "")
	base := "(request-target): delete /flyio/extensions/a\n(created): 1685641159"
	want := `keyId="flyio-signing-secret",algorithm="hmac-sha256",headers="(request-target) (created)",signature="` +
		base64.StdEncoding.EncodeToString(hmacOf(base)) + `",created="1685641159"`
	if got := r.Header.Get("Signature"); got != want || flytest.SignatureBase(r) != base {
		t.Errorf("Signature: %s\nwant %s\nsigned\n%s", got, want, flytest.SignatureBase(r))
	}

	fly.Signer = flytest.CavageOptions{Headers: []string{"(request-target)", "(created)"}}.Cavage(key)
	if r, err := fly.NewRequest(t.Context(), http.MethodDelete, "/extensions/a", nil); err == nil {
		t.Errorf("got the signature %s without Created, want an error", r.Header.Get("Signature"))
	}
}
