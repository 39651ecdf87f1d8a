package flyext

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The stable codes of the handler's errors, sent as the member "error" of the body. A
// Provisioner may use them or its own codes.
const (
	CodeUnauthenticated   = "unauthenticated"    // 401
	CodeMalformedBody     = "malformed_body"     // 400: not one JSON object, or batch of events, in UTF-8
	CodeInvalidField      = "invalid_field"      // 422: a member or an attribute is missing, empty or invalid
	CodeIncompleteBody    = "incomplete_body"    // 400: the body ended early
	CodeBodyTooLarge      = "body_too_large"     // 413: a body over Config.MaxBodyBytes, or a batch of over 1,000 events
	CodeUnsupportedType   = "unsupported_type"   // 415: events in a format other than JSON
	CodeRouteNotFound     = "route_not_found"    // 404: no such route
	CodeMethodNotAllowed  = "method_not_allowed" // 405
	CodeNotFound          = "not_found"          // 404: no such extension
	CodeConflict          = "conflict"           // 409
	CodeGone              = "gone"               // 410
	CodeInvalid           = "invalid"            // 422
	CodeUnsupported       = "unsupported"        // 501: the provider lacks this capability
	CodeInternal          = "internal"           // 500
	CodeTimeout           = "timeout"            // 504: Config.Timeout passed, or SSOConfig.Timeout in OrganizationOf
	CodeReplayUnavailable = "replay_unavailable" // 503: the ReplayStore failed, or the nonce has expired by its clock
)

// The additional codes of the sign-on.
const (
	CodeInvalidState     = "invalid_state"     // 400: the state is missing or forged, or belongs to another provider or generation
	CodeExpiredState     = "expired_state"     // 400: the handshake took longer than ten minutes
	CodeUnknownHandshake = "unknown_handshake" // 403: another browser began the handshake, or it is over
	CodeMissingCode      = "missing_code"      // 400: Fly.io sent neither a code nor an error
	CodeAccessDenied     = "access_denied"     // 403: the user or Fly.io denied access
	CodeInvalidGrant     = "invalid_grant"     // 403: the code or the refresh token is unknown or expired
	CodeForeignToken     = "foreign_token"     // 403: the token was issued to another application
	CodeNotAMember       = "not_a_member"      // 403: the user is not in the organization
	CodeRoleNotAccepted  = "role_not_accepted" // 403: the user's role is not in SSOConfig.Roles
	CodeFlyUnavailable   = "fly_unavailable"   // 502: Fly.io failed, or its response is invalid
	CodeFlyTimeout       = "fly_timeout"       // 504: Fly.io did not respond in time
)

// An Error is the response to a failed request. Return an *Error from a [Provisioner]
// (it may be wrapped) to control the response. Any other error becomes a generic 500;
// its text is logged but never sent.
//
// Message appears in the customer's terminal ("Error: input:3:2: createAddOn
// <message>"), so write one short line for that person. flyext cuts it to 500 characters
// and replaces control characters with spaces.
type Error struct {
	Status  int    // HTTP status, 400 to 599; any other value makes a generic 500
	Code    string // stable, for machines, such as "not_found"; "" derives it from Status
	Message string // one line for the customer; "" derives it from Status
	Err     error  // the cause, logged and never sent; may be nil
}

// Error returns the text for the log, including the cause. It is never sent.
func (e *Error) Error() string {
	if e == nil { // returned as an error by mistake
		return "a nil *flyext.Error"
	}
	text := fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message)
	if e.Err != nil {
		text += " (" + e.Err.Error() + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// NotFound returns the error for an extension that does not exist: 404, "not_found".
func NotFound(message string) *Error { return newError(http.StatusNotFound, CodeNotFound, message) }

// Conflict returns the error for a request that conflicts with the current state: 409,
// "conflict".
func Conflict(message string) *Error { return newError(http.StatusConflict, CodeConflict, message) }

// Gone returns the error for an extension that was removed: 410, "gone".
func Gone(message string) *Error { return newError(http.StatusGone, CodeGone, message) }

// Invalid returns the error for an invalid parameter: 422, "invalid".
func Invalid(message string) *Error {
	return newError(http.StatusUnprocessableEntity, CodeInvalid, message)
}

// Unsupported returns the error for a capability that the provider lacks: 501,
// "unsupported".
func Unsupported(message string) *Error {
	return newError(http.StatusNotImplemented, CodeUnsupported, message)
}

func newError(status int, code, message string) *Error {
	return &Error{Status: status, Code: code, Message: message}
}

// asError returns a copy of the *Error inside err. Any other error, and an *Error with
// a status of success, becomes a generic 500.
func asError(err error) Error {
	answer := Error{Status: http.StatusInternalServerError, Code: CodeInternal}
	if e, ok := errors.AsType[*Error](err); ok && e != nil && e.Status >= 400 && e.Status <= 599 {
		answer = *e
	}
	if answer.Code == "" || !utf8.ValidString(answer.Code) {
		answer.Code = strings.ReplaceAll(strings.ToLower(http.StatusText(answer.Status)), " ", "_")
	}
	if answer.Message == "" {
		answer.Message = http.StatusText(answer.Status)
	}
	answer.Message = oneLine(answer.Message)
	return answer
}

// maxMessage bounds a message on a customer's terminal, in characters.
const maxMessage = 500

// oneLine makes a text safe for a terminal. It replaces characters that could move the
// cursor, break the line, change the direction of the text or be invisible.
func oneLine(s string) string {
	left := maxMessage
	return strings.Map(func(r rune) rune {
		if left--; left < 0 {
			return -1
		}
		if ' ' <= r && r <= '~' { // unicode.In is slow
			return r
		}
		joiner := r == '\u200c' || r == '\u200d' // Persian and other scripts need them
		if !joiner && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, s)
}
