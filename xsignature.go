package flyext

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flyext/flyext/internal/mac"
	"github.com/flyext/flyext/internal/msgsig"
)

// XSignature returns a Verifier for the signature that Fly.io sends today. X-Signature
// is the HMAC-SHA256 of the raw body (POST, PUT, PATCH) or of the raw query string (GET,
// HEAD, DELETE), in hex or base64. Other methods are refused. The signed content must
// have a timestamp in Unix seconds, a nonce of at most 1,024 bytes, and the full URL.
// Only an event may lack them; see [Event.Undated]. Pass several secrets during a
// rotation. The Verifier is safe for concurrent use.
//
// An X-Signature does not cover the method: a GET and a DELETE of the same URL have the
// same signature. Only the nonce stops an attacker from sending a GET again as a
// DELETE, so the [ReplayStore] is part of the protection.
//
// See https://fly.io/docs/reference/extensions_api/#authentication-and-request-signing.
func XSignature(secrets ...string) Verifier { return Policy{}.XSignature(secrets...) }

// XSignature returns an [XSignature] Verifier that applies p.
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
	errXSignatureMissing  = fmt.Errorf("x-signature: %w: no X-Signature header", ErrUnsigned)
	errXSignatureTwice    = errors.New("x-signature: more than one X-Signature header")
	errXSignatureEncoding = errors.New("x-signature: neither hex nor base64 of 32 bytes")
	errXSignatureContent  = errors.New("x-signature: the query could be a body, or the signature base of another format")
	errXSignatureMethod   = errors.New("x-signature: Fly.io signs no request with this method")
	errXSignatureMismatch = fmt.Errorf("x-signature: %w", ErrSignatureMismatch)
	errXSignatureUnsigned = fmt.Errorf("x-signature: %w: the request has a query or a body that the MAC does not cover", ErrUncovered)
	errXSignatureTime     = errors.New("x-signature: timestamp is missing, repeated or not a number")
	errXSignatureNonce    = errors.New("x-signature: nonce is missing, repeated or not a string")
	errXSignatureURL      = fmt.Errorf("x-signature: %w: url is missing, repeated or malformed", ErrURLMismatch)
)

// Verify implements [Verifier]. It checks the MAC before it parses the content.
func (v *xSignature) Verify(_ context.Context, m *Message) (Verification, error) {
	if err := v.ready(m); err != nil {
		return Verification{}, err
	}
	received, err := receivedMAC(m.Header["X-Signature"])
	if err != nil {
		return Verification{}, err
	}
	path, query, _ := strings.Cut(m.Target, "?")
	content, signsQuery, err := signedContent(m, query)
	if err != nil {
		return Verification{}, err
	}
	if !matches(v.keys, content, received) {
		return Verification{}, errXSignatureMismatch
	}
	if isUndatedEvent(m) && !v.policy.RequireEventTime {
		return v.admitUndated(m, received)
	}
	p, err := signingParams(m, signsQuery, query)
	if err != nil {
		return Verification{}, err
	}
	signed := time.Unix(p.timestamp, 0)
	if err := v.policy.checkTime(m.Now, signed); err != nil {
		return Verification{}, err
	}
	signedQuery, err := queryOfURL(m.BaseURL, path, p.url)
	if err != nil {
		return Verification{}, err
	}
	if !v.policy.InsecureSkipCoverage {
		unsignedBody := signsQuery && len(m.Body) > 0
		unsignedQuery := !signsQuery && query != signedQuery && query != ""
		if unsignedBody || unsignedQuery {
			return Verification{}, errXSignatureUnsigned
		}
	}
	return verifiedX(v.policy.nonce(NonceKey("x-signature", p.nonce), signed)), nil
}

func verifiedX(n Nonce) Verification {
	return Verification{Generation: Generation2, Verifier: "x-signature", Nonces: []Nonce{n}}
}

func receivedMAC(values []string) ([mac.Size]byte, error) {
	switch len(values) {
	case 0:
		return [mac.Size]byte{}, errXSignatureMissing
	case 1:
		received, ok := mac.Parse(values[0])
		if !ok {
			return received, errXSignatureEncoding
		}
		return received, nil
	}
	return [mac.Size]byte{}, errXSignatureTwice
}

