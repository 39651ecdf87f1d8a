package flyext

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// A permission is the scope of generation 1.
type permission struct {
	OrganizationID string `json:"organization_id"`
	Permission     string `json:"permission"`
}

func (s *SignOn) scope(organizationID string) string {
	if s.sso.Generation == Generation2 {
		return "read"
	}
	text, err := marshal(permission{organizationID, roleAdmin})
	if err != nil {
		panic(err) // SSOConfig.OrganizationOf returned an id that is not UTF-8
	}
	return string(text)
}

// identify exchanges a code for a user who may enter.
func (s *SignOn) identify(ctx context.Context, to Destination, code, verifier string) (*Identity, error) {
	token, err := s.requestToken(ctx, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {verifier}, "redirect_uri": {s.oauth.RedirectURL},
	})
	if err != nil {
		return nil, err
	}
	id := &Identity{ExtensionID: to.ExtensionID, OrganizationID: to.OrganizationID, Generation: s.sso.Generation}
	if s.sso.Generation == Generation1 {
		id.Role = roleAdmin
		return id, checkScope(token.scope, to.OrganizationID)
	}
	info, err := s.introspect(ctx, token.accessToken)
	if err != nil {
		return nil, err
	}
	return id, s.fill(id, info, token.refreshToken)
}

// fill completes an identity with the token info.
func (s *SignOn) fill(id *Identity, info *tokenInfo, refreshToken string) (err error) {
	if info.hasApplication && info.application != s.sso.ClientID {
		return signOnError(CodeForeignToken, nil)
	}
	id.UserID, id.Name, id.Email, id.Organizations = info.userID, info.userName, info.email, info.organizations
	if id.Role, err = s.roleIn(id.OrganizationID, info.organizations); err != nil {
		return err
	}
	if s.sso.KeepGrant && refreshToken != "" {
		id.Grant = &Grant{UserID: id.UserID, OrganizationID: id.OrganizationID, refreshToken: refreshToken}
	}
	return nil
}

// checkScope compares the granted scope with the requested scope, which the user could
// edit. A missing scope means the requested one (RFC 6749, section 5.1). Recorded
// responses have "read", which proves no organization; see [SSOConfig.Generation].
func checkScope(scope, organizationID string) error {
	if scope == "" || scope == "read" {
		return nil
	}
	var granted permission
	if err := jsonv2.Unmarshal([]byte(scope), &granted); err != nil || granted != (permission{organizationID, roleAdmin}) {
		return signOnError(CodeNotAMember, errScope)
	}
	return nil
}

// roleIn returns the user's role in an organization, if that role may enter.
func (s *SignOn) roleIn(organizationID string, all []Membership) (string, error) {
	member := false
	for _, m := range all {
		if m.OrganizationID != organizationID {
			continue
		}
		if slices.Contains(s.sso.Roles, m.Role) {
			return m.Role, nil
		}
		member = true
	}
	if member {
		return "", signOnError(CodeRoleNotAccepted, nil)
	}
	return "", signOnError(CodeNotAMember, nil)
}

var errScope = errors.New("the granted scope differs from the requested scope")

// requestToken sends an access token request (RFC 6749, sections 4.1.3 and 6).
func (s *SignOn) requestToken(ctx context.Context, form url.Values) (*tokenAnswer, error) {
	form.Set("client_id", s.sso.ClientID)
	form.Set("client_secret", s.sso.ClientSecret)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.oauth.Endpoint.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, err := s.send(r)
	if err != nil {
		return nil, flyError(fmt.Errorf("token endpoint: %w", err))
	}
	failure := failureOf(status, body)
	if status/100 == 2 && failure == "" {
		answer, err := decodeToken(body)
		if err != nil {
			return nil, flyError(fmt.Errorf("token endpoint: %w", err))
		}
		return answer, nil
	}
	cause := fmt.Errorf("token endpoint: status %d, error %q", status, knownError(failure))
	if failure == "invalid_grant" {
		return nil, signOnError(CodeInvalidGrant, cause)
	}
	return nil, flyError(cause)
}

// introspect requests the token info.
func (s *SignOn) introspect(ctx context.Context, accessToken string) (*tokenInfo, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.infoURL, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+accessToken)
	status, body, err := s.send(r)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	var info *tokenInfo
	if err == nil {
		info, err = decodeTokenInfo(body)
	}
	if err != nil {
		return nil, flyError(fmt.Errorf("token info: %w", err))
	}
	return info, nil
}

// maxOAuthAnswer bounds a response of Fly.io's OAuth server, in bytes.
const maxOAuthAnswer = 1 << 20

var errOAuthAnswerSize = fmt.Errorf("the response is larger than %d bytes", maxOAuthAnswer)

// send sends a request to Fly.io's OAuth server and reads the response.
func (s *SignOn) send(r *http.Request) (status int, body []byte, err error) {
	r.Header.Set("Accept", "application/json")
	answer, err := s.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxOAuthAnswer+1))
	if err == nil && len(body) > maxOAuthAnswer {
		return 0, nil, errOAuthAnswerSize
	}
	return answer.StatusCode, body, quiet(err)
}

// clientFor returns a copy of a client, or a default client for nil, for requests to
// Fly.io. It follows no redirects: their target would get secrets that are meant for
// Fly.io. Its errors have constant texts.
func clientFor(client *http.Client) *http.Client {
	c := http.Client{}
	if client != nil {
		c = *client
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	c.Transport = quietTransport{c.Transport}
	return &c
}

// A quietTransport keeps text of a response out of errors. It removes the Location,
// because net/http would quote a malformed one.
type quietTransport struct{ next http.RoundTripper }

func (t quietTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.next.RoundTrip(r)
	if answer != nil {
		answer.Header.Del("Location")
	}
	return answer, quiet(err)
}
