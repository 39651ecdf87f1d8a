package flyext

import (
	"errors"
	"fmt"
	"time"
)

// The reasons why a request is refused. They are for [errors.Is] on the error of
// [Authenticator.Check] and on [Outcome.Err], and their texts are in the log. The
// client learns none of them: each refusal of authentication is the same 401.
var (
	// ErrUnsigned reports that the request has no signature or no token.
	ErrUnsigned = errors.New("signature is missing")
	// ErrSignatureMismatch reports that the MAC or the token is another one: the
	// secrets differ, or the signed bytes were changed on the way.
	ErrSignatureMismatch = errors.New("MAC does not match")
	// ErrUnknownKey reports that the signature names a key that is not configured.
	ErrUnknownKey = errors.New("key id is not configured")
	// ErrStale reports a genuine message that is older than [Policy.MaxAge], or
	// past its own expiry.
	ErrStale = errors.New("message is too old")
	// ErrFuture reports a genuine message that is further ahead of the clock than
	// [Policy.ClockSkew].
	ErrFuture = errors.New("message is from the future")
	// ErrURLMismatch reports a genuine message that was signed for another URL,
	// host or path.
	ErrURLMismatch = errors.New("message was signed for another URL")
	// ErrUncovered reports a genuine message that leaves something unsigned that
	// the [Policy] demands.
	ErrUncovered = errors.New("a required part of the message is not signed")
	// ErrReplayed reports a genuine message that was used before.
	ErrReplayed = errors.New("message was used before")
)

// A timeError is ErrStale or ErrFuture with the difference of the two clocks.
type timeError struct {
	reason error
	ahead  time.Duration // of the time of signing; negative in the past
}

func (e *timeError) Error() string {
	if e.ahead < 0 {
		return fmt.Sprintf("%v: signed %v ago", e.reason, -e.ahead)
	}
	return fmt.Sprintf("%v: signed %v ahead", e.reason, e.ahead)
}

func (e *timeError) Unwrap() error { return e.reason }
