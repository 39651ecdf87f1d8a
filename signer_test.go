package flyext_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// The key, the time and the provider of the signed requests in these tests.
const (
	signingKeyID  = "flyio-signing-secret"
	signingSecret = "a-secret-that-only-flyio-knows"
	signingTime   = 1_700_000_000
	signingBase   = "https://logjam.test/flyio"
	signingBody   = `{"id":"x1","organization_id":"o1","timestamp":1700000000,` +
		`"nonce":"n1","url":"https://logjam.test/flyio/extensions"}`
)

var signingKey = flyext.Key{ID: signingKeyID, Secret: signingSecret}

// A wireRequest is a request as sent over the wire. Its methods sign it without using
// code of the library.
type wireRequest struct {
	method, target, host, body string
	header                     http.Header

	secret string            // "" means signingSecret
	values map[string]string // of components that valueOf does not know
}

func newPost() *wireRequest {
	w := &wireRequest{
		method: "POST", target: "/flyio/extensions", host: "logjam.test", body: signingBody,
		header: http.Header{"Content-Type": {"application/json"}},
	}
	return w.setDate(signingTime).setLength().setDigests()
}

func newGet(target string) *wireRequest {
	w := &wireRequest{method: "GET", target: target, host: "logjam.test", header: http.Header{}}
	return w.setDate(signingTime)
}

func (w *wireRequest) set(name string, lines ...string) *wireRequest {
	w.header[http.CanonicalHeaderKey(name)] = lines
	return w
}

// keep deletes all other header fields.
func (w *wireRequest) keep(names ...string) *wireRequest {
	maps.DeleteFunc(w.header, func(name string, _ []string) bool { return !slices.Contains(names, name) })
	return w
}

func (w *wireRequest) setDate(unix int64) *wireRequest {
	return w.set("Date", time.Unix(unix, 0).UTC().Format(http.TimeFormat))
}

func (w *wireRequest) setLength() *wireRequest {
	return w.set("Content-Length", strconv.Itoa(len(w.body)))
}

func (w *wireRequest) setDigests() *wireRequest {
	return w.set("Digest", "SHA-256="+sum256(w.body)).set("Content-Digest", "sha-256=:"+sum256(w.body)+":")
}

func (w *wireRequest) signedWith(secret string) *wireRequest {
	w.secret = secret
	return w
}

// tampered changes the request after it was signed.
func (w *wireRequest) tampered(change func(*wireRequest)) *wireRequest {
	change(w)
	return w
}

func (w *wireRequest) clone() *wireRequest {
	c := *w
	c.header = w.header.Clone()
	c.values = maps.Clone(w.values)
	return &c
}

