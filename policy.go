package flyext

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/flyext/flyext/internal/msgsig"
)

// A Policy sets additional requirements for valid signatures. Its zero value is the
// recommended policy, which [XSignature] and [MessageSignature] use. [Policy.XSignature]
// uses only MaxAge, ClockSkew, RequireEventTime and InsecureSkipCoverage; the other
// fields apply only to [Policy.MessageSignature].
type Policy struct {
	// MaxAge is the maximum age of a message; 0 means 5 minutes, and the maximum is
	// 24 hours. The replay store remembers a nonce for MaxAge plus ClockSkew after the
	// time of signing.
	MaxAge time.Duration
	// ClockSkew bounds how far the sender's clock may be ahead, and how long a message
	// is accepted after its "expires"; 0 means 1 minute, and the maximum is 24 hours.
	// Without this bound, a message that is dated next year could be replayed for a
	// year.
	ClockSkew time.Duration

	// RequireDigest requires that draft-cavage signatures and zntrio's dialect cover a
	// digest of the body, if there is a body. The example of the proposal covers only
	// the length, which lets an attacker replace the body. RFC 9421 signatures always
	// need a digest.
	RequireDigest bool
	// RequireKeyID refuses RFC 9421 signatures without a key id, to keep keys for
	// different uses apart. Unknown key ids, and draft-cavage signatures without one, are
	// always refused. The MAC proves the sender with or without a key id.
	RequireKeyID bool
	// RequireComponents are further components that a message signature must cover:
	// field names in lower case, such as "authorization" (binds the bearer token to
	// the signature), "@scheme", or "@authority". A covered @target-uri or Host field
	// counts as "@authority".
	RequireComponents []string

	// ZntrioDialect also accepts the signatures of github.com/zntrio/httpsig. They
	// sign the decoded path, so /a%2Fb and /a/b have the same signature, and an
	// attacker can substitute one for the other.
	ZntrioDialect bool
	// DraftQueryParams also accepts the component "@query-params" of
	// draft-ietf-httpbis-message-signatures-05, which RFC 9421 does not define. It
	// covers one parameter and does not count as coverage of the query.
	DraftQueryParams bool

	// RequireEventTime refuses events whose X-Signature lacks the timestamp, the nonce or
	// the url, as in the example on Fly.io's page. See [Event.Undated].
	RequireEventTime bool

	// InsecureSkipCoverage accepts a message signature with any coverage, and an
	// X-Signature with an unsigned query or body. An attacker can then choose the
	// unsigned parts, such as the path or the body, and can replay a message without
	// a signed time. Use it only to examine the output of a signer.
	InsecureSkipCoverage bool
}

const (
	defaultMaxAge    = 5 * time.Minute
	defaultClockSkew = time.Minute
	maxDuration      = 24 * time.Hour
)

// checkDuration refuses a negative duration, and a duration that a replay store could
// not cover or that could overflow in a sum.
func checkDuration(name string, d time.Duration) error {
	if d < 0 || d > maxDuration {
		return fmt.Errorf("flyext: %s must be between 0 and %v", name, maxDuration)
	}
	return nil
}

func (p Policy) withDefaults() (Policy, error) {
	if err := errors.Join(checkDuration("Policy.MaxAge", p.MaxAge), checkDuration("Policy.ClockSkew", p.ClockSkew)); err != nil {
		return p, err
	}
	p.MaxAge, p.ClockSkew = cmp.Or(p.MaxAge, defaultMaxAge), cmp.Or(p.ClockSkew, defaultClockSkew)
	for _, name := range p.RequireComponents {
		if name != "@authority" && name != "@scheme" && !msgsig.IsFieldName(name) {
			return p, fmt.Errorf("flyext: Policy.RequireComponents: %q must be @authority, @scheme or a field name in lower case", name)
		}
	}
	return p, nil
}

// checkTime refuses a time of signing that is too old or too far ahead.
func (p *Policy) checkTime(now, signed time.Time) error {
	switch {
	case now.Sub(signed) > p.MaxAge:
		return fmt.Errorf("%w: signed %v ago", ErrStale, now.Sub(signed))
	case signed.Sub(now) > p.ClockSkew:
		return fmt.Errorf("%w: signed %v ahead", ErrFuture, signed.Sub(now))
	}
	return nil
}

// nonce returns the nonce of a message. It expires when every machine refuses the
// message as too old, even a machine whose clock is behind.
func (p *Policy) nonce(key [16]byte, signed time.Time) Nonce {
	return Nonce{Key: key, Expires: signed.Add(p.MaxAge + p.ClockSkew)}
}
