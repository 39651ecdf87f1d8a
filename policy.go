package flyext

import (
	"errors"
	"fmt"
	"time"

	"github.com/flyext/flyext/internal/msgsig"
)

// A Policy sets additional requirements for valid signatures. Its zero value is the
// recommended policy, which [XSignature] and [MessageSignature] use. [Policy.XSignature]
// uses only MaxAge, ClockSkew, RequireEventTime and InsecureSkipCoverage.
type Policy struct {
	// MaxAge is the greatest age of a message; 0 means 5 minutes, and the maximum is
	// 24 hours. It bounds the time for which the replay store remembers a nonce.
	MaxAge time.Duration
	// ClockSkew is the most that the sender's clock may be ahead, and the time for
	// which a message is accepted after its "expires"; 0 means 1 minute, and the
	// maximum is 24 hours. Without this bound, an attacker could replay a message
	// that is dated next year for a year.
	ClockSkew time.Duration

	// RequireDigest demands that draft-cavage signatures and zntrio's dialect cover
	// a digest of the body, if there is a body. It stops the exchange of the body
	// under a signature that covers only its length, as the example of the proposal
	// does. RFC 9421 signatures always need a digest.
	RequireDigest bool
	// RequireKeyID refuses message signatures without a key id. A signature with an
	// unknown key id is always refused. The field keeps keys for different uses
	// apart; the MAC alone proves the sender.
	RequireKeyID bool
	// RequireComponents are further components that a message signature must cover:
	// field names in lower case, such as "authorization" (binds the bearer token to
	// the signature), "@scheme", or "@authority". A covered @target-uri or Host field
	// counts as "@authority".
	RequireComponents []string

	// ZntrioDialect also accepts the signatures of github.com/zntrio/httpsig. They
	// sign the decoded path, so /a%2Fb and /a/b have the same signature, and an
	// attacker can exchange one for the other.
	ZntrioDialect bool
	// DraftQueryParams also accepts the component "@query-params" of
	// draft-ietf-httpbis-message-signatures-05, which RFC 9421 does not define. It
	// covers one parameter and does not count as coverage of the query.
	DraftQueryParams bool

	// RequireEventTime refuses an event whose X-Signature has no timestamp, nonce
	// and url. The page of Fly.io shows such an event. See [Event.Undated].
	RequireEventTime bool

	// InsecureSkipCoverage accepts a message signature with any coverage, and an
	// X-Signature with an unsigned query or body. An attacker may then have chosen
	// the path, the body or the time, and can replay a message without a signed
	// time. Its legitimate use is to examine the output of a signer.
	InsecureSkipCoverage bool
}

const (
	defaultMaxAge    = 5 * time.Minute
	defaultClockSkew = time.Minute
	maxDuration      = 24 * time.Hour
)

// checkDuration refuses a duration that is a mistake: a negative one, and one over
// which a replay store could not remember the nonces, or a sum could overflow.
func checkDuration(name string, d time.Duration) error {
	if d < 0 || d > maxDuration {
		return fmt.Errorf("flyext: %s is negative or longer than %v", name, maxDuration)
	}
	return nil
}

func (p Policy) withDefaults() (Policy, error) {
	if err := errors.Join(checkDuration("Policy.MaxAge", p.MaxAge), checkDuration("Policy.ClockSkew", p.ClockSkew)); err != nil {
		return p, err
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

// checkTime checks a time of signing in both directions of the clock.
func (p *Policy) checkTime(now, signed time.Time) error {
	switch {
	case now.Sub(signed) > p.MaxAge:
		return &timeError{ErrStale, signed.Sub(now)}
	case signed.Sub(now) > p.ClockSkew:
		return &timeError{ErrFuture, signed.Sub(now)}
	}
	return nil
}

// nonce is the nonce of a message that was signed at a time. It expires when each
// machine refuses the message as too old, even one whose clock is behind.
func (p *Policy) nonce(key [16]byte, signed time.Time) Nonce {
	return Nonce{Key: key, Expires: signed.Add(p.MaxAge + p.ClockSkew)}
}