// signedContent returns the part of the request that the MAC covers.
func signedContent(m *Message, query string) (content []byte, isQuery bool, err error) {
	switch m.Method {
	case http.MethodPost, http.MethodPatch, http.MethodPut:
		return m.Body, false, nil
	case http.MethodGet, http.MethodDelete, http.MethodHead:
		// A MAC fits a body and an equal query. An attacker could send a body as a
		// query, with "&url=…" in a text that a customer chose. Therefore the query
		// must not have a brace or a quote, as JSON has, nor a space or a line break,
		// as the signature base of a message signature has. A URL has them only
		// escaped (RFC 3986, section 2).
		if strings.ContainsFunc(query, isNoURL) {
			return nil, true, errXSignatureContent
		}
		return []byte(query), true, nil
	}
	return nil, false, errXSignatureMethod
}

// isUndatedEvent reports whether the body is an event that lacks a parameter of
// X-Signature. Only a JSON object qualifies, so that a captured query is not an event.
func isUndatedEvent(m *Message) bool {
	if !m.isEvent {
		return false
	}
	body, err := m.decode()
	b, ok := body.(*eventBody)
	return ok && err == nil && !b.complete()
}

// admitUndated admits an event that lacks a parameter. Its MAC is the nonce.
func (v *xSignature) admitUndated(m *Message, received [mac.Size]byte) (Verification, error) {
	if _, query, _ := strings.Cut(m.Target, "?"); query != "" && !v.policy.InsecureSkipCoverage {
		return Verification{}, errXSignatureUnsigned
	}
	return verifiedX(Nonce{
		Key: NonceKey("x-signature event", string(received[:])), Expires: m.Now.Add(eventMemory), OnReceipt: true,
	}), nil
}

func isNoURL(r rune) bool { return r <= ' ' || r == '{' || r == '"' || r == 0x7f }

// matches compares with every key, so that its time does not depend on the key.
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

// maxNonce bounds the bytes of a nonce.
const maxNonce = 1024

// signingParams reads the signed parameters. The MAC was checked before, so the sender
// may learn that the body is not a JSON object.
func signingParams(m *Message, signsQuery bool, query string) (p xSignatureParams, err error) {
	var timestamp string
	if signsQuery {
		values, err := url.ParseQuery(query)
		if err != nil {
			return p, errXSignatureTime
		}
		timestamp, p.nonce, p.url = only(values, "timestamp"), only(values, "nonce"), only(values, "url")
	} else {
		members, err := bodyParams(m)
		if err != nil {
			return p, err
		}
		if timestamp = textOf(members.Timestamp); members.Timestamp.Kind() == '0' {
			timestamp = string(members.Timestamp)
		}
		p.nonce, p.url = textOf(members.Nonce), textOf(members.URL)
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

// bodyParams returns the parameters in a body. Other members of the wrong type are
// reported later, after the nonce was entered.
func bodyParams(m *Message) (*signingMembers, error) {
	body, err := m.decode()
	if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeInvalidField {
		body = &signedBody{}
		err = decodePayload(m.Body, body)
	}
	if err != nil {
		return nil, err
	}
	return body.signing(), nil
}

// parseUnix reads Unix seconds, which must be digits only.
func parseUnix(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil && len(s) <= 15
}

// queryOfURL returns the query of a signed URL. It returns an error if the URL is not
// the URL of the request.
func queryOfURL(base *url.URL, path, text string) (query string, err error) {
	target, err := url.Parse(text)
	if err != nil {
		return "", errXSignatureURL
	}
	if err := sameTarget(base, path, target); err != nil {
		return "", err
	}
	return target.RawQuery, nil
}

// sameTarget compares the scheme and the host of a signed URL with Config.BaseURL, and
// its path with the request. It ignores the query, because Fly.io's page leaves open
// whether the signed URL includes it.
func sameTarget(base *url.URL, path string, target *url.URL) error {
	signed, ours := msgsig.Authority(target.Scheme, target.Host), msgsig.Authority(base.Scheme, base.Host)
	switch {
	case target.User != nil || target.Opaque != "" || target.Scheme != base.Scheme: // url.Parse lowers the case of schemes
		return fmt.Errorf("x-signature: %w: the scheme differs", ErrURLMismatch)
	case signed != ours:
		return fmt.Errorf("x-signature: %w: the signed host is %q, and Config.BaseURL has %q", ErrURLMismatch, signed, ours)
	case !msgsig.SamePath(target.EscapedPath(), path):
		return fmt.Errorf("x-signature: %w: the path differs", ErrURLMismatch)
	}
	return nil
}
