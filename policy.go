package flyext

import (
	"errors"
	"fmt"
	"time"

	"github.com/flyext/flyext/internal/msgsig"
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

	// RequireEventTime refuses an event whose X-Signature has no timestamp, nonce
	// and url. The page of Fly.io shows such an event. See [Event.Undated].
	RequireEventTime bool

	// InsecureSkipCoverage accepts a message signature whatever it covers, and
	// an X-Signature beside an unsigned query or body: the path, the body or
	// the time may be a stranger's. Its legitimate use is to look at what a
	// signer does.
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
