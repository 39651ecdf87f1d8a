package flyext

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// A handshake is bound together by three things. The verifier is random and
// known to the browser alone, in a cookie. Its hash, the nonce, names that
// cookie, is the PKCE challenge, and is in the state. The state is signed, and
// so what a browser comes back for is what it set out for.

const (
	stateLife = 10 * time.Minute
	maxState  = 4096 // bytes: a URL must hold it
	// maxHandshakes bounds the cookies of a browser that begins again and again:
	// a request with too many of them would be refused by every server.
	maxHandshakes = 8
	// maxForgotten bounds the cookies that one answer removes.
	maxForgotten = 16
)

// stateClaims is the payload of the state (RFC 7519). Its jti is the nonce.
type stateClaims struct {
	jwt.RegisteredClaims
	ExtensionID    string     `json:"ext,omitempty"`
	OrganizationID string     `json:"org"`
	Generation     Generation `json:"gen"`
}

// nonceOf is the SHA-256 of a verifier, in base64url.
func nonceOf(verifier string) string { return oauth2.S256ChallengeFromVerifier(verifier) }

func (s *SignOn) sealState(to Destination, nonce string) (string, error) {
	state, err := jwt.NewWithClaims(jwt.SigningMethodHS256, &stateClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.base.String(), Audience: jwt.ClaimStrings{s.sso.ClientID}, ID: nonce,
			ExpiresAt: jwt.NewNumericDate(s.now().Add(stateLife)),
		},
		ExtensionID: to.ExtensionID, OrganizationID: to.OrganizationID, Generation: s.sso.Generation,
	}).SignedString(s.keys[0])
	if err == nil && len(state) > maxState {
		err = errStateSize
	}
	return state, err
}

var (
	errStateSize    = errors.New("state is too long")
	errStateMissing = errors.New("missing or repeated state")
	errStateInvalid = errors.New("state is invalid")
	errGeneration   = errors.New("state is of another generation")
	errStateEmpty   = errors.New("state names no organization or no nonce")
)

// openState returns the content of a state. Its error holds no part of the state, which
// a stranger may have written. An expired state was signed, and its destination is
// returned with the error.
func (s *SignOn) openState(state string) (to Destination, nonce string, err error) {
	switch {
	case state == "":
		return to, "", signOnError(CodeInvalidState, errStateMissing)
	case len(state) > maxState:
		return to, "", signOnError(CodeInvalidState, errStateSize)
	}
	var claims stateClaims
	_, err = jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithIssuer(s.base.String()), jwt.WithAudience(s.sso.ClientID),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.now), jwt.WithStrictDecoding(),
	).ParseWithClaims(state, &claims, func(*jwt.Token) (any, error) {
		set := jwt.VerificationKeySet{}
		for _, key := range s.keys {
			set.Keys = append(set.Keys, key)
		}
		return set, nil
	})
	switch {
	case errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return Destination{claims.ExtensionID, claims.OrganizationID}, "", stateError(err) // signed, for a link to start again
	case err != nil:
		return to, "", stateError(err)
	case claims.Generation != s.sso.Generation:
		return to, "", signOnError(CodeInvalidState, errGeneration)
	case claims.OrganizationID == "" || claims.ID == "":
		return to, "", signOnError(CodeInvalidState, errStateEmpty)
	}
	return Destination{claims.ExtensionID, claims.OrganizationID}, claims.ID, nil
}

func stateError(err error) error {
	for _, reason := range []error{
		jwt.ErrTokenMalformed, jwt.ErrTokenUnverifiable, jwt.ErrTokenSignatureInvalid,
		jwt.ErrTokenRequiredClaimMissing, jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidAudience,
	} {
		if errors.Is(err, reason) {
			return signOnError(CodeInvalidState, reason)
		}
	}
	if errors.Is(err, jwt.ErrTokenExpired) {
		return signOnError(CodeExpiredState, jwt.ErrTokenExpired)
	}
	return signOnError(CodeInvalidState, errStateInvalid)
}

// cookiePrefix is how the cookies' names begin. __Secure- keeps
// plain http, which others can write, from setting one. __Host- would keep
// sibling domains from it too, and would need the path to be "/": the verifier
// would then go to everything that the host serves.
func (s *SignOn) cookiePrefix() string {
	if s.secure {
		return "__Secure-flyext-sso-"
	}
	return "flyext-sso-"
}

// cookie is the cookie of one handshake, so that two tabs have two. Lax is what
// lets it come along from Fly.io's redirect, and from nothing else there.
func (s *SignOn) cookie(nonce, verifier string) *http.Cookie {
	path := s.base.EscapedPath()
	if path == "" {
		path = "/"
	}
	return &http.Cookie{
		Name: s.cookiePrefix() + nonce, Value: verifier, Path: path, MaxAge: int(stateLife / time.Second),
		Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// bind gives the verifier to the browser, and removes the oldest ones if there are too
// many.
func (s *SignOn) bind(w http.ResponseWriter, r *http.Request, nonce, verifier string) {
	var begun []string
	for _, c := range r.Cookies() {
		if old, ok := strings.CutPrefix(c.Name, s.cookiePrefix()); ok {
			begun = append(begun, old)
		}
	}
	// Browsers send the oldest first (RFC 6265, section 5.4).
	for i := range min(max(0, len(begun)-(maxHandshakes-1)), maxForgotten) {
		s.forget(w, begun[i])
	}
	http.SetCookie(w, s.cookie(nonce, verifier))
}

var (
	errCookieCount = errors.New("missing or repeated cookie of this handshake")
	errCookieValue = errors.New("the cookie belongs to another handshake")
)

// unbind returns the verifier, if this browser has it, and removes it: the state is used
// up, with each outcome of the callback.
func (s *SignOn) unbind(w http.ResponseWriter, r *http.Request, nonce string) (verifier string, err error) {
	cookies := r.CookiesNamed(s.cookiePrefix() + nonce)
	if len(cookies) != 1 {
		return "", signOnError(CodeUnknownHandshake, errCookieCount)
	}
	s.forget(w, nonce)
	verifier = cookies[0].Value
	if subtle.ConstantTimeCompare([]byte(nonceOf(verifier)), []byte(nonce)) != 1 {
		return "", signOnError(CodeUnknownHandshake, errCookieValue)
	}
	return verifier, nil
}

func (s *SignOn) forget(w http.ResponseWriter, nonce string) {
	c := s.cookie(nonce, "")
	c.MaxAge = -1
	http.SetCookie(w, c)
}
