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

// A Message is a received request for a [Verifier]: the whole request, byte for byte
// as it was sent. Body may be empty; all other fields are set.
type Message struct {
	Method string
	// Target is the request target of the request line, path and query, escaped
	// as it was sent.
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

	isEvent    bool           // whose X-Signature may lack parameters
	newPayload func() payload // nil where only the service knows the body
	decoded    decodedBody
}

// A decodedBody is a body with the outcome of its decoding.
type decodedBody struct {
	body    []byte
	payload payload
	err     error
}

// decode decodes the body once. A Verifier of the service's own may copy a message
// and exchange the copy's body; then the copy is decoded by itself.
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

// sameMemory reports whether two slices are the same bytes of memory.
func sameMemory(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// A Verifier decides whether a message comes from Fly.io. It must be safe for
// concurrent use.
//
// Verify must authenticate the message before it uses any part of it. It must
// remember nothing: it returns the nonces of the message, and its caller enters them
// into the [ReplayStore] once everything else is right.
//
// An error refuses the message. Its text goes to the log, so it must hold nothing of
// an unauthenticated message. The client learns nothing from it, except from an
// *[Error], which is sent as it is: return one if the sender has proven to know the
// secret, or if a key store is out of reach (503).
type Verifier interface {
	Verify(ctx context.Context, m *Message) (Verification, error)
}

// A Verification is the result of a [Verifier] for a genuine message.
type Verification struct {
	// Generation chooses the shape of the answer.
	Generation Generation
	// Verifier names the kind of signature, such as "x-signature", for
	// [Outcome.Verifier].
	Verifier string
	// Nonces are what the message uses up.
	Nonces []Nonce
}

// A Nonce is used up by one message, so that a copy of the message is refused.
type Nonce struct {
	// Key identifies the nonce: the start of a SHA-256 over the scheme and the
	// nonce itself. See [NonceKey].
	Key [16]byte
	// Expires is the time of signing plus the greatest age and the clock skew that
	// the policy allows. It depends on the message alone and never on the clock,
	// so a copy has the expiry of the original.
	Expires time.Time

	// OnReceipt marks the nonce of an event, or of its signature where that has no
	// time. The nonce is used up once the event was received, so that a retry after a
	// failure passes. Its Expires is the time of receipt plus a day, so a copy has
	// another one, and a [ReplayStore] may accept it again after that.
	OnReceipt bool
}

// mergeNonces adds nonces to a list, each key once, with the latest expiry: a nonce
// that two verifiers share would otherwise be its own replay.
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
	// The length precedes each part, so that two lists of parts never look alike.
	text := make([]byte, 0, 128)
	text = append(binary.AppendUvarint(text, uint64(len(scheme))), scheme...)
	for _, part := range parts {
		text = append(binary.AppendUvarint(text, uint64(len(part))), part...)
	}
	sum := sha256.Sum256(text)
	copy(key[:], sum[:])
	return key
}

// A Generation is a version of Fly.io's protocol. They differ in the signature
// and in the shape of the answer.
type Generation int

const (
	// Generation1 is the proposal of May 2023: a bearer token and an HTTP
	// message signature; the answer is a flat object of secrets.
	Generation1 Generation = 1
	// Generation2 is what Fly.io runs today: X-Signature; the answer is an
	// envelope with "id" and "config".
	Generation2 Generation = 2
)

// construction is the part that all verifiers of this package share: the mistake in
// their configuration, which New reports and Verify returns, and a print without
// keys.
type construction struct{ err error }

func (c *construction) constructionError() error { return c.err }

var errNoBaseURL = errors.New("flyext: Message.BaseURL is missing")

// ready returns the reason why no message or not this one can be verified, or nil.
func (c *construction) ready(m *Message) error {
	if c.err == nil && m.BaseURL == nil {
		return errNoBaseURL
	}
	return c.err
}

// Format implements [fmt.Formatter].
func (c *construction) Format(f fmt.State, _ rune) { redactedFormat(f, "Verifier") }

// MarshalText implements [encoding.TextMarshaler] for logs.
func (c *construction) MarshalText() ([]byte, error) {
	return []byte("Verifier(" + redacted + ")"), nil
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

// newKeys prepares secrets. It refuses an empty secret, which is known to everyone.
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

// A Key is a shared secret and the id by which message signatures name it. It
// prints, logs and marshals without the secret.
type Key struct {
	ID     string // such as "flyio-signing-secret"
	Secret string
}

// Format implements [fmt.Formatter]. It leaves the secret out, for each verb.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, "Key("+k.ID+")") }

// LogValue implements [slog.LogValuer].
func (k Key) LogValue() slog.Value { return slog.StringValue("Key(" + k.ID + ")") }

// MarshalText implements [encoding.TextMarshaler]. It leaves the secret out.
func (k Key) MarshalText() ([]byte, error) { return []byte("Key(" + k.ID + ")"), nil }
