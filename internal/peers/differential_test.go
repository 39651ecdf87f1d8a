package peers_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	dadrus "github.com/dadrus/httpsig"
	"github.com/yaronf/httpsign"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/msgsig"
)

// FuzzAgainstPeers signs a raw HTTP request with the signature base that flyext
// computes. It fails if flyext accepts the request and two independent verifiers
// refuse it, because flyext's base then differs from RFC 9421.
func FuzzAgainstPeers(f *testing.F) {
	for _, head := range []string{
		"GET /flyio/extensions/x1 HTTP/1.1\r\nHost: logjam.test\r\n\r\n",
		"GET /flyio/extensions/x1?a=b&c=%20d HTTP/1.1\r\nHost: logjam.test\r\nX-A: 1\r\n\r\n",
		"GET /a%2Fb/%c3%a9?x=%2f HTTP/1.1\r\nHost: logjam.test\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
		"GET http://logjam.test/flyio HTTP/1.1\r\nHost: logjam.test\r\nX-A:  spaces \t\r\n\r\n",
		"GET https://logjam.test/?a HTTP/1.1\r\nHost: LOGJAM.test\r\nX-A: a,b\r\nX-A:\r\nX-A: c\r\n\r\n",
		"POST /flyio/extensions HTTP/1.1\r\nHost: logjam.test\r\nContent-Length: 2\r\n\r\n{}",
		"POST /flyio/extensions HTTP/1.1\r\nHost: logjam.test\r\nX-A: a\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
		"POST /flyio/extensions? HTTP/1.1\r\nHost: logjam.test:8443\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n2\r\n{}\r\n0\r\nX-A: t\r\n\r\n",
		"POST //flyio/./extensions/../x HTTP/1.1\r\nHost: logjam.test\r\nX-A: \"q\\\"uoted\"\r\nContent-Length: 0\r\n\r\n",
		"DELETE /flyio/extensions/a%20b+c HTTP/1.1\r\nHost: logjam.test\r\nx-a: lower\r\nX-a: mixed\r\n\r\n",
	} {
		for _, components := range []uint8{0, 0xff, 0x2a} {
			f.Add([]byte(head), components)
		}
	}
	peers := []func(*http.Request) error{yaronfVerifier(f), dadrusVerifier(f)}
	f.Fuzz(func(t *testing.T, raw []byte, components uint8) {
		r, body, ok := signedByUs(raw, components)
		if !ok {
			return
		}
		var refusals []error
		for _, verify := range peers {
			again := r.Clone(t.Context())
			again.Body = io.NopCloser(bytes.NewReader(body))
			if err := verify(again); err != nil {
				refusals = append(refusals, err)
			}
		}
		if len(refusals) == len(peers) {
			t.Fatalf("flyext accepts but the others refuse: %v\n%q\n%s", refusals, raw, r.Header["Signature-Input"])
		}
	})
}

// signedByUs parses a request and signs it. It returns false if flyext does not
// accept the result.
func signedByUs(raw []byte, components uint8) (r *http.Request, body []byte, ok bool) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil || r.Method == http.MethodConnect {
		return nil, nil, false
	}
	// The other libraries lack three normalizations of RFC 9421: the case of the host,
	// its default port (section 2.2.3), and an empty path (section 2.2.6). They sign the
	// user information of a target in absolute form, which flyext ignores. The target
	// "*" has no route.
	if r.URL.User != nil || r.Host != strings.ToLower(r.Host) || strings.HasSuffix(r.Host, ":443") || r.URL.Path == "" || !strings.HasPrefix(target(r), "/") ||
		target(r) != r.URL.RequestURI() { // the others use the path as net/url encodes it
		return nil, nil, false
	}
	r.TLS = &tls.ConnectionState{}
	if body, err = io.ReadAll(r.Body); err != nil {
		return nil, nil, false
	}
	base, err := url.Parse("https://" + r.Host)
	if err != nil || base.Host == "" || base.Path != "" || base.RawQuery != "" || base.User != nil {
		return nil, nil, false
	}
	if _, err := flyext.NewAuthenticator(flyext.Config{BaseURL: base.String(), Verifier: flyext.XSignature(key.Secret)}); err != nil {
		return nil, nil, false // no provider has such a host, for example one that is not ASCII
	}
	for _, name := range []string{"Signature", "Signature-Input", "Content-Digest", "Digest", "Date", "Authorization"} {
		r.Header.Del(name)
	}
	digest := sha256.Sum256(body)
	r.Header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest[:])+":")
	now := time.Now()
	r.Header.Set("Signature-Input", fmt.Sprintf(`sig1=(%s);created=%d;keyid=%q;alg="hmac-sha256"`, chosen(components, r), now.Unix(), key.ID))
	r.Header.Set("Signature", "sig1=:AAAA:")
	signatures, err := msgsig.ParseRFC9421(r.Header)
	if err != nil || signatures[0].Err != nil {
		return nil, nil, false
	}
	wire := &msgsig.Message{Method: r.Method, Scheme: "https", Host: r.Host, Target: target(r), Header: r.Header, Body: body}
	text, err := signatures[0].AppendBase(nil, wire)
	if err != nil {
		return nil, nil, false
	}
	mac := hmac.New(sha256.New, []byte(key.Secret))
	mac.Write(text)
	r.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(mac.Sum(nil))+":")
	v := flyext.Policy{InsecureSkipCoverage: true}.MessageSignature(key)
	_, err = v.Verify(r.Context(), &flyext.Message{
		Method: r.Method, Target: target(r), Host: r.Host, Header: r.Header, Body: body, BaseURL: base, Now: now,
	})
	return r, body, err == nil
}

// target returns the request target in origin form.
func target(r *http.Request) string {
	if r.URL.IsAbs() {
		return r.URL.RequestURI()
	}
	return r.RequestURI
}

// chosen returns the components in a bit set. All verifiers support them.
func chosen(bits uint8, r *http.Request) string {
	list := []string{`"@method"`, `"content-digest"`}
	for i, name := range []string{"@authority", "@path", "@query", "@target-uri", "x-a"} {
		if bits>>i&1 == 1 && (name != "x-a" || len(r.Header["X-A"]) > 0) {
			list = append(list, `"`+name+`"`)
		}
	}
	return strings.Join(list, " ")
}

func yaronfVerifier(t testing.TB) func(*http.Request) error {
	padded := make([]byte, 64) // HMAC pads a shorter key with zeros (RFC 2104)
	copy(padded, key.Secret)
	v, err := httpsign.NewHMACSHA256Verifier(padded, httpsign.NewVerifyConfig().SetKeyID(key.ID), httpsign.Headers("@method"))
	if err != nil {
		t.Fatal(err)
	}
	config := httpsign.NewHandlerConfig().SetLogger(nil).
		SetFetchVerifier(func(*http.Request) (string, *httpsign.Verifier) { return "sig1", v })
	return func(r *http.Request) error {
		return admitted(r, func(h http.Handler) http.Handler { return httpsign.WrapHandler(h, *config) })
	}
}

func dadrusVerifier(t testing.TB) func(*http.Request) error {
	resolver := dadrus.Key{KeyID: key.ID, Algorithm: dadrus.HmacSha256, Key: []byte(key.Secret)}
	v, err := dadrus.NewVerifier(resolver, dadrus.WithValidateAllSignatures(), dadrus.WithExpiredTimestampRequired(false))
	if err != nil {
		t.Fatal(err)
	}
	return func(r *http.Request) error {
		r.URL.Scheme, r.URL.Host = "https", r.Host
		return v.Verify(dadrus.MessageFromRequest(r))
	}
}
