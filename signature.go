package flyext

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
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
)

// A Message is a received request as a [Verifier] sees it: whole, and byte for
// byte as it came.
type Message struct {
	Method string
	// Target is the request target of the request line, path and query, escaped
	// as it was sent.
	Target string
	// Host is the Host header or :authority.
	Host   string
	Header http.Header
	// Body is the whole body. It must not be changed.
	Body []byte
	// BaseURL is the provider's public base URL, from its configuration.
	BaseURL *url.URL
	// Now is the time that freshness is judged by.
	Now time.Time

	object *object // the parsed body; see Message.parse
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
}

// mergeNonces adds nonces to a list, each key once: what two verifiers or two
// signatures share would else be its own replay.
func mergeNonces(nonces []Nonce, more ...Nonce) []Nonce {
	for _, n := range more {
		i := slices.IndexFunc(nonces, func(have Nonce) bool { return have.Key == n.Key })
		if i < 0 {
			nonces = append(nonces, n)
		} else if n.Expires.After(nonces[i].Expires) {
			nonces[i].Expires = n.Expires
		}
	}
	return nonces
}

// NonceKey returns the [Nonce.Key] of what must not come twice under a scheme,
// such as NonceKey("x-signature", nonce).
func NonceKey(scheme string, parts ...string) (key [16]byte) {
	h := sha256.New()
	for _, part := range append([]string{scheme}, parts...) {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	var sum [sha256.Size]byte
	copy(key[:], h.Sum(sum[:0]))
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
// is the recommended one, which [XSignature] and [MessageSignature] use.
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
	// cover, in lower case, such as "@authority" (stops a request to another
	// host that shares the secret) or "authorization" (binds the bearer token
	// to the signature).
	RequireComponents []string

	// ZntrioDialect also accepts signatures as github.com/zntrio/httpsig writes
	// them. It signs the decoded path: /a%2Fb and /a/b have one signature.
	ZntrioDialect bool
	// DraftQueryParams also accepts the component "@query-params" of
	// draft-ietf-httpbis-message-signatures-05, which RFC 9421 does not know.
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
		if name == "" || strings.ToLower(name) != name {
			return p, fmt.Errorf("flyext: Policy.RequireComponents: %q is no component name in lower case", name)
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

// forget is when a message signed then is refused as too old by every machine,
// also by one whose clock is behind.
func (p *Policy) forget(signed time.Time) time.Time { return signed.Add(p.MaxAge + p.ClockSkew) }

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
	config
	policy Policy
	keys   []*mac.Key
}

var (
	errXSignatureHeader   = errors.New("x-signature: not exactly one X-Signature header")
	errXSignatureEncoding = errors.New("x-signature: neither hex nor base64 of 32 bytes")
	errXSignatureMethod   = errors.New("x-signature: the method is none that is signed")
	errXSignatureMismatch = errors.New("x-signature: MAC does not match")
	errXSignatureUnsigned = errors.New("x-signature: the request has a query or a body that is not signed")
	errXSignatureTime     = errors.New("x-signature: timestamp is absent, repeated or no number")
	errXSignatureNonce    = errors.New("x-signature: nonce is absent, repeated or no text")
	errXSignatureURL      = errors.New("x-signature: url is absent or not this one")
)

// Verify implements [Verifier].
func (v *xSignature) Verify(_ context.Context, m *Message) (Verification, error) {
	if v.err != nil {
		return Verification{}, v.err
	}
	if len(m.Header["X-Signature"]) != 1 {
		return Verification{}, errXSignatureHeader
	}
	received, ok := decodeMAC(m.Header["X-Signature"][0])
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
	target, err := url.Parse(p.url)
	if err != nil || !sameTarget(m.BaseURL, path, target) {
		return Verification{}, errXSignatureURL
	}
	if !v.policy.InsecureSkipCoverage {
		unsignedBody := signsQuery && len(m.Body) > 0
		unsignedQuery := !signsQuery && query != target.RawQuery && query != ""
		if unsignedBody || unsignedQuery {
			return Verification{}, errXSignatureUnsigned
		}
	}
	return Verification{
		Generation: Generation2,
		Nonces:     []Nonce{{Key: NonceKey("x-signature", p.nonce), Expires: v.policy.forget(signed)}},
	}, nil
}

// decodeMAC reads 32 bytes in lower- or upper-case hex or in standard base64,
// each in its one spelling.
func decodeMAC(text string) (sum [mac.Size]byte, ok bool) {
	switch len(text) {
	case hex.EncodedLen(mac.Size):
		if text != strings.ToLower(text) && text != strings.ToUpper(text) {
			return sum, false
		}
		n, err := hex.Decode(sum[:], []byte(text))
		return sum, err == nil && n == mac.Size
	case base64.StdEncoding.EncodedLen(mac.Size):
		var buf [mac.Size + 1]byte // room for what 44 characters can hold
		n, err := base64.StdEncoding.Strict().Decode(buf[:], []byte(text))
		copy(sum[:], buf[:])
		return sum, err == nil && n == mac.Size
	}
	return sum, false
}

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
		for name, to := range map[string]*string{"timestamp": &timestamp, "nonce": &p.nonce, "url": &p.url} {
			if len(values[name]) == 1 {
				*to = values[name][0]
			}
		}
	} else {
		o, err := m.parse()
		if err != nil {
			return p, err
		}
		timestamp = o.text("timestamp", true)
		p.nonce, p.url = o.text("nonce", false), o.text("url", false)
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

// sameTarget compares scheme, host and path with where the request went. The
// query is not compared: whether Fly.io includes it is open.
func sameTarget(base *url.URL, path string, target *url.URL) bool {
	if target.User != nil || target.Opaque != "" || !strings.EqualFold(target.Scheme, base.Scheme) ||
		authority(target) != authority(base) {
		return false
	}
	return samePath(target.EscapedPath(), path)
}

// authority is the host in lower case, without the scheme's default port.
func authority(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch strings.ToLower(u.Scheme) {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return host
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
	config
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
	config
	verifiers []Verifier
}

func newGroup(name string, verifiers []Verifier) group {
	g := group{verifiers: verifiers}
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

// config is what every verifier of this package carries: a mistake made when
// it was built, which New reports and Verify answers with, and a print that
// shows no key.
type config struct{ err error }

func (c *config) configError() error { return c.err }

// Format implements [fmt.Formatter].
func (c *config) Format(f fmt.State, _ rune) { redactedFormat(f, "Verifier") }

// MarshalText implements [encoding.TextMarshaler] for logs.
func (c *config) MarshalText() ([]byte, error) { return []byte("Verifier(" + redacted + ")"), nil }

func checkVerifier(v Verifier) error {
	if v == nil {
		return errors.New("flyext: a Verifier is nil")
	}
	if c, ok := v.(interface{ configError() error }); ok {
		return c.configError()
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
