package flyext

import "errors"

// The reasons for a refusal. Use [errors.Is] to find them in the error of
// [Authenticator.Check] and in [Outcome.Err]. Their texts are logged. The client gets
// the same 401 for each of them. A malformed signature has no variable of its own.
var (
	// ErrUnsigned reports a request without a signature, or with no or several tokens.
	ErrUnsigned = errors.New("signature is missing")
	// ErrSignatureMismatch reports a wrong MAC or token: the secrets differ, or the
	// signed bytes were changed on the way.
	ErrSignatureMismatch = errors.New("MAC does not match")
	// ErrUnknownKey reports a signature with a key id that is not configured.
	ErrUnknownKey = errors.New("key id is not configured")
	// ErrStale reports a genuine message that is older than [Policy.MaxAge] or past its
	// own expiry.
	ErrStale = errors.New("message is too old")
	// ErrFuture reports a genuine message that is further ahead of the clock than
	// [Policy.ClockSkew].
	ErrFuture = errors.New("message is from the future")
	// ErrURLMismatch reports a genuine message that was signed for another URL, host or
	// path, or an X-Signature with a missing or malformed url.
	ErrURLMismatch = errors.New("message was signed for another URL")
	// ErrUncovered reports a genuine message that does not sign a part that the
	// [Policy] requires.
	ErrUncovered = errors.New("a required part of the message is not signed")
	// ErrReplayed reports a genuine message that was used before.
	ErrReplayed = errors.New("message was used before")
)
