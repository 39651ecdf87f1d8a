package flyext

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/flyext/flyext/internal/mac"
	"github.com/flyext/flyext/internal/msgsig"
)

// XSignature verifies what Fly.io sends today: X-Signature, the HMAC-SHA256 of
// the raw body (POST, PATCH) or of the raw query string (GET, DELETE), in hex
// or base64. The signed content names a timestamp, a nonce and the full URL,
// which are demanded and checked. Give several secrets while rotating.
//
// It covers neither the method nor, on a GET, anything that a DELETE of the
// same URL would not have: it is the nonce that keeps one from becoming the
// other, so never use it without a [ReplayStore].
//
// See https://fly.io/docs/reference/extensions_api/#authentication-and-request-signing.
func XSignature(secrets ...string) Verifier { return Policy{}.XSignature(secrets...) }

// XSignature is [XSignature] under this policy.
func (p Policy) XSignature(secrets ...string) Verifier {
	v := &xSignature{}
	v.policy, v.err = p.withDefaults()
	v.keys = newKeys(&v.err, "XSignature", secrets)
	return v
}

type xSignature struct {
	construction
	policy Policy
	keys   []*mac.Key
}

var (
	errXSignatureHeader   = errors.New("x-signature: not exactly one X-Signature header")
	errXSignatureEncoding = errors.New("x-signature: neither hex nor base64 of 32 bytes")
	errXSignatureContent  = errors.New("x-signature: the query could be a body, or another format's signature base")
	errXSignatureMethod   = errors.New("x-signature: the method is none that is signed")
	errXSignatureMismatch = errors.New("x-signature: MAC does not match")
	errXSignatureUnsigned = errors.New("x-signature: the request has a query or a body that is not signed")
	errXSignatureTime     = errors.New("x-signature: timestamp is absent, repeated or no number")
	errXSignatureNonce    = errors.New("x-signature: nonce is absent, repeated or no text")
	errXSignatureURL      = errors.New("x-signature: url is absent or not this one")
)

// Verify implements [Verifier].
func (v *xSignature) Verify(_ context.Context, m *Message) (Verification, error) {
	if err := v.ready(m); err != nil {
		return Verification{}, err
	}
	if len(m.Header["X-Signature"]) != 1 {
		return Verification{}, errXSignatureHeader
	}
	received, ok := mac.Parse(m.Header["X-Signature"][0])
	if !ok {
		return Verification{}, errXSignatureEncoding
	}
	path, query, _ := strings.Cut(m.Target, "?")
	var content []byte
	signsQuery := false
	switch m.Method {
	case http.MethodPost, http.MethodPatch:
		content = m.Body
	case http.MethodGet, http.MethodDelete, http.MethodHead:
		// The MAC does not tell whether it is a body's or a query's, and a body
		// has texts that a customer chose: "&url=…" among them, it would be a
		// query. An object with members has a brace and quotes, and no URL may
		// have them unescaped (RFC 3986, section 2), nor the spaces and line
		// breaks of the bases that message signatures are made of.
		if strings.ContainsFunc(query, isNoURL) {
			return Verification{}, errXSignatureContent
		}
		content, signsQuery = []byte(query), true
	default: // no signature is Fly.io's for a method that Fly.io does not use
		return Verification{}, errXSignatureMethod
	}
	if !matches(v.keys, content, received) {
		return Verification{}, errXSignatureMismatch
	}

	p, err := signingParams(m, signsQuery, query)
	if err != nil {
		return Verification{}, err
	}
	signed := time.Unix(p.timestamp, 0)
	if err := v.policy.checkTime(m.Now, signed); err != nil {
		return Verification{}, err
	}
	signedQuery, ok := queryOfURL(m.BaseURL, path, p.url)
	if !ok {
		return Verification{}, errXSignatureURL
	}
	if !v.policy.InsecureSkipCoverage {
		unsignedBody := signsQuery && len(m.Body) > 0
		unsignedQuery := !signsQuery && query != signedQuery && query != ""
		if unsignedBody || unsignedQuery {
			return Verification{}, errXSignatureUnsigned
		}
	}
	return Verification{
		Generation: Generation2,
		Nonces:     []Nonce{v.policy.nonce(NonceKey("x-signature", p.nonce), m.Now, signed)},
	}, nil
}

