package flyext

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/flyext/flyext/internal/mac"
	"github.com/flyext/flyext/internal/msgsig"
)

// MessageSignature returns a Verifier for the HTTP message signature of Fly.io's
// proposal, with HMAC-SHA256. It accepts these formats:
//
//   - RFC 9421 (https://www.rfc-editor.org/rfc/rfc9421), and
//     draft-ietf-httpbis-message-signatures-05, which the proposal names. The signature
//     must cover the method; the target (@target-uri, @request-target, or @path and any
//     @query); a time (created or Date); and a digest of the body, if there is one.
//   - draft-cavage-http-signatures, which the proposal's Ruby example uses. The
//     signature must cover (request-target); Date or (created); and Content-Length or
//     Digest, if there is a body. Content-Length alone lets an attacker replace the
//     body; see [Policy.RequireDigest].
//   - the dialect of github.com/zntrio/httpsig, with [Policy.ZntrioDialect].
//
// The signature must also cover the parts of an event: every ce-… field, and the
// Content-Type if there is such a field or if it is a type of CloudEvents.
//
// Covered digests (sha-256 and sha-512) are recomputed, and a covered host must be that
// of [Config.BaseURL]. A signature with an algorithm other than HMAC-SHA256, or with an
// unknown key id, is refused. An RFC 9421 signature without a key id is tried with every
// key. At least one of several signatures must be valid. During a rotation, pass several
// keys, with the same ID or different ones. The Verifier is safe for concurrent use.
func MessageSignature(keys ...Key) Verifier { return Policy{}.MessageSignature(keys...) }

// MessageSignature returns a [MessageSignature] Verifier that applies p.
func (p Policy) MessageSignature(keys ...Key) Verifier {
	v := &messageSignature{keysByID: make(map[string][]*mac.Key)}
	v.policy, v.err = p.withDefaults()
	if len(keys) == 0 {
		v.err = errors.New("flyext: MessageSignature needs a Key")
	}
	for _, k := range keys {
		if k.ID == "" || k.Secret == "" {
			v.err = errors.New("flyext: MessageSignature: a Key needs an ID and a Secret")
		}
		key := mac.New(k.Secret)
		v.keys = append(v.keys, key)
		v.keysByID[k.ID] = append(v.keysByID[k.ID], key)
	}
	return v
}

type messageSignature struct {
	construction
	policy   Policy
	keys     []*mac.Key
	keysByID map[string][]*mac.Key
}

var (
	errKeyMissing      = errors.New("no key id")
	errAlgorithm       = errors.New("algorithm is not HMAC-SHA256")
	errExpired         = fmt.Errorf("%w: the signature has expired", ErrStale)
	errTargetUncovered = fmt.Errorf("%w: method or target is not covered", ErrUncovered)
	errBodyUncovered   = fmt.Errorf("%w: body is not covered by a digest", ErrUncovered)
	errLengthUncovered = fmt.Errorf("%w: neither content-length nor a digest is covered", ErrUncovered)
	errTimeUncovered   = fmt.Errorf("%w: no time of signing is covered", ErrUncovered)
	errCovered         = fmt.Errorf("%w: a component that the policy requires is not covered", ErrUncovered)
	errEventUncovered  = fmt.Errorf("%w: a header field of the event is not covered", ErrUncovered)
)

func (v *messageSignature) Verify(_ context.Context, m *Message) (Verification, error) {
	if err := v.ready(m); err != nil {
		return Verification{}, err
	}
	wire := &msgsig.Message{
		Method: m.Method, Scheme: m.BaseURL.Scheme, Host: m.Host, Target: m.Target, Header: m.Header, Body: m.Body,
		DraftQueryParams: v.policy.DraftQueryParams,
	}
	signatures, err := v.parse(wire.Header)
	if err != nil {
		return Verification{}, fmt.Errorf("message signature: %w", err)
	}
	var first error
	var nonces []Nonce
	for i := range signatures {
		nonce, err := v.verify(m, wire, &signatures[i])
		if err == nil {
			nonces = mergeNonces(nonces, nonce)
			continue
		}
		// A signature with a known key has the more useful error.
		if first == nil || errors.Is(first, ErrUnknownKey) {
			first = err
		}
	}
	// The nonces of all valid signatures count; otherwise a copy of the message without
	// one of its signatures would be accepted again.
	if len(nonces) > 0 {
		return Verification{Generation: Generation1, Verifier: "message-signature", Nonces: nonces}, nil
	}
	return Verification{}, fmt.Errorf("message signature: %w", first)
}

// parse reads the signatures in the one format that the headers announce. A header that
// was read in two formats could evade a check.
func (v *messageSignature) parse(h http.Header) (signatures []msgsig.Signature, err error) {
	if len(h["Signature-Input"]) == 0 {
		signatures, err = msgsig.ParseCavage(h)
	} else {
		signatures, err = msgsig.ParseRFC9421(h)
		if err != nil && v.policy.ZntrioDialect {
			signatures, err = msgsig.ParseZntrio(h)
		}
	}
	if errors.Is(err, msgsig.ErrNone) {
		err = ErrUnsigned
	}
	return signatures, err
}

