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
	"unsafe"

	"github.com/flyext/flyext/internal/mac"
)

// A Message is a received request as a [Verifier] sees it: whole, and byte for
// byte as it came. All fields are set but Body, which may be empty.
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
	// Now is the time that freshness is judged by.
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
	if d.payload != nil && len(d.body) == len(m.Body) && unsafe.SliceData(d.body) == unsafe.SliceData(m.Body) {
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

// A Verifier decides whether a message comes from Fly.io.
//
// Verify must authenticate before it looks at anything else, and must not
// remember anything: it returns the nonces that the message uses up, and its
// caller enters them into the [ReplayStore] once everything else is right.
//
// Any error means that the message is refused. Its text goes to the log, so it
// must hold nothing of an unauthenticated message; the caller is told nothing.
// Only a *[Error] is answered as it is: return one where the sender has proven
// to know the secret, or where a key store is out of reach (503).
//
// It must be safe for concurrent use.
type Verifier interface {
	Verify(ctx context.Context, m *Message) (Verification, error)
}

// A Verification is what a [Verifier] found out about a genuine message.
type Verification struct {
	// Generation chooses the shape of the answer.
	Generation Generation
	// Verifier names the kind of signature, such as "x-signature", for
	// [Outcome.Verifier].
	Verifier string
	// Nonces are what the message uses up.
	Nonces []Nonce
}

// A Nonce is something that works once.
type Nonce struct {
	// Key identifies it: the start of a SHA-256 over the scheme and what must
	// not come twice. See [NonceKey].
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

// NonceKey returns the [Nonce.Key] of what must not come twice under a scheme,
// such as NonceKey("x-signature", nonce).
func NonceKey(scheme string, parts ...string) (key [16]byte) {
	// Each part with its length before it: no two lists of parts look alike.
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

// construction is what every verifier of this package carries: a mistake made when
// it was built, which New reports and Verify answers with, and a print that
// shows no key.
type construction struct{ err error }

func (c *construction) constructionError() error { return c.err }

var errNoBaseURL = errors.New("flyext: Message.BaseURL is missing")

// ready says why a message cannot be verified at all.
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

// newKeys prepares secrets. An empty one would verify what anybody signs.
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

// A Key is a shared secret with the id that message signatures name it by.
// It prints and marshals without the secret.
type Key struct {
	ID     string // such as "flyio-signing-secret"
	Secret string
}

// Format implements [fmt.Formatter]: whatever the verb, the secret is not
// printed.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, "Key("+k.ID+")") }

// LogValue implements [slog.LogValuer].
func (k Key) LogValue() slog.Value { return slog.StringValue("Key(" + k.ID + ")") }

// MarshalText implements [encoding.TextMarshaler]. It leaves the secret out.
func (k Key) MarshalText() ([]byte, error) { return []byte("Key(" + k.ID + ")"), nil }
