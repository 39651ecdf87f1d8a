package flyext

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"golang.org/x/oauth2"
)

// A Grant lets the service ask Fly.io later whether a user still belongs to an
// organization; see [SignOn.Recheck]. It holds a refresh token, which is a secret: it
// prints, logs and marshals without it.
type Grant struct {
	UserID         string
	OrganizationID string

	refreshToken string
}

// Format implements [fmt.Formatter]. It leaves the refresh token out, for each verb.
func (g Grant) Format(f fmt.State, _ rune) { redactedFormat(f, "Grant") }

// LogValue implements [slog.LogValuer].
func (g Grant) LogValue() slog.Value { return slog.StringValue("Grant(" + redacted + ")") }

// MarshalText implements [encoding.TextMarshaler]. It leaves everything out.
func (g Grant) MarshalText() ([]byte, error) { return []byte("Grant(" + redacted + ")"), nil }

// grantText is the stored form of a Grant.
type grantText struct {
	UserID         string `json:"user_id"`
	OrganizationID string `json:"organization_id"`
	RefreshToken   string `json:"refresh_token"`
}

// Reveal returns the grant with its refresh token, for storage. Encrypt it where you
// store it. [ParseGrant] reads it.
func (g *Grant) Reveal() ([]byte, error) {
	return marshal(grantText{g.UserID, g.OrganizationID, g.refreshToken})
}

var errGrant = errors.New("flyext: the grant is malformed")

// ParseGrant reads the output of [Grant.Reveal].
func ParseGrant(text []byte) (*Grant, error) {
	var g grantText
	if err := jsonv2.Unmarshal(text, &g); err != nil || g.UserID == "" || g.OrganizationID == "" || g.RefreshToken == "" {
		return nil, errGrant // the reason would quote the refresh token
	}
	return &Grant{g.UserID, g.OrganizationID, g.RefreshToken}, nil
}

// Recheck asks Fly.io whether the user of a grant may still enter. Fly.io sends no
// notice when a user leaves an organization, so call it from time to time, such as
// hourly, and end the user's session if it fails.
//
// The identity has a new Grant, because a refresh token may work only once. Store it
// in place of the old one, and do not recheck one grant twice at once.
//
// The error is an *[Error]: [CodeNotAMember], [CodeRoleNotAccepted] or
// [CodeInvalidGrant] if the user may not enter any more, and [CodeFlyUnavailable] or
// [CodeFlyTimeout] if Fly.io could not tell.
func (s *SignOn) Recheck(ctx context.Context, g *Grant) (*Identity, error) {
	if g == nil || g.refreshToken == "" {
		return nil, errGrant
	}
	ctx, cancel := context.WithTimeout(ctx, s.sso.Timeout)
	defer cancel()
	client := *s.client
	client.Transport = &answerTransport{next: s.client.Transport, read: canonicalToken}
	source := s.oauth.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, &client),
		&oauth2.Token{RefreshToken: g.refreshToken, Expiry: time.Unix(1, 0)})
	token, err := source.Token()
	if err != nil {
		return nil, tokenError(err)
	}
	info, err := s.introspect(ctx, token.AccessToken)
	if err != nil {
		return nil, err
	}
	id := &Identity{OrganizationID: g.OrganizationID, Generation: s.sso.Generation}
	if err := s.fill(id, info, token); err != nil {
		return nil, err
	}
	if id.UserID != g.UserID {
		return nil, signOnError(CodeNotAMember, errors.New("the refresh token is of another user"))
	}
	id.Grant = &Grant{UserID: id.UserID, OrganizationID: id.OrganizationID, refreshToken: token.RefreshToken}
	return id, nil
}

// tokenError is the answer for an error of the token endpoint.
func tokenError(err error) error {
	re, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return flyError(fmt.Errorf("token endpoint: %w", err))
	}
	// The error itself has the body in it, and the body might have anything.
	reason := knownError(re.ErrorCode)
	status := http.StatusOK
	if re.Response != nil {
		status = re.Response.StatusCode
	}
	cause := fmt.Errorf("token endpoint: status %d, error %q", status, reason)
	if reason == "invalid_grant" {
		return signOnError(CodeInvalidGrant, cause)
	}
	return flyError(cause)
}
