package flyext

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/flyext/flyext/internal/mac"
	"github.com/flyext/flyext/internal/msgsig"
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
	// Body is the whole body. It must not be changed, nor kept.
	Body []byte
	// BaseURL is the provider's public base URL, from its configuration.
	BaseURL *url.URL
	// Now is the time that freshness is judged by.
	Now time.Time

	object *object // the parsed body; see Message.parse
	intake *intake // what has room for it; nil where nothing has
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
	// Nonces are what the message uses up.
	Nonces []Nonce
}

// A Nonce is something that works once.
type Nonce struct {
	// Key identifies it: the start of a SHA-256 over the scheme and what must
	// not come twice. See [NonceKey].
	Key [16]byte
	// Expires is when it may be forgotten, because the message would be too
	// old by then.
	Expires time.Time

	// freshUntil is when the message becomes too old by the clock of the one who
	// verified it, or zero: not known, and no later than Expires.
	freshUntil time.Time
}

// mergeNonces adds nonces to a list, each key once: what two verifiers or two
// signatures share would else be its own replay.
func mergeNonces(nonces []Nonce, more ...Nonce) []Nonce {
	for _, n := range more {
		i := slices.IndexFunc(nonces, func(have Nonce) bool { return have.Key == n.Key })
		if i < 0 {
			nonces = append(nonces, n)
			continue
		}
		have := &nonces[i]
		if n.Expires.After(have.Expires) {
			have.Expires = n.Expires
		}
		if n.freshUntil.IsZero() || !have.freshUntil.IsZero() && n.freshUntil.After(have.freshUntil) {
			have.freshUntil = n.freshUntil
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

// A Policy is what a signature must fulfil besides being right. Its zero value
// is the recommended one, which [XSignature] and [MessageSignature] use. Of the
// fields, MaxAge, ClockSkew and InsecureSkipCoverage are X-Signature's as well,
// which has nothing else to choose.
type Policy struct {
	// MaxAge is how old a message may be; 0 means 5 minutes. It stops a
	// captured request from being sent after the replay store has forgotten it.
	MaxAge time.Duration
	// ClockSkew is how far ahead the sender's clock may be, and how long past
	// its "expires" a message is still taken; 0 means 1 minute. Without a bound
	// a message dated next year could be replayed for a year.
	ClockSkew time.Duration

	// RequireDigest demands, of draft-cavage and zntrio's dialect too, that a
	// digest of the body be covered wherever there is a body. It stops the
	// exchange of the body under a signature that covers its length alone, as
	// the proposal's own example does. RFC 9421 signatures always need it.
	RequireDigest bool
	// RequireKeyID refuses message signatures that name no key. One that names
	// a key which is not configured is refused in any case. It stops nothing
	// that the MAC does not; it keeps keys for different uses apart.
	RequireKeyID bool
	// RequireComponents are further components that a message signature must
	// cover: field names in lower case, such as "authorization" (binds the
	// bearer token to the signature), "@scheme", or "@authority" (stops a
	// request to another host that shares the secret), which a covered
	// @target-uri or Host field is taken for as well.
	RequireComponents []string

	// ZntrioDialect also accepts signatures as github.com/zntrio/httpsig writes
	// them. It signs the decoded path, so /a%2Fb and /a/b have one signature,
	// and stops neither from becoming the other.
	ZntrioDialect bool
	// DraftQueryParams also accepts the component "@query-params" of
	// draft-ietf-httpbis-message-signatures-05, which RFC 9421 does not know and
	// so calls an error. It protects the one parameter that it names: a query is
	// never taken for covered because of it.
	DraftQueryParams bool

	// InsecureSkipCoverage accepts a message signature whatever it covers, and
	// an X-Signature beside an unsigned query or body: the path, the body or
	// the time may be a stranger's. Its legitimate use is to look at what a
	// signer does.
	InsecureSkipCoverage bool
}

const (
	defaultMaxAge    = 5 * time.Minute
	defaultClockSkew = time.Minute
)

func (p Policy) withDefaults() (Policy, error) {
	if p.MaxAge < 0 || p.ClockSkew < 0 {
		return p, errors.New("flyext: Policy has a negative duration")
	}
	if p.MaxAge == 0 {
		p.MaxAge = defaultMaxAge
	}
	if p.ClockSkew == 0 {
		p.ClockSkew = defaultClockSkew
	}
	for _, name := range p.RequireComponents {
		if name != "@authority" && name != "@scheme" && !msgsig.IsFieldName(name) {
			return p, fmt.Errorf("flyext: Policy.RequireComponents: %q is neither @authority, @scheme nor a field name in lower case", name)
		}
	}
	return p, nil
}

var (
	errStale  = errors.New("message is too old")
	errFuture = errors.New("message is from the future")
)

// checkTime checks a time of signing in both directions of the clock.
func (p *Policy) checkTime(now, signed time.Time) error {
	switch {
	case now.Sub(signed) > p.MaxAge:
		return errStale
	case signed.Sub(now) > p.ClockSkew:
		return errFuture
	}
	return nil
}

// forget is when a message is refused as too old by every machine, also by one
// whose clock is behind, and by this one, should its clock step back to when the
// message was signed.
func (p *Policy) forget(now, signed time.Time) time.Time {
	if signed.Before(now) {
		signed = now
	}
	return signed.Add(p.MaxAge + p.ClockSkew)
}

// nonce is what a message uses up that was signed then.
func (p *Policy) nonce(key [16]byte, now, signed time.Time) Nonce {
	return Nonce{Key: key, Expires: p.forget(now, signed), freshUntil: signed.Add(p.MaxAge)}
}

// BearerToken verifies "Authorization: Bearer <token>", which the proposal asks
// for beside a signature. By itself it is the weakest of all: whoever sees one
// request can make any other. Put it into an [AllOf] with [MessageSignature].
// Give several tokens while rotating.
func BearerToken(tokens ...string) Verifier {
	v := &bearerToken{}
	if len(tokens) == 0 {
		v.err = errors.New("flyext: BearerToken needs a token")
	}
	for _, token := range tokens {
		if token == "" || strings.Trim(token, " \t") != token {
			v.err = errors.New("flyext: BearerToken has a token that is empty or begins or ends with a space")
		}
		v.sums = append(v.sums, sha256.Sum256([]byte(token)))
	}
	return v
}

type bearerToken struct {
	construction
	sums [][sha256.Size]byte // compared instead of the tokens: equal lengths
}

var (
	errBearerHeader   = errors.New("bearer token: not exactly one Authorization: Bearer")
	errBearerMismatch = errors.New("bearer token: does not match")
)

// Verify implements [Verifier].
func (v *bearerToken) Verify(_ context.Context, m *Message) (Verification, error) {
	if v.err != nil {
		return Verification{}, v.err
	}
	var token string
	found := 0
	for _, line := range m.Header["Authorization"] {
		if scheme, rest, ok := strings.Cut(line, " "); ok && strings.EqualFold(scheme, "Bearer") {
			token = strings.TrimLeft(rest, " ")
			found++
		}
	}
	if found != 1 {
		return Verification{}, errBearerHeader
	}
	sum := sha256.Sum256([]byte(token))
	equal := 0
	for i := range v.sums {
		equal |= subtle.ConstantTimeCompare(sum[:], v.sums[i][:])
	}
	if equal != 1 {
		return Verification{}, errBearerMismatch
	}
	return Verification{Generation: Generation1}, nil
}

// AllOf verifies what each of its verifiers verifies. The message's generation
// is the highest of theirs.
func AllOf(verifiers ...Verifier) Verifier { return &allOf{group: newGroup("AllOf", verifiers)} }

// AnyOf verifies what one of its verifiers does; the first that does decides
// the generation. It asks them all: a message that several of them verify uses
// up the nonces of each, or it would pass once more stripped of one signature.
func AnyOf(verifiers ...Verifier) Verifier { return &anyOf{group: newGroup("AnyOf", verifiers)} }

type group struct {
	construction
	verifiers []Verifier
}

func newGroup(name string, verifiers []Verifier) group {
	g := group{verifiers: slices.Clone(verifiers)}
	if len(verifiers) == 0 {
		g.err = fmt.Errorf("flyext: %s of no verifiers", name)
	}
	for _, v := range verifiers {
		if err := checkVerifier(v); err != nil {
			g.err = err
		}
	}
	return g
}

type allOf struct{ group }

// Verify implements [Verifier].
func (v *allOf) Verify(ctx context.Context, m *Message) (Verification, error) {
	if v.err != nil {
		return Verification{}, v.err
	}
	var all Verification
	for _, each := range v.verifiers {
		one, err := each.Verify(ctx, m)
		if err != nil {
			return Verification{}, err
		}
		all.Generation = max(all.Generation, one.Generation)
		all.Nonces = mergeNonces(all.Nonces, one.Nonces...)
	}
	return all, nil
}

type anyOf struct{ group }

// Verify implements [Verifier].
func (v *anyOf) Verify(ctx context.Context, m *Message) (Verification, error) {
	if v.err != nil {
		return Verification{}, v.err
	}
	var found Verification
	errs := make(noneOf, 0, len(v.verifiers))
	for i, each := range v.verifiers {
		one, err := each.Verify(ctx, m)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(errs) == i { // the first
			found.Generation = one.Generation
		}
		found.Nonces = mergeNonces(found.Nonces, one.Nonces...)
	}
	if len(errs) == len(v.verifiers) {
		return Verification{}, errs
	}
	return found, nil
}

// noneOf is why none of several verifiers was content. Its text is made when
// it is logged.
type noneOf []error

func (e noneOf) Error() string   { return errors.Join(e...).Error() }
func (e noneOf) Unwrap() []error { return e }

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
