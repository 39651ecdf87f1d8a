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

// Three values hold a handshake together. The verifier is random; only the browser has
// it, in a cookie. The nonce is the hash of the verifier; it is the PKCE challenge and
// part of the cookie's name. The state contains the nonce and the destination and is
// signed.

const (
	stateLife = 10 * time.Minute
	maxState  = 4096 // bytes, so that it fits into a URL
	// maxHandshakes bounds the cookies of a browser that begins many handshakes.
	// Servers refuse requests with too many cookies.
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

// nonceOf returns the SHA-256 of a verifier in base64url.
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
	errGeneration   = errors.New("state belongs to another generation")
	errStateEmpty   = errors.New("state has no organization or no nonce")
)

// openState returns the content of a state. Its error contains no part of the state,
// which an attacker may have written. For an expired state with a valid signature it
// also returns the destination.
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
		return Destination{claims.ExtensionID, claims.OrganizationID}, "", stateError(err) // for a link to start again
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

// cookiePrefix returns the beginning of the cookies' names. __Secure- prevents plain
// http, which an attacker can write, from setting one. __Host- would also exclude
// sibling domains, but needs the path "/": the browser would send the verifier to
// everything on the host.
func (s *SignOn) cookiePrefix() string {
	if s.secure {
		return "__Secure-flyext-sso-"
	}
	return "flyext-sso-"
}

// cookie returns the cookie of one handshake; each tab has its own. With Lax the browser
// sends it with Fly.io's redirect, but not with other cross-site requests.
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

// bind sends the verifier to the browser and removes the oldest ones if there are too
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

// unbind returns the verifier of this browser and removes it, so that the state works
// once, whatever the outcome of the callback.
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
