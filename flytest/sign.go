package flytest

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
)

// A Signer signs requests as Fly.io does. The signers of this package are safe for
// concurrent use, and printing them does not reveal their secrets. Their Sign returns
// an error for an invalid secret, token or key, such as an empty one.
type Signer interface {
	// Sign signs r in place, at the time now. r is a client request with an
	// absolute URL. Read its body with r.GetBody and change it with [SetBody].
	Sign(r *http.Request, now time.Time) error
}

// A signerFunc is a Signer that holds its secrets in a closure, where no fmt verb
// can print them.
type signerFunc func(r *http.Request, now time.Time) error

func (sign signerFunc) Sign(r *http.Request, now time.Time) error { return sign(r, now) }

// All returns a Signer that applies signers in order. A signature can cover only
// headers that earlier signers have set, so put the bearer token first:
//
//	flytest.All(flytest.BearerToken(token), flytest.RFC9421(key))
//
// [RFC9421], [Draft05] and [Zntrio] cover the token then.
func All(signers ...Signer) Signer {
	return signerFunc(func(r *http.Request, now time.Time) error {
		if len(signers) == 0 {
			return errors.New("flytest: All needs at least one signer")
		}
		for _, s := range signers {
			if s == nil {
				return errors.New("flytest: All has a nil signer")
			}
			if err := s.Sign(r, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// SignatureBase returns the exact bytes that the last signer of this package signed:
//
//   - for X-Signature, the body or the query
//   - for RFC 9421 and its drafts, the signature base (RFC 9421, section 2.5)
//   - for draft-cavage and its dialect, the signing string
//
// It returns "" if r has no signature of this package. Compare the bytes with those
// that a verifier computes.
func SignatureBase(r *http.Request) string {
	base, _ := r.Context().Value(signatureBaseKey{}).(string)
	return base
}

type signatureBaseKey struct{}

// keepSignatureBase stores the base in the context, which copies of r share.
func keepSignatureBase(r *http.Request, base string) {
	*r = *r.WithContext(context.WithValue(r.Context(), signatureBaseKey{}, base))
}

// BearerToken returns a Signer that adds "Authorization: Bearer <token>". Generation 1
// sends it in addition to a message signature.
func BearerToken(token string) Signer {
	return signerFunc(func(r *http.Request, _ time.Time) error {
		if token == "" {
			return errors.New("flytest: BearerToken: the token is empty")
		}
		r.Header.Add("Authorization", "Bearer "+token)
		return nil
	})
}

// XSignature returns a Signer that signs as Fly.io does today. It adds a timestamp, a
// nonce and the URL to the JSON object in the body, or to the query of a GET, HEAD or
// DELETE. It then sends the HMAC-SHA256 of the body or query as X-Signature, in
// lower-case hex. The other bytes of the body or query do not change. Sign returns an
// error if the body is not a JSON object, or already has one of the three parameters.
//
// See https://fly.io/docs/reference/extensions_api/#authentication-and-request-signing.
func XSignature(secret string) Signer { return XSignatureOptions{}.XSignature(secret) }

// XSignatureOptions changes the signatures of [XSignature]. The zero value changes
// nothing.
type XSignatureOptions struct {
	// TimestampAsText writes the timestamp in a body as a JSON string. Fly.io's
	// own examples have strings and numbers.
	TimestampAsText bool
	// AsIs signs the body or query without adding anything, even if the body is
	// not JSON. The signature is then valid, but the timestamp, the nonce and the
	// URL are missing unless the request already has them.
	AsIs bool
}

// XSignature returns an X-Signature Signer that applies o. See the function
// [XSignature].
func (o XSignatureOptions) XSignature(secret string) Signer {
	return signerFunc(func(r *http.Request, now time.Time) error {
		if secret == "" {
			return errors.New("flytest: XSignature: the secret is empty")
		}
		content, err := o.content(r, now)
		if err != nil {
			return err
		}
		r.Header.Set("X-Signature", hex.EncodeToString(hmacSHA256(secret, content)))
		keepSignatureBase(r, string(content))
		return nil
	})
}

// content returns the bytes to sign: the complete body or query.
func (o XSignatureOptions) content(r *http.Request, now time.Time) ([]byte, error) {
	if !o.AsIs {
		return o.addSigningParams(r, now)
	}
	if signsQuery(r.Method) {
		return []byte(r.URL.RawQuery), nil
	}
	return bodyOf(r)
}

func signsQuery(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodDelete
}

// addSigningParams adds the parameters to r and returns its new body or query.
func (o XSignatureOptions) addSigningParams(r *http.Request, now time.Time) ([]byte, error) {
	params := signingParams{timestamp: strconv.FormatInt(now.Unix(), 10), nonce: rand.Text(), url: r.URL.String()}
	if signsQuery(r.Method) {
		return params.addToQuery(r.URL)
	}
	if o.TimestampAsText {
		params.timestamp = strconv.Quote(params.timestamp)
	}
	return params.addToBody(r)
}

// signingParams are the parameters that X-Signature adds to a request.
type signingParams struct {
	timestamp string // for a body, its JSON
	nonce     string
	url       string
}

// addToQuery adds p to the query of u and returns the new query.
func (p signingParams) addToQuery(u *url.URL) ([]byte, error) {
	have := u.Query()
	params := url.Values{"timestamp": {p.timestamp}, "nonce": {p.nonce}, "url": {p.url}}
	for name := range params {
		if have.Has(name) {
			return nil, errHasSigningParam(name)
		}
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += params.Encode()
	return []byte(u.RawQuery), nil
}

// addToBody adds p to the end of the JSON object in the body of r and returns the new
// body.
func (p signingParams) addToBody(r *http.Request) ([]byte, error) {
	body, err := bodyOf(r)
	if err != nil {
		return nil, err
	}
	end, empty, err := endOfObject(body)
	if err != nil {
		return nil, err
	}
	quoted, err := jsontext.AppendQuote(nil, p.url)
	if err != nil {
		return nil, fmt.Errorf("flytest: the URL: %w", err)
	}
	comma := ","
	if empty {
		comma = ""
	}
	signed := fmt.Appendf(nil, `%s%s"timestamp":%s,"nonce":"%s","url":%s%s`, body[:end], comma, p.timestamp, p.nonce, quoted, body[end:])
	SetBody(r, signed)
	return signed, nil
}

func errHasSigningParam(name string) error {
	return fmt.Errorf("flytest: the request already has a %q; XSignature adds its own", name)
}

// endOfObject returns the offset of the closing brace in body, and whether the object
// is empty. It is otherwise lenient, because a test may sign an object that the
// provider must refuse.
func endOfObject(body []byte) (end int, empty bool, err error) {
	dec := jsontext.NewDecoder(strings.NewReader(string(body)), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if dec.PeekKind() != '{' {
		return 0, false, errors.New("flytest: XSignature: the body must be a JSON object")
	}
	_, err = dec.ReadToken()
	empty = true
	for err == nil && dec.PeekKind() == '"' {
		empty = false
		var name jsontext.Token
		if name, err = dec.ReadToken(); err != nil {
			break
		}
		switch name := name.String(); name {
		case "timestamp", "nonce", "url":
			return 0, false, errHasSigningParam(name)
		}
		err = dec.SkipValue()
	}
	if err == nil {
		_, err = dec.ReadToken()
	}
	if err != nil {
		return 0, false, fmt.Errorf("flytest: XSignature: the body must be a JSON object: %w", err)
	}
	return int(dec.InputOffset()) - len("}"), empty, nil
}

func hmacSHA256(secret string, message []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(message)
	return h.Sum(nil)
}

func base64SHA256(body []byte) string {
	sum := sha256.Sum256(body)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// keyedSigner returns a Signer that checks key and passes the body to sign.
func keyedSigner(key flyext.Key, sign func(r *http.Request, body []byte, now time.Time) error) Signer {
	return signerFunc(func(r *http.Request, now time.Time) error {
		if err := checkKey(key); err != nil {
			return err
		}
		if r.Host == "" { // net/http then sends the host of the URL
			r.Host = r.URL.Host
		}
		body, err := bodyOf(r)
		if err != nil {
			return err
		}
		return sign(r, body, now)
	})
}

func checkKey(key flyext.Key) error {
	if key.ID == "" || key.Secret == "" {
		return errors.New("flytest: the key has no ID or no Secret")
	}
	for _, c := range []byte(key.ID) {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return errors.New("flytest: the key's ID must be printable ASCII without quotes and backslashes")
		}
	}
	return nil
}