func isNoURL(r rune) bool { return r <= ' ' || r == '{' || r == '"' || r == 0x7f }

// matches compares with every key, so that the time taken does not tell which
// one fitted.
func matches(keys []*mac.Key, content []byte, received [mac.Size]byte) bool {
	matched := false
	for _, k := range keys {
		matched = mac.Equal(k.Sum(content), received) || matched
	}
	return matched
}

type xSignatureParams struct {
	timestamp  int64
	nonce, url string
}

// maxNonce bounds what is hashed of a nonce, in bytes.
const maxNonce = 1024

// signingParams reads the parameters that the signature itself protects. The
// MAC is right already, so a body that is no JSON object is told as such.
func signingParams(m *Message, signsQuery bool, query string) (p xSignatureParams, err error) {
	var timestamp string
	if signsQuery {
		values, err := url.ParseQuery(query)
		if err != nil {
			return p, errXSignatureTime
		}
		only := func(name string) string {
			if len(values[name]) != 1 {
				return ""
			}
			return values[name][0]
		}
		timestamp, p.nonce, p.url = only("timestamp"), only("nonce"), only("url")
	} else {
		o, err := m.parse()
		if err != nil {
			return p, err
		}
		timestamp = o.param("timestamp", true)
		p.nonce, p.url = o.param("nonce", false), o.param("url", false)
	}
	var ok bool
	if p.timestamp, ok = parseUnix(timestamp); !ok {
		return p, errXSignatureTime
	}
	if p.nonce == "" || len(p.nonce) > maxNonce {
		return p, errXSignatureNonce
	}
	if p.url == "" {
		return p, errXSignatureURL
	}
	return p, nil
}

// parseUnix reads unix seconds, digits alone.
func parseUnix(s string) (n int64, ok bool) {
	if s == "" || len(s) > 15 {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// queryOfURL returns the query of a URL that is the one where the request went.
func queryOfURL(base *url.URL, path, text string) (query string, ok bool) {
	// Most are spelt as we would spell it, and need no parsing.
	if rest, ok := strings.CutPrefix(text, base.Scheme); ok {
		if rest, ok = strings.CutPrefix(rest, "://"); ok {
			if rest, ok = strings.CutPrefix(rest, base.Host); ok && rest == path && isPlainPath(path) {
				return "", true
			}
		}
	}
	target, err := url.Parse(text)
	if err != nil || !sameTarget(base, path, target) {
		return "", false
	}
	return target.RawQuery, true
}

// isPlainPath reports whether a path is absolute and spells itself: of
// unreserved characters and slashes alone (RFC 3986, section 2.3).
func isPlainPath(path string) bool {
	for i := 0; i < len(path); i++ {
		c := path[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '/' && c != '-' && c != '.' && c != '_' && c != '~' {
			return false
		}
	}
	return strings.HasPrefix(path, "/")
}

// sameTarget compares scheme, host and path with where the request went. The
// query is not compared: whether Fly.io includes it is open.
func sameTarget(base *url.URL, path string, target *url.URL) bool {
	if target.User != nil || target.Opaque != "" || target.Scheme != base.Scheme || // url.Parse has made them lower case
		msgsig.Authority(target.Scheme, target.Host) != msgsig.Authority(base.Scheme, base.Host) {
		return false
	}
	return samePath(target.EscapedPath(), path)
}

// samePath compares escaped paths element by element, decoded, so that %2f is
// %2F and is not a slash.
func samePath(a, b string) bool {
	if a == b {
		return true
	}
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	if len(as) != len(bs) {
		return false
	}
	for i := range as {
		x, errX := url.PathUnescape(as[i])
		y, errY := url.PathUnescape(bs[i])
		if errX != nil || errY != nil || x != y {
			return false
		}
	}
	return true
}
