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

// A Signer signs requests as Fly.io would. The ones of this package are safe
// for concurrent use and print without their secrets.
type Signer interface {
	// Sign signs r, in place, at the time now. r is a client's request with an
	// absolute URL; its body is had from r.GetBody and changed with [SetBody].
	Sign(r *http.Request, now time.Time) error
}

// signerFunc makes signers of closures, whose secrets no fmt verb can print.
type signerFunc func(r *http.Request, now time.Time) error

func (sign signerFunc) Sign(r *http.Request, now time.Time) error { return sign(r, now) }

// All signs with each of signers, in their order. A signature covers what is
// there before it: with the bearer token first, as in
//
//	flytest.All(flytest.BearerToken(token), flytest.RFC9421(key))
//
// the signature covers the token, where its format does that.
func All(signers ...Signer) Signer {
	return signerFunc(func(r *http.Request, now time.Time) error {
		if len(signers) == 0 {
			return errors.New("flytest: All of no signers")
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

// SignatureBase returns the exact bytes whose HMAC the last signer of this
// package put on r: the body or query of X-Signature, the signature base of
// RFC 9421 (section 2.5), the signing string of draft-cavage. It is "" if none
// did. Compare it with what a verifier computes.
func SignatureBase(r *http.Request) string {
	base, _ := r.Context().Value(signatureBaseKey{}).(string)
	return base
}

type signatureBaseKey struct{}

// keepSignatureBase keeps the base where copies of the request have it, too.
func keepSignatureBase(r *http.Request, base string) {
	*r = *r.WithContext(context.WithValue(r.Context(), signatureBaseKey{}, base))
}

// BearerToken adds "Authorization: Bearer <token>", which generation 1 sends
// beside a message signature.
func BearerToken(token string) Signer {
	return signerFunc(func(r *http.Request, _ time.Time) error {
		if token == "" {
			return errors.New("flytest: BearerToken of an empty token")
		}
		r.Header.Add("Authorization", "Bearer "+token)
		return nil
	})
}

// XSignature signs as Fly.io does today: it adds a timestamp, a nonce and the
// URL to the JSON object in the body, or to the query of a GET, HEAD or DELETE,
// and sends the HMAC-SHA256 of that body or query, in lower-case hex, as
// X-Signature. What is there already stays as it is, byte for byte.
//
// See https://fly.io/docs/reference/extensions_api/#authentication-and-request-signing.
func XSignature(secret string) Signer { return XSignatureOptions{}.XSignature(secret) }

// XSignatureOptions are what an X-Signature can be made with otherwise. The zero
// value is what [XSignature] does.
type XSignatureOptions struct {
	// TimestampAsText puts the timestamp of a body into quotes. Fly.io's own
	// examples show it both ways.
	TimestampAsText bool
	// AsIs adds nothing: the body or query is signed as it is, be it JSON or
	// not. A request signed so is genuine, and lacks what must be in it.
	AsIs bool
}

// XSignature is [XSignature] with these options.
func (o XSignatureOptions) XSignature(secret string) Signer {
	return signerFunc(func(r *http.Request, now time.Time) error {
		if secret == "" {
			return errors.New("flytest: XSignature with an empty secret")
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

// content returns what to sign: the body or query, with what has to be in it.
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

// addSigningParams returns the content to sign: the new body or query.
func (o XSignatureOptions) addSigningParams(r *http.Request, now time.Time) ([]byte, error) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	nonce := rand.Text()
	target := r.URL.String()
	if signsQuery(r.Method) {
		have := r.URL.Query()
		params := url.Values{"timestamp": {timestamp}, "nonce": {nonce}, "url": {target}}
		for name := range params {
			if have.Has(name) {
				return nil, errHasSigningParam(name)
			}
		}
		if r.URL.RawQuery != "" {
			r.URL.RawQuery += "&"
		}
		r.URL.RawQuery += params.Encode()
		return []byte(r.URL.RawQuery), nil
	}
	body, err := bodyOf(r)
	if err != nil {
		return nil, err
	}
	end, empty, err := endOfObject(body)
	if err != nil {
		return nil, err
	}
	quoted, err := jsontext.AppendQuote(nil, target)
	if err != nil {
		return nil, fmt.Errorf("flytest: the URL: %w", err)
	}
	comma := ","
	if empty {
		comma = ""
	}
	if o.TimestampAsText {
		timestamp = strconv.Quote(timestamp)
	}
	signed := fmt.Appendf(nil, `%s%s"timestamp":%s,"nonce":"%s","url":%s%s`, body[:end], comma, timestamp, nonce, quoted, body[end:])
	SetBody(r, signed)
	return signed, nil
}

func errHasSigningParam(name string) error {
	return fmt.Errorf("flytest: the request has a %q already, which XSignature adds", name)
}

// endOfObject returns where the object in body closes, and whether it has no
// members. It minds as little as it can else, because a test may well want to
// sign an object that the provider has to refuse.
func endOfObject(body []byte) (end int, empty bool, err error) {
	dec := jsontext.NewDecoder(strings.NewReader(string(body)), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if dec.PeekKind() != '{' {
		return 0, false, errors.New("flytest: XSignature can sign a body that is a JSON object, and this one is not")
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
		return 0, false, fmt.Errorf("flytest: XSignature can sign a body that is a JSON object: %w", err)
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

// keyedSigner makes a signer under a key of a closure that gets the body, too.
func keyedSigner(key flyext.Key, sign func(r *http.Request, body []byte, now time.Time) error) Signer {
	return signerFunc(func(r *http.Request, now time.Time) error {
		if err := checkKey(key); err != nil {
			return err
		}
		if r.Host == "" { // as net/http takes it
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
			return errors.New("flytest: the key's ID cannot be quoted in a header")
		}
	}
	return nil
}
