package flytest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/flyext/flyext"
)

var ssoChecks = []check{
	{Requirement{
		ID: "sso-redirect", Group: groupSSO,
		Text:   "The customer's browser is sent to Fly.io's sign-on",
		Source: sourceSSO,
		Fix:    `Redirect GET {base}/extensions/{id}/sso to /oauth/authorize with client_id, response_type=code (not request_type), redirect_uri={base}/callback, scope and state. Without a dashboard, answer 501.`,
	}, checkSSORedirect},
	{Requirement{
		ID: "sso-state", Group: groupSSO,
		Text:   "Each sign-on has a state that nobody can guess",
		Source: sourceSSO,
		Fix:    "Make the state of random bytes, or sign it with a nonce in it, for each browser that comes.",
	}, checkSSOState},
	{Requirement{
		ID: "sso-unknown-id", Group: groupSSO,
		Text:   "Nobody signs in for an extension that is not there",
		Source: sourceSSO,
		Fix:    "Look the extension up first, and answer 404.",
	}, checkSSOUnknownID},
	{Requirement{
		ID: "sso-sign-in", Group: groupSSO,
		Text:   "An admin of the organization gets in",
		Source: sourceSSO,
		Fix:    "Exchange the code at /oauth/token, with credentials, code and redirect_uri as form members; ask /oauth/token/info who it is (generation 2); start a session, with no cookie that is SameSite=Strict, and redirect to the extension's screen.",
	}, checkSSOSignIn},
	{Requirement{
		ID: "sso-token-type", Group: groupSSO,
		Text:   "The token's answer may lack token_type",
		Source: sourceSSO,
		Fix:    "Take the token for a bearer token where it does not say.",
	}, checkSSOTokenType},
	{Requirement{
		ID: "sso-denied", Group: groupSSO,
		Text:   "Who says no to Fly.io does not get in",
		Source: sourceSSO,
		Fix:    "Answer ?error=access_denied with a page that says so, and a status of 4xx.",
	}, checkSSODenied},
	{Requirement{
		ID: "sso-no-member", Group: groupSSO,
		Text:   "Somebody of another organization does not get in",
		Source: sourceSSO,
		Fix:    "Look for the extension's organization in the list of /oauth/token/info, and refuse who is not in it.",
	}, checkSSONoMember},
	{Requirement{
		ID: "sso-foreign-token", Group: groupSSO,
		Text:   "Another application's token lets nobody in",
		Source: sourceSSO,
		Fix:    "Compare application.uid of /oauth/token/info with your client id.",
	}, checkSSOForeignToken},
	{Requirement{
		ID: "sso-forged-state", Group: groupSSO,
		Text:   "A missing or changed state lets nobody in",
		Source: sourceSSO,
		Fix:    "Verify the state before you spend the code.",
	}, checkSSOForgedState},
	{Requirement{
		ID: "sso-other-browser", Group: groupSSO,
		Text:   "A sign-on ends in the browser in which it began",
		Source: sourceSSO,
		Fix:    "Bind the state to the browser by a cookie, or anybody can have a customer signed in as somebody else.",
	}, checkSSOOtherBrowser},
	{Requirement{
		ID: "sso-other-session", Group: groupSSO,
		Text:   "A session of one organization is none of another",
		Source: sourceSSO,
		Fix:    "Before you redirect a session to the extension's screen, look whether it is of the extension's organization; if not, ask Fly.io.",
	}, checkSSOOtherSession},
	{Requirement{
		ID: "sso-fly-fails", Group: groupSSO,
		Text:   "While Fly.io fails, nobody gets in",
		Source: sourceSSO,
		Fix:    "Take every answer that is not the expected one for a no, and tell the customer to try again.",
	}, checkSSOFlyFails},
}

func checkSSORedirect(ctx context.Context, s *subject) error {
	_, err := s.beginAlone(ctx)
	return err
}

