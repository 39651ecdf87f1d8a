package flyext

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/oauth2"
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
	token, err := s.exchange(ctx, code, verifier)
	if err != nil {
		return nil, err
	}
	id := &Identity{ExtensionID: to.ExtensionID, OrganizationID: to.OrganizationID, Generation: s.sso.Generation}
	if s.sso.Generation == Generation1 {
		id.Role = roleAdmin
		return id, s.checkScope(token, to.OrganizationID)
	}
	info, err := s.introspect(ctx, token.AccessToken)
	if err != nil {
		return nil, err
	}
	return id, s.fill(id, info, token)
}

// fill completes an identity with the token info.
func (s *SignOn) fill(id *Identity, info *tokenInfo, token *oauth2.Token) (err error) {
	if info.hasApplication && info.application != s.sso.ClientID {
		return signOnError(CodeForeignToken, nil)
	}
	id.UserID, id.Name, id.Email, id.Organizations = info.userID, info.userName, info.email, info.organizations
	if id.Role, err = s.roleIn(id.OrganizationID, info.organizations); err != nil {
		return err
	}
	if s.sso.KeepGrant && token.RefreshToken != "" {
		id.Grant = &Grant{UserID: id.UserID, OrganizationID: id.OrganizationID, refreshToken: token.RefreshToken}
	}
	return nil
}

// checkScope compares the granted scope with the requested scope, which the user could
// edit. A missing scope means the requested one (RFC 6749, section 5.1). Recorded
// responses have "read", which proves no organization; see [SSOConfig.Generation].
func (s *SignOn) checkScope(token *oauth2.Token, organizationID string) error {
	text, _ := token.Extra("scope").(string)
	if text == "" || text == "read" {
		return nil
	}
	var granted permission
	if err := jsonv2.Unmarshal([]byte(text), &granted); err != nil || granted != (permission{organizationID, roleAdmin}) {
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

// exchange sends the access token request (RFC 6749, section 4.1.3).
func (s *SignOn) exchange(ctx context.Context, code, verifier string) (*oauth2.Token, error) {
	token, err := s.oauth.Exchange(s.tokenContext(ctx), code, oauth2.VerifierOption(verifier))
	if err == nil {
		return token, nil
	}
	return nil, tokenError(err)
}

// tokenContext returns a context in which package oauth2 uses the sign-on's client.
func (s *SignOn) tokenContext(ctx context.Context) context.Context {
	client := *s.client
	client.Transport = &answerTransport{next: s.client.Transport, read: canonicalToken}
	return context.WithValue(ctx, oauth2.HTTPClient, &client)
}

// introspect requests the token info.
func (s *SignOn) introspect(ctx context.Context, accessToken string) (*tokenInfo, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.infoURL, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+accessToken)
	r.Header.Set("Accept", "application/json")
	client := *s.client
	client.Transport = &answerTransport{next: s.client.Transport}
	answer, err := client.Do(r)
	if err != nil {
		return nil, flyError(fmt.Errorf("token info: %w", err))
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, flyError(fmt.Errorf("token info: status %d", answer.StatusCode))
	}
	body, _ := io.ReadAll(answer.Body) // answerTransport has read it already
	info, err := decodeTokenInfo(body)
	if err != nil {
		return nil, flyError(fmt.Errorf("token info: %w", err))
	}
	return info, nil
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

// maxOAuthAnswer bounds a response of Fly.io's OAuth server, in bytes.
const maxOAuthAnswer = 1 << 20

var errOAuthAnswerSize = fmt.Errorf("the response is larger than %d bytes", maxOAuthAnswer)

// An answerTransport reads the whole bounded body before it returns a response, so that
// a failure of the body is an error of the request.
type answerTransport struct {
	next http.RoundTripper
	read func(body []byte) ([]byte, error) // rewrites the body of a success; may be nil
}

func (t *answerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxOAuthAnswer+1))
	answer.Body.Close()
	err = quiet(err)
	if err == nil && len(body) > maxOAuthAnswer {
		err = errOAuthAnswerSize
	}
	if err == nil && t.read != nil && answer.StatusCode/100 == 2 {
		body, err = t.read(body)
	}
	if err == nil && t.read != nil && jsontext.Value(body).Kind() == '{' { // oauth2 reads JSON only with this type
		answer.Header.Set("Content-Type", "application/json")
	}
	if err != nil {
		return nil, err
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}
