package flyext

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/flyext/flyext/internal/mac"
)

// A Message is a received request for a [Verifier], byte for byte as it was sent. Body
// may be empty; all other fields are set.
type Message struct {
	Method string
	// Target is the path and the query of the request line, with their escapes.
	Target string
	// Host is the Host header or :authority.
	Host   string
	Header http.Header
	// Body is the whole body. A Verifier must not change it.
	Body []byte
	// BaseURL is the provider's public base URL, from its configuration.
	BaseURL *url.URL
	// Now is the current time, for the check of freshness.
	Now time.Time

	isEvent    bool           // its X-Signature may lack parameters
	newPayload func() payload // nil for a route of the service's own
	decoded    decodedBody
}

// A decodedBody is a body with the result of decoding it.
type decodedBody struct {
	body    []byte
	payload payload
	err     error
}

// decode decodes the body once. A service's own Verifier may copy a Message and replace
// the body of the copy, which is then decoded again.
func (m *Message) decode() (payload, error) {
	d := &m.decoded
	if d.payload != nil && sameMemory(d.body, m.Body) {
		return d.payload, d.err
	}
	switch {
	case m.isEvent:
		b := &eventBody{}
		*d = decodedBody{m.Body, b, b.read(m.Body)}
	case m.newPayload != nil:
		p := m.newPayload()
		*d = decodedBody{m.Body, p, decodePayload(m.Body, p)}
	default:
		p := &signedBody{}
		*d = decodedBody{m.Body, p, decodePayload(m.Body, p)}
	}
	return d.payload, d.err
}

// sameMemory reports whether two slices are the same memory.
func sameMemory(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// A Verifier decides whether a message comes from Fly.io. It must be safe for
// concurrent use.
//
// Verify must authenticate the message before it uses any part of it. It must not
// remember nonces: it returns them, and the caller enters them into the [ReplayStore]
// after all other checks.
//
// An error refuses the message. Its text is logged, so it must not contain text of an
// unauthenticated message. The client gets the same 401 for every error except an
// *[Error], which is sent unchanged. Return an *Error only if the sender has proven to
// know the secret, or if a key store is unavailable (503).
//
// The functions that make the verifiers of this package, such as [XSignature], return no
// error. [New] and [NewAuthenticator] report invalid arguments, such as an empty secret.
type Verifier interface {
	Verify(ctx context.Context, m *Message) (Verification, error)
}

// A Verification is the result of a [Verifier] for a genuine message.
type Verification struct {
	// Generation determines the format of the response.
	Generation Generation
	// Verifier names the kind of signature, such as "x-signature", for
	// [Outcome.Verifier].
	Verifier string
	// Nonces are the nonces of the message. Without a nonce, copies are accepted.
	Nonces []Nonce
}

// A Nonce identifies a message, so that a copy of the message is refused.
type Nonce struct {
	// Key is the first half of a SHA-256 over the text that identifies the message. See
	// [NonceKey].
	Key [16]byte
	// Expires is the time of signing plus [Policy.MaxAge] and [Policy.ClockSkew]. It
	// depends only on the message, so a copy has the expiry of the original.
	Expires time.Time

	// OnReceipt marks a nonce that is entered after the delivery of an event, so that a
	// retry after a failure is accepted: that of the event, or of its undated signature.
	// Such a nonce expires a day after the receipt. A later copy therefore has a later
	// Expires, and a [ReplayStore] may accept it once the first entry has expired.
	OnReceipt bool
}

// mergeNonces adds nonces to a list, each key once, with the latest expiry. A nonce
// that two verifiers return would otherwise be refused as a replay of itself.
func mergeNonces(nonces []Nonce, more ...Nonce) []Nonce {
	for _, n := range more {
		i := slices.IndexFunc(nonces, func(have Nonce) bool { return have.Key == n.Key })
		switch {
		case i < 0:
			nonces = append(nonces, n)
		case n.Expires.After(nonces[i].Expires):
			nonces[i].Expires = n.Expires
		}
	}
	return nonces
}

// NonceKey returns the [Nonce.Key] for the parts that identify a message under a
// scheme, such as NonceKey("x-signature", nonce).
func NonceKey(scheme string, parts ...string) (key [16]byte) {
	// The length before each part keeps different lists of parts apart.
	text := make([]byte, 0, 128)
	text = append(binary.AppendUvarint(text, uint64(len(scheme))), scheme...)
	for _, part := range parts {
		text = append(binary.AppendUvarint(text, uint64(len(part))), part...)
	}
	sum := sha256.Sum256(text)
	copy(key[:], sum[:])
	return key
}

// A Generation is a version of Fly.io's protocol. Generations differ in the signature
// and in the format of the response.
type Generation int

const (
	// Generation1 is the proposal of May 2023. Requests have a bearer token and an HTTP
	// message signature; the response is a flat object of secrets.
	Generation1 Generation = 1
	// Generation2 is the current protocol of Fly.io. Requests have an X-Signature; the
	// response is an envelope with "id" and "config".
	Generation2 Generation = 2
)

// construction is embedded in all verifiers of this package. It holds the error in
// their configuration, which New reports and Verify returns.
type construction struct {
	hidden
	err error
}

func (c *construction) constructionError() error { return c.err }

var errNoBaseURL = errors.New("flyext: Message.BaseURL is missing")

// ready returns an error in the configuration or in the message, or nil.
func (c *construction) ready(m *Message) error {
	if c.err == nil && m.BaseURL == nil {
		return errNoBaseURL
	}
	return c.err
}

func checkVerifier(v Verifier) error {
	if v == nil {
		return errors.New("flyext: a Verifier is nil")
	}
	if c, ok := v.(interface{ constructionError() error }); ok {
		return c.constructionError()
	}
	return nil
}

// newKeys returns the keys of secrets. It refuses an empty secret, which everyone knows.
func newKeys(err *error, name string, secrets []string) []*mac.Key {
	if len(secrets) == 0 {
		*err = fmt.Errorf("flyext: %s needs a secret", name)
	}
	keys := make([]*mac.Key, len(secrets))
	for i, secret := range secrets {
		if secret == "" {
			*err = fmt.Errorf("flyext: %s has an empty secret", name)
		}
		keys[i] = mac.New(secret)
	}
	return keys
}

// A Key is a shared secret and its id in message signatures. Both are required.
// Printing, logging and marshalling redact the secret.
type Key struct {
	ID     string // such as "flyio-signing-secret"
	Secret string
}

// Format implements [fmt.Formatter]. It redacts the secret, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, "Key("+k.ID+")") }

// LogValue implements [slog.LogValuer]. It redacts the secret.
func (k Key) LogValue() slog.Value { return slog.StringValue("Key(" + k.ID + ")") }

// MarshalText implements [encoding.TextMarshaler]. It redacts the secret.
func (k Key) MarshalText() ([]byte, error) { return []byte("Key(" + k.ID + ")"), nil }