func sum256(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func sum512(s string) string {
	sum := sha512.Sum512([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (w *wireRequest) mac(content string) []byte {
	secret := w.secret
	if secret == "" {
		secret = signingSecret
	}
	h := hmac.New(sha256.New, []byte(secret))
	io.WriteString(h, content)
	return h.Sum(nil)
}

func (w *wireRequest) valueOf(component string) string {
	if v, ok := w.values[component]; ok {
		return v
	}
	path, query, _ := strings.Cut(w.target, "?")
	switch component {
	case "@method":
		return w.method
	case "@authority":
		return strings.ToLower(w.host)
	case "@scheme":
		return "https"
	case "@target-uri":
		return "https://" + strings.ToLower(w.host) + w.target
	case "@request-target":
		return w.target
	case "@path":
		return path
	case "@query":
		return "?" + query
	case "(request-target)":
		return strings.ToLower(w.method) + " " + w.target
	case "host":
		return w.host
	}
	return strings.Join(w.header[http.CanonicalHeaderKey(component)], ", ")
}

// signRFC9421 adds a signature with a label. covered is the content of the inner list
// in Signature-Input, params the text after the list.
func (w *wireRequest) signRFC9421(label, covered, params string) *wireRequest {
	var base strings.Builder
	for id := range strings.SplitSeq(covered, " ") {
		fmt.Fprintf(&base, "%s: %s\n", id, w.valueOf(strings.Trim(id, `"`)))
	}
	input := "(" + covered + ")" + params
	base.WriteString(`"@signature-params": ` + input)
	value := base64.StdEncoding.EncodeToString(w.mac(base.String()))
	w.header.Add("Signature-Input", label+"="+input)
	w.header.Add("Signature", label+"=:"+value+":")
	return w
}

// rfc9421 signs the components that the library recommends.
func (w *wireRequest) rfc9421() *wireRequest {
	covered := `"@method" "@target-uri"`
	if w.body != "" {
		covered += ` "content-digest"`
	}
	return w.signRFC9421("sig1", covered, rfcParams(signingTime))
}

func rfcParams(created int64) string {
	return fmt.Sprintf(`;created=%d;keyid="%s";alg="hmac-sha256"`, created, signingKeyID)
}

const cavageParams = `keyId="` + signingKeyID + `",algorithm="hmac-sha256",`

// signCavage signs as draft-cavage does. params is the text before the list.
func (w *wireRequest) signCavage(covered, params string) *wireRequest {
	var lines []string
	for name := range strings.SplitSeq(covered, " ") {
		lines = append(lines, name+": "+w.valueOf(name))
	}
	value := base64.StdEncoding.EncodeToString(w.mac(strings.Join(lines, "\n")))
	return w.set("Signature", params+`headers="`+covered+`",signature="`+value+`"`)
}

// cavage signs as the proposal's example does, which does not cover the body.
func (w *wireRequest) cavage() *wireRequest {
	return w.signCavage("(request-target) date content-length", cavageParams)
}

// signZntrio signs as github.com/zntrio/httpsig does.
func (w *wireRequest) signZntrio(names ...string) *wireRequest {
	var base strings.Builder
	for _, name := range names {
		value := w.valueOf(name)
		switch name {
		case "@request-target":
			target, _ := url.PathUnescape(w.target)
			value = strings.ToLower(w.method) + " " + target
		case "@created":
			value = strconv.Itoa(signingTime)
		}
		fmt.Fprintf(&base, "%s: %s\n", name, value)
	}
	input := fmt.Sprintf(`(%s); alg="hmac-sha256"; keyid="%s"; created=%d`, strings.Join(names, ", "), signingKeyID, signingTime)
	base.WriteString("@signature-params: " + input + "\n")
	value := base64.StdEncoding.EncodeToString(w.mac(base.String()))
	return w.set("Signature-Input", "sig1="+input).set("Signature", "sig1=:"+value+":")
}

func (w *wireRequest) zntrio() *wireRequest {
	return w.signZntrio("@request-target", "@created", "host", "date", "digest")
}

// xSignature signs as Fly.io does today.
func (w *wireRequest) xSignature() *wireRequest {
	content := w.body
	if w.method == "GET" || w.method == "DELETE" {
		_, content, _ = strings.Cut(w.target, "?")
	}
	return w.set("X-Signature", hex.EncodeToString(w.mac(content)))
}

// signedQuery returns the path with the query that Fly.io adds to a GET.
func signedQuery(path string, more ...string) string {
	q := fmt.Sprintf("timestamp=%d&nonce=n1&url=%s", signingTime, url.QueryEscape("https://logjam.test"+path))
	return path + "?" + strings.Join(append([]string{q}, more...), "&")
}

func (w *wireRequest) request(t testing.TB) *http.Request {
	t.Helper()
	r := &http.Request{
		Method: w.method, RequestURI: w.target, Host: w.host, Header: w.header,
		ProtoMajor: 1, ProtoMinor: 1, URL: &url.URL{Path: "/rewritten/by/a/router"},
		Body: io.NopCloser(strings.NewReader(w.body)), ContentLength: int64(len(w.body)),
	}
	return r.WithContext(t.Context())
}

// newAuthenticator returns an Authenticator whose clock shows signingTime plus after.
func newAuthenticator(t testing.TB, v flyext.Verifier, after time.Duration) *flyext.Authenticator {
	t.Helper()
	auth, err := flyext.NewAuthenticator(flyext.Config{
		BaseURL: signingBase, Verifier: v,
		Now: func() time.Time { return time.Unix(signingTime, 0).Add(after) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// A verdict is a test case for a signature. want is part of the logged reason; "" means
// that the request is admitted.
type verdict struct {
	name    string
	request *wireRequest
	policy  flyext.Policy
	after   time.Duration // from signingTime until the request arrives
	want    string
}

func (c *verdict) check(t *testing.T, v flyext.Verifier) {
	t.Helper()
	wantRefusal(t, newAuthenticator(t, v, c.after).Check(c.request.request(t)), c.want)
}

// wantRefusal checks that err is the uniform 401 with the reason, or nil if the reason
// is "".
func wantRefusal(t *testing.T, err error, reason string) {
	t.Helper()
	if reason == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	e, ok := errors.AsType[*flyext.Error](err)
	switch {
	case !ok:
		t.Errorf("got %v, want a refusal: %s", err, reason)
	case e.Status != http.StatusUnauthorized || e.Code != flyext.CodeUnauthenticated:
		t.Errorf("got status %d, code %q, want the uniform 401", e.Status, e.Code)
	case e.Err == nil || !strings.Contains(e.Err.Error(), reason):
		t.Errorf("got reason %v, want %q", e.Err, reason)
	}
}

func runVerdicts(t *testing.T, cases []verdict, verifier func(flyext.Policy) flyext.Verifier) {
	t.Helper()
	names := make([]string, 0, len(cases))
	for _, c := range cases {
		if slices.Contains(names, c.name) {
			t.Fatalf("two cases are called %q", c.name)
		}
		names = append(names, c.name)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(t, verifier(c.policy))
		})
	}
}

func encode64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
