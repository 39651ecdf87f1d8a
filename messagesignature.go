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

// MessageSignature verifies the HTTP message signature of the proposal, with
// HMAC-SHA256 and nothing else, in every format that its readers meet:
//
//   - RFC 9421 (https://www.rfc-editor.org/rfc/rfc9421), and
//     draft-ietf-httpbis-message-signatures-05, which the proposal names. The
//     method, the target (@target-uri, @request-target, or @path and, where
//     there is a query, @query), a digest of the body where there is a body,
//     and a time (created or Date) must be covered.
//   - draft-cavage-http-signatures, which the proposal's Ruby example speaks.
//     (request-target), Date or (created) and, where there is a body,
//     Content-Length must be covered; a Digest in place of Content-Length is as
//     good and better. Of Content-Length alone, know that it leaves the body
//     exchangeable: see [Policy.RequireDigest].
//   - the dialect of github.com/zntrio/httpsig, under [Policy.ZntrioDialect].
//
// The fields of an event (ce-…, and the Content-Type beside them or of
// CloudEvents) must be covered wherever they are there.
//
// A covered digest is always recomputed (sha-256 and sha-512). A signature
// that names another algorithm, or a key that is not among keys, is refused;
// one that names no key is tried with all. Of several signatures one must be
// right. Give several keys, of one ID or of several, while rotating.
func MessageSignature(keys ...Key) Verifier { return Policy{}.MessageSignature(keys...) }

// MessageSignature returns a [MessageSignature] Verifier that applies p.
func (p Policy) MessageSignature(keys ...Key) Verifier {
	v := &messageSignature{keysByID: make(map[string][]*mac.Key)}
	v.policy, v.err = p.withDefaults()
	if len(keys) == 0 {
		v.err = errors.New("flyext: MessageSignature needs a key")
	}
	for _, k := range keys {
		if k.ID == "" || k.Secret == "" {
			v.err = errors.New("flyext: MessageSignature has a key without ID or Secret")
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
	errExpired         = fmt.Errorf("%w: past its expires", ErrStale)
	errTargetUncovered = fmt.Errorf("%w: method or target is not covered", ErrUncovered)
	errBodyUncovered   = fmt.Errorf("%w: body is not covered by a digest", ErrUncovered)
	errLengthUncovered = fmt.Errorf("%w: neither content-length nor a digest is covered", ErrUncovered)
	errTimeUncovered   = fmt.Errorf("%w: no time of signing is covered", ErrUncovered)
	errCovered         = fmt.Errorf("%w: a component that the policy requires is not covered", ErrUncovered)
	errEventUncovered  = fmt.Errorf("%w: a header field of the event is not covered", ErrUncovered)
)

// Verify implements [Verifier].
func (v *messageSignature) Verify(_ context.Context, m *Message) (Verification, error) {
	if err := v.ready(m); err != nil {
		return Verification{}, err
	}
	wire := &msgsig.Message{
		Method: m.Method, Scheme: m.BaseURL.Scheme, Host: m.Host, Target: m.Target, Header: m.Header, Body: m.Body,
	}
	signatures, err := v.parse(wire.Header)
	if err != nil {
		return Verification{}, refusal{err}
	}
	var first error
	var nonces []Nonce
	for i := range signatures {
		nonce, err := v.verify(m, wire, &signatures[i])
		if err == nil {
			nonces = mergeNonces(nonces, nonce)
			continue
		}
		// Of several signatures, the fault of ours says most.
		if first == nil || errors.Is(first, ErrUnknownKey) {
			first = err
		}
	}
	// All right signatures are used up: the message would pass once more stripped
	// of one of them.
	if len(nonces) > 0 {
		return Verification{Generation: Generation1, Verifier: "message-signature", Nonces: nonces}, nil
	}
	return Verification{}, refusal{first}
}

// refusal puts the verifier's name before a reason, once it is read.
type refusal struct{ reason error }

func (e refusal) Error() string { return "message signature: " + e.reason.Error() }
func (e refusal) Unwrap() error { return e.reason }

// parse reads the signatures in the one format that the headers announce. Two readings
// of one header would be a way past a check.
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

// verify checks one signature: the MAC, then the digests, the host, the coverage and
// the time. Nothing of it is believed before the MAC is right.
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
	if signed.IsZero() { // only InsecureSkipCoverage leads here
		signed = m.Now
	}
	return v.policy.nonce(key, signed), nil
}

func (v *messageSignature) checkMAC(wire *msgsig.Message, s *msgsig.Signature, keys []*mac.Key) error {
	options := msgsig.Options{DraftQueryParams: v.policy.DraftQueryParams}
	base, err := s.AppendBase(make([]byte, 0, 512), wire, options)
	if err != nil {
		return err
	}
	var received [mac.Size]byte
	if copy(received[:], s.Value); len(s.Value) != mac.Size || !matches(keys, base, received) {
		return ErrSignatureMismatch
	}
	return nil
}

// checkAuthority compares a signed authority with the one of Config.BaseURL. Another
// provider with the same secret could otherwise pass on a message for itself.
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

// algorithmAllowed fixes the algorithm. hs2019 (draft-cavage, appendix E.2)
// says that the key decides, and ours are for HMAC-SHA256.
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
	// Where there is no body, nothing of it needs to be covered: one that is
	// added on the way is there.
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
	// The header fields of an event in binary mode are part of it, and the type of the
	// body tells the mode. Unsigned fields would make another event of it.
	for _, name := range eventFields(wire.Header) {
		if !s.Covers(strings.ToLower(name)) {
			return errEventUncovered
		}
	}
	return nil
}

// checkFreshness checks each time of the signature, and returns the signed time, or
// the zero time without one.
// In draft-cavage, created and expires may be uncovered. They are then checked and
// prove nothing: an attacker can remove them.
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

// nonceKey identifies a message by its nonce or, without one, by the signature. A
// signature without a digest is used up by itself: with the body in the key, an
// observer could send other bodies under it.
func nonceKey(s *msgsig.Signature, signed time.Time) [16]byte {
	if s.Nonce != "" {
		// The time keeps apart two signatures of a message with the same nonce.
		return NonceKey("message-signature nonce", s.KeyID, s.Nonce, strconv.FormatInt(signed.Unix(), 10))
	}
	return NonceKey("message-signature", s.Value)
}
