package flyext

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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

// MessageSignature is [MessageSignature] under this policy.
func (p Policy) MessageSignature(keys ...Key) Verifier {
	v := &messageSignature{keysByID: make(map[string][]*mac.Key)}
	v.rooms.New = func() any { return new(signatureRoom) }
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
	rooms    sync.Pool // of *signatureRoom
}

// A signatureRoom is the memory that a message is verified in.
type signatureRoom struct {
	msgsig.Room
	wire msgsig.Message
	base []byte
}

// maxKeptBase bounds what is kept of a signature base's memory, in bytes.
const maxKeptBase = 16 << 10

// reset forgets the message.
func (r *signatureRoom) reset() {
	r.Reset()
	r.wire = msgsig.Message{}
	if cap(r.base) > maxKeptBase {
		r.base = nil
	}
}

var (
	errKeyUnknown      = errors.New("key id is not configured")
	errKeyMissing      = errors.New("no key id")
	errAlgorithm       = errors.New("algorithm is not HMAC-SHA256")
	errMismatch        = errors.New("MAC does not match")
	errExpired         = errors.New("signature has expired")
	errTargetUncovered = errors.New("method or target is not covered")
	errBodyUncovered   = errors.New("body is not covered by a digest")
	errLengthUncovered = errors.New("neither content-length nor a digest is covered")
	errTimeUncovered   = errors.New("no time of signing is covered")
	errCovered         = errors.New("a component that the policy requires is not covered")
	errEventUncovered  = errors.New("a field that says what the event is, is not covered")
)

// Verify implements [Verifier].
func (v *messageSignature) Verify(_ context.Context, m *Message) (Verification, error) {
	if err := v.ready(m); err != nil {
		return Verification{}, err
	}
	room := v.rooms.Get().(*signatureRoom)
	defer func() { room.reset(); v.rooms.Put(room) }()
	room.wire = msgsig.Message{
		Method: m.Method, Scheme: m.BaseURL.Scheme, Host: m.Host, Target: m.Target, Header: m.Header, Body: m.Body,
	}
	signatures, err := v.parse(room)
	if err != nil {
		return Verification{}, refusal{err}
	}
	var first error
	var nonces []Nonce
	for i := range signatures {
		nonce, err := v.verify(room, m.Now, &signatures[i])
		if err == nil {
			nonces = mergeNonces(nonces, nonce)
			continue
		}
		// Of several signatures, what was wrong with ours says most.
		if first == nil || errors.Is(first, errKeyUnknown) {
			first = err
		}
	}
	// All that are right are used up: the message would pass once more
	// stripped of one of them.
	if len(nonces) > 0 {
		return Verification{Generation: Generation1, Nonces: nonces}, nil
	}
	return Verification{}, refusal{first}
}

// refusal puts the verifier's name before a reason, once it is read.
type refusal struct{ reason error }

func (e refusal) Error() string { return "message signature: " + e.reason.Error() }
func (e refusal) Unwrap() error { return e.reason }

// parse reads the signatures in the one format that the headers announce. No
// other is tried then: two readings of one header are a way past a check.
func (v *messageSignature) parse(room *signatureRoom) ([]msgsig.Signature, error) {
	h := room.wire.Header
	if len(h["Signature-Input"]) == 0 {
		return msgsig.ParseCavage(h, &room.Room)
	}
	signatures, err := msgsig.ParseRFC9421(h, &room.Room)
	if err != nil && v.policy.ZntrioDialect {
		return msgsig.ParseZntrio(h, &room.Room)
	}
	return signatures, err
}

// verify checks one signature: MAC, then what it covers, then its time. Before
// the MAC is right, nothing of it is believed.
func (v *messageSignature) verify(room *signatureRoom, now time.Time, s *msgsig.Signature) (Nonce, error) {
	wire := &room.wire
	if !algorithmAllowed(s) {
		return Nonce{}, errAlgorithm
	}
	keys, err := v.keysFor(s)
	if err != nil {
		return Nonce{}, err
	}
	if err := v.checkMAC(room, s, keys); err != nil {
		return Nonce{}, err
	}
	if err := s.CheckDigests(wire.Body); err != nil {
		return Nonce{}, err
	}
	if err := v.checkCoverage(wire, s); err != nil {
		return Nonce{}, err
	}
	signed, err := v.checkFreshness(now, s)
	if err != nil {
		return Nonce{}, err
	}
	return v.policy.nonce(nonceKey(wire, s), signed), nil
}

func (v *messageSignature) checkMAC(room *signatureRoom, s *msgsig.Signature, keys []*mac.Key) error {
	options := msgsig.Options{DraftQueryParams: v.policy.DraftQueryParams}
	base, err := s.AppendBase(room.base[:0], &room.wire, options)
	if err != nil {
		return err
	}
	room.base = base
	var received [mac.Size]byte
	if copy(received[:], s.Value); len(s.Value) != mac.Size || !matches(keys, base, received) {
		return errMismatch
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
		return nil, errKeyUnknown
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
	// An event in binary mode is its header fields as much as its body, and the
	// type of the body says where to look for it. Fields that nobody signed would
	// make another event of it.
	for _, name := range eventFields(wire.Header) {
		if !s.Covers(strings.ToLower(name)) {
			return errEventUncovered
		}
	}
	return nil
}

// checkFreshness checks every time that the signature states, and returns the
// time of signing. In draft-cavage created and expires may be uncovered; then
// they are heeded, and prove nothing: whoever wants them gone can drop them.
func (v *messageSignature) checkFreshness(now time.Time, s *msgsig.Signature) (signed time.Time, err error) {
	signed = now // where the policy demands no time, there may be none
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

// nonceKey identifies a message by its nonce or, without one, by the signature
// and the body. A signature alone would not do: two genuine requests of one
// second that cover no digest share theirs, and differ in the body.
func nonceKey(wire *msgsig.Message, s *msgsig.Signature) [16]byte {
	if s.Nonce != "" {
		return NonceKey("message-signature nonce", s.KeyID, s.Nonce)
	}
	return NonceKey("message-signature", s.Value, s.SumBody(wire.Body))
}