// verify checks one signature: first the MAC, then the digests, the host, the coverage
// and the time.
func (v *messageSignature) verify(m *Message, wire *msgsig.Message, s *msgsig.Signature) (Nonce, error) {
	if s.Err != nil {
		return Nonce{}, s.Err
	}
	if !algorithmAllowed(s) {
		return Nonce{}, errAlgorithm
	}
	keys, err := v.keysFor(s)
	if err != nil {
		return Nonce{}, err
	}
	if err := v.checkMAC(wire, s, keys); err != nil {
		return Nonce{}, err
	}
	if err := s.CheckDigests(wire.Body); err != nil {
		return Nonce{}, err
	}
	if err := checkAuthority(m, wire, s); err != nil {
		return Nonce{}, err
	}
	if err := v.checkCoverage(wire, s); err != nil {
		return Nonce{}, err
	}
	signed, err := v.checkFreshness(m.Now, s)
	if err != nil {
		return Nonce{}, err
	}
	key := nonceKey(s, signed)
	if signed.IsZero() { // only with InsecureSkipCoverage
		signed = m.Now
	}
	return v.policy.nonce(key, signed), nil
}

func (v *messageSignature) checkMAC(wire *msgsig.Message, s *msgsig.Signature, keys []*mac.Key) error {
	base, err := s.AppendBase(make([]byte, 0, 512), wire)
	if err != nil {
		return err
	}
	var received [mac.Size]byte
	if copy(received[:], s.Value); len(s.Value) != mac.Size || !matches(keys, base, received) {
		return ErrSignatureMismatch
	}
	return nil
}

// checkAuthority compares a signed authority with Config.BaseURL. Otherwise another
// provider with the same secret could forward its messages.
func checkAuthority(m *Message, wire *msgsig.Message, s *msgsig.Signature) error {
	if !s.Covered.Authority {
		return nil
	}
	signed, ours := wire.Authority(), msgsig.Authority(m.BaseURL.Scheme, m.BaseURL.Host)
	if signed != ours {
		return fmt.Errorf("%w: the signed host is %q, and Config.BaseURL has %q", ErrURLMismatch, signed, ours)
	}
	return nil
}

// algorithmAllowed accepts only HMAC-SHA256. hs2019 (draft-cavage, appendix E.2) means
// the algorithm of the key.
func algorithmAllowed(s *msgsig.Signature) bool {
	switch s.Algorithm {
	case "", "hmac-sha256":
		return true
	case "hs2019":
		return s.Dialect == msgsig.Cavage
	}
	return false
}

func (v *messageSignature) keysFor(s *msgsig.Signature) ([]*mac.Key, error) {
	if !s.HasKeyID && v.policy.RequireKeyID {
		return nil, errKeyMissing
	}
	if !s.HasKeyID {
		return v.keys, nil
	}
	keys, ok := v.keysByID[s.KeyID]
	if !ok {
		return nil, ErrUnknownKey
	}
	return keys, nil
}

func (v *messageSignature) checkCoverage(wire *msgsig.Message, s *msgsig.Signature) error {
	if v.policy.InsecureSkipCoverage {
		return nil
	}
	c := &s.Covered
	_, query, _ := strings.Cut(wire.Target, "?")
	if !c.Method || !c.Path || !c.Query && query != "" {
		return errTargetUncovered
	}
	// An empty body needs no coverage: a body that an attacker adds is not empty.
	if len(wire.Body) > 0 && !c.Digest && (s.Dialect == msgsig.RFC9421 || v.policy.RequireDigest) {
		return errBodyUncovered
	}
	if len(wire.Body) > 0 && !c.ContentLength && !c.Digest {
		return errLengthUncovered
	}
	if !c.Created && c.Date.IsZero() {
		return errTimeUncovered
	}
	for _, name := range v.policy.RequireComponents {
		if !s.Covers(name) {
			return fmt.Errorf("%w: %s", errCovered, name)
		}
	}
	// The header fields are part of an event in binary mode, and the Content-Type
	// selects the mode. Unsigned fields could turn the message into another event.
	for _, name := range eventFields(wire.Header) {
		if !s.Covers(strings.ToLower(name)) {
			return errEventUncovered
		}
	}
	return nil
}

// checkFreshness checks each time of the signature and returns the signed time, or the
// zero time. In draft-cavage, created and expires may be uncovered: they are checked,
// but an attacker can remove them, so they do not count as the signed time.
func (v *messageSignature) checkFreshness(now time.Time, s *msgsig.Signature) (signed time.Time, err error) {
	if date := s.Covered.Date; !date.IsZero() {
		if err := v.policy.checkTime(now, date); err != nil {
			return signed, err
		}
		signed = date
	}
	if s.HasCreated {
		created := time.Unix(s.Created, 0)
		if err := v.policy.checkTime(now, created); err != nil {
			return signed, err
		}
		if s.Covered.Created {
			signed = created
		}
	}
	if s.HasExpires && now.Sub(time.Unix(s.Expires, 0)) > v.policy.ClockSkew {
		return signed, errExpired
	}
	return signed, nil
}

// nonceKey identifies a message by its nonce or, without one, by the signature alone. If
// the key included the body, an observer could send other bodies with a signature that
// covers no digest.
func nonceKey(s *msgsig.Signature, signed time.Time) [16]byte {
	if s.Nonce != "" {
		// A message may have two signatures with the same nonce and different times.
		return NonceKey("message-signature nonce", s.KeyID, s.Nonce, strconv.FormatInt(signed.Unix(), 10))
	}
	return NonceKey("message-signature", s.Value)
}
