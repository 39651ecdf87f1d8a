package flytest

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/flyext/flyext"
)

// checkAuthorization checks the provider's authorization request (RFC 6749, section
// 4.1.1).
func (s *subject) checkAuthorization(to *url.URL) error {
	if err := s.checkAuthorizeURL(to); err != nil {
		return err
	}
	base, err := s.platform.base()
	if err != nil {
		return err
	}
	query := to.Query()
	for _, p := range []struct{ name, want string }{
		{"response_type", "code"}, {"redirect_uri", base + "/callback"}, {"client_id", s.clientID()},
	} {
		got := query[p.name]
		if len(got) == 1 && (got[0] == p.want || p.want == "" && got[0] != "") {
			continue
		}
		want := "a " + p.name
		if p.want != "" {
			want = p.name + "=" + p.want
		}
		if len(got) == 0 {
			return &failure{want, "no " + p.name}
		}
		return &failure{want, p.name + "=" + strings.Join(got, " and "+p.name+"=")}
	}
	if query.Get("state") == "" {
		return &failure{"a state", "no state"}
	}
	return s.checkScope(query.Get("scope"))
}

// clientID returns the client id that the provider must send, or "" if it is unknown.
func (s *subject) clientID() string {
	if s.OAuth == nil {
		return ""
	}
	return s.OAuth.ClientID
}

// checkAuthorizeURL checks that the browser is redirected to the simulated OAuth
// server. Without one, it accepts the real Fly.io and any server on this machine.
func (s *subject) checkAuthorizeURL(to *url.URL) error {
	got := to.Scheme + "://" + to.Host + to.Path
	hosts := map[flyext.Generation]string{flyext.Generation1: "fly.io", flyext.Generation2: "api.fly.io"}
	want := "https://" + hosts[s.ssoGeneration] + AuthorizeEndpoint
	if s.OAuth != nil {
		want = strings.TrimRight(s.OAuthURL, "/") + AuthorizeEndpoint
	}
	local := to.Hostname() == "localhost" || net.ParseIP(to.Hostname()).IsLoopback()
	if got == want || s.OAuth == nil && local && to.Path == AuthorizeEndpoint {
		return nil
	}
	return &failure{"a redirect to " + want, "a redirect to " + got}
}

func (s *subject) checkScope(scope string) error {
	if s.ssoGeneration == flyext.Generation2 {
		if scope != "read" {
			return &failure{"scope=read", "scope=" + scope}
		}
		return nil
	}
	want := fmt.Sprintf(`{"organization_id":%q,"permission":"admin"}`, ownOrganization)
	var got struct {
		OrganizationID string `json:"organization_id"`
		Permission     string `json:"permission"`
	}
	err := jsonv2.Unmarshal([]byte(scope), &got)
	if err != nil || got.OrganizationID != ownOrganization || got.Permission != "admin" {
		return &failure{"scope=" + want, "scope=" + scope}
	}
	return nil
}
