package flyext

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"golang.org/x/oauth2"
)

// A Grant lets [SignOn.Recheck] ask Fly.io later whether a user still belongs to an
// organization. It holds a refresh token, so printing, logging and marshalling redact
// everything.
type Grant struct {
	hidden
	UserID         string
	OrganizationID string

	refreshToken string
}

// grantText is the stored form of a Grant.
type grantText struct {
	UserID         string `json:"user_id"`
	OrganizationID string `json:"organization_id"`
	RefreshToken   string `json:"refresh_token"`
}

// Reveal returns the grant with its refresh token, to be stored encrypted. [ParseGrant]
// reads it. The error reports a field that is not UTF-8.
func (g *Grant) Reveal() ([]byte, error) {
	return marshal(grantText{g.UserID, g.OrganizationID, g.refreshToken})
}

var errGrant = errors.New("flyext: the grant is malformed")

// ParseGrant reads the output of [Grant.Reveal]. It returns an error for any other text.
func ParseGrant(text []byte) (*Grant, error) {
	var g grantText
	if err := jsonv2.Unmarshal(text, &g); err != nil || g.UserID == "" || g.OrganizationID == "" || g.RefreshToken == "" {
		return nil, errGrant // err could quote the refresh token
	}
	return &Grant{UserID: g.UserID, OrganizationID: g.OrganizationID, refreshToken: g.RefreshToken}, nil
}

// Recheck asks Fly.io whether the user of a grant may still enter. Fly.io sends no
// notice when a user leaves an organization, so call Recheck regularly, such as hourly.
//
// The identity has a new Grant, because a refresh token may work only once. Replace the
// stored grant with it, and never recheck one grant twice at the same time. If Fly.io
// fails after it has replaced the refresh token, the identity comes with an error and has
// only the new Grant: store it, too.
//
// The error is an *[Error], unless g is nil or empty. With [CodeNotAMember],
// [CodeRoleNotAccepted], [CodeInvalidGrant] or [CodeForeignToken] the user may no longer
// enter: end the session. With [CodeFlyUnavailable] or [CodeFlyTimeout] Fly.io failed:
// try again later.
func (s *SignOn) Recheck(ctx context.Context, g *Grant) (*Identity, error) {
	if g == nil || g.refreshToken == "" {
		return nil, errGrant
	}
	ctx, cancel := context.WithTimeout(ctx, s.sso.Timeout)
	defer cancel()
	source := s.oauth.TokenSource(s.tokenContext(ctx), &oauth2.Token{RefreshToken: g.refreshToken, Expiry: time.Unix(1, 0)})
	token, err := source.Token()
	if err != nil {
		return nil, tokenError(err)
	}
	renewed := &Grant{UserID: g.UserID, OrganizationID: g.OrganizationID, refreshToken: token.RefreshToken}
	info, err := s.introspect(ctx, token.AccessToken)
	if err != nil {
		return &Identity{Grant: renewed}, err
	}
	id := &Identity{OrganizationID: g.OrganizationID, Generation: s.sso.Generation}
	if err := s.fill(id, info, token); err != nil {
		return nil, err
	}
	if id.UserID != g.UserID {
		return nil, signOnError(CodeNotAMember, errors.New("the refresh token belongs to another user"))
	}
	id.Grant = renewed
	return id, nil
}

// tokenError returns the response to an error of the token endpoint.
func tokenError(err error) error {
	re, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return flyError(fmt.Errorf("token endpoint: %w", err))
	}
	// The text of re quotes the body, which must not reach the log.
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