// checkAuthorization compares what the provider asks of Fly.io (RFC 6749,
// section 4.1.1).
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
		return &failure{p.name + "=" + p.want, fmt.Sprintf("%q", got)}
	}
	if query.Get("state") == "" {
		return &failure{"a state", "none"}
	}
	return s.checkScope(query.Get("scope"))
}

// clientID is the one that the provider has to send, or "" if that is not known.
func (s *subject) clientID() string {
	if s.OAuth == nil {
		return ""
	}
	return s.OAuth.ClientID
}

// checkAuthorizeURL compares where the browser is sent: to the played Fly.io or,
// if there is none, to the real one or one on this machine.
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
	return &failure{"a redirect to " + want, "one to " + got}
}

func (s *subject) checkScope(scope string) error {
	if s.ssoGeneration == flyext.Generation2 {
		if scope != "read" {
			return &failure{"scope=read", fmt.Sprintf("%q", scope)}
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
		return &failure{"scope=" + want, fmt.Sprintf("%q", scope)}
	}
	return nil
}

// minState is what a state that cannot be guessed takes at least: 128 bits in
// base64.
const minState = 22

func checkSSOState(ctx context.Context, s *subject) error {
	var states [2]string
	for i := range states {
		to, err := s.beginAlone(ctx)
		if err != nil {
			return skipFailure(err, "there is no redirect to Fly.io")
		}
		states[i] = to.Query().Get("state")
	}
	switch {
	case states[0] == states[1]:
		return &failure{"two browsers with two states", "the same for both"}
	case len(states[0]) < minState:
		return &failure{fmt.Sprintf("%d characters or more", minState), fmt.Sprint(len(states[0]))}
	}
	return nil
}

func checkSSOUnknownID(ctx context.Context, s *subject) error {
	if _, err := s.beginAlone(ctx); err != nil {
		return skipFailure(err, "there is no redirect to Fly.io")
	}
	target, err := s.platform.DashboardURL(s.newID())
	if err != nil {
		return err
	}
	b, err := s.browser(false)
	if err != nil {
		return err
	}
	visit, err := s.open(ctx, b, target)
	if err != nil {
		return err
	}
	last := visit.Last()
	switch {
	case visit.Elsewhere != nil && s.checkAuthorizeURL(visit.Elsewhere) == nil:
		return &failure{"404", "a redirect to Fly.io"}
	case last.Response.StatusCode >= 500:
		return &failure{"404", describe(last)}
	}
	return nil // there may be a page of the provider's own
}

func checkSSOSignIn(ctx context.Context, s *subject) error {
	_, err := s.home(ctx)
	return err
}

// settled is home for checks that build on it.
func (s *subject) settled(ctx context.Context) ([]string, error) {
	home, err := s.home(ctx)
	return home, skipFailure(err, "nobody gets in")
}

// faulty plays a Fly.io one of whose endpoints answers otherwise.
func (s *subject) faulty(ctx context.Context, endpoint string, f Fault) (*Visit, []string, error) {
	home, err := s.settled(ctx)
	if err != nil {
		return nil, nil, err
	}
	s.OAuth.SetFault(endpoint, f)
	defer s.OAuth.SetFault(endpoint, nil)
	visit, err := s.signIn(ctx, asAdmin)
	return visit, home, err
}

func checkSSOTokenType(ctx context.Context, s *subject) error {
	visit, _, err := s.faulty(ctx, TokenEndpoint, WithoutMember("token_type"))
	if err != nil {
		return err
	}
	return s.entered(visit)
}

func checkSSODenied(ctx context.Context, s *subject) error {
	return s.keepsOut(ctx, Choice{Error: "access_denied"}, "who said no")
}

func checkSSONoMember(ctx context.Context, s *subject) error {
	return s.keepsOut(ctx, asStranger, "somebody of another organization")
}

func (s *subject) keepsOut(ctx context.Context, c Choice, who string) error {
	home, err := s.settled(ctx)
	if err != nil {
		return err
	}
	visit, err := s.signIn(ctx, c)
	if err != nil {
		return err
	}
	return s.keptOut(visit, home, who)
}

func checkSSOForeignToken(ctx context.Context, s *subject) error {
	if s.ssoGeneration == flyext.Generation1 {
		return &skip{"generation 1 does not say whose a token is"}
	}
	visit, home, err := s.faulty(ctx, TokenInfoEndpoint, ForeignApplication())
	if err != nil {
		return err
	}
	return s.keptOut(visit, home, "another application's token")
}

func checkSSOFlyFails(ctx context.Context, s *subject) error {
	for _, c := range []struct {
		endpoint string
		fault    Fault
	}{
		{TokenEndpoint, StatusAnswer(http.StatusInternalServerError)}, {TokenEndpoint, HTMLAnswer()}, {TokenEndpoint, ErrorAnswer("invalid_grant")},
		{TokenInfoEndpoint, StatusAnswer(http.StatusInternalServerError)}, {TokenInfoEndpoint, HTMLAnswer()},
	} {
		if c.endpoint == TokenInfoEndpoint && s.ssoGeneration == flyext.Generation1 {
			continue // nobody asks there
		}
		visit, home, err := s.faulty(ctx, c.endpoint, c.fault)
		if err != nil {
			return err
		}
		if err := s.keptOut(visit, home, "everybody"); err != nil {
			return err
		}
	}
	return nil
}

func checkSSOOtherSession(ctx context.Context, s *subject) error {
	home, err := s.settled(ctx)
	if err != nil {
		return err
	}
	order := s.order()
	order.OrganizationID, order.OrganizationName, order.UserID = otherOrganization, "Another", userStranger
	order.OrganizationEmail, order.UserEmail = otherOrganization+"@customer.fly.io", userStranger+"@customer.fly.io"
	own, err := s.provision(ctx, order)
	if err != nil {
		return err
	}
	b, err := s.browser(true)
	if err != nil {
		return err
	}
	visit, err := s.signInWith(ctx, b, own, asStranger)
	if err == nil {
		err = s.entered(visit)
	}
	if err != nil {
		return skipFailure(err, "another organization's admin does not get in")
	}
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	if visit, err = s.signInWith(ctx, b, x, asStranger); err != nil {
		return err
	}
	return s.keptOut(visit, home, "a session of another organization")
}

func checkSSOForgedState(ctx context.Context, s *subject) error {
	home, err := s.settled(ctx)
	if err != nil {
		return err
	}
	for _, forge := range []func(url.Values){
		func(q url.Values) { q.Del("state") },
		func(q url.Values) { q.Set("state", forgedState(q.Get("state"))) },
	} {
		b, err := s.browser(false)
		if err != nil {
			return err
		}
		back, err := s.callback(ctx, b)
		if err != nil {
			return err
		}
		query := back.Query()
		forge(query)
		back.RawQuery = query.Encode()
		visit, err := s.open(ctx, b, back.String())
		if err != nil {
			return err
		}
		if err := s.keptOut(visit, home, "a state that is not the browser's"); err != nil {
			return err
		}
	}
	return nil
}

// forgedState changes one character in the middle, where no encoding has spare
// bits.
func forgedState(state string) string {
	i := len(state) / 2
	changed := "A"
	if state[i:i+1] == changed {
		changed = "B"
	}
	return state[:i] + changed + state[i+1:]
}

func checkSSOOtherBrowser(ctx context.Context, s *subject) error {
	home, err := s.settled(ctx)
	if err != nil {
		return err
	}
	attacker, err := s.browser(false)
	if err != nil {
		return err
	}
	back, err := s.callback(ctx, attacker)
	if err != nil {
		return err
	}
	victim, err := s.browser(false)
	if err != nil {
		return err
	}
	visit, err := s.open(ctx, victim, back.String())
	if err != nil {
		return err
	}
	return s.keptOut(visit, home, "another browser than the one that began")
}
