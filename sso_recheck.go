package flyext

import (
	"cmp"
	"context"
	"errors"
	"net/url"

	jsonv2 "github.com/go-json-experiment/json"
)

// A Grant lets [SignOn.Recheck] ask Fly.io later whether a user still belongs to an
// organization. It holds a refresh token, so printing, logging and marshalling redact
// everything.
type Grant struct {
	hidden         `json:"-"`
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
	token, err := s.requestToken(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.refreshToken}})
	if err != nil {
		return nil, err
	}
	renewed := &Grant{UserID: g.UserID, OrganizationID: g.OrganizationID, refreshToken: cmp.Or(token.refreshToken, g.refreshToken)}
	info, err := s.introspect(ctx, token.accessToken)
	if err != nil {
		return &Identity{Grant: renewed}, err
	}
	id := &Identity{OrganizationID: g.OrganizationID, Generation: s.sso.Generation}
	if err := s.fill(id, info, ""); err != nil {
		return nil, err
	}
	if id.UserID != g.UserID {
		return nil, signOnError(CodeNotAMember, errors.New("the refresh token belongs to another user"))
	}
	id.Grant = renewed
	return id, nil
}
