package flytest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/flyext/flyext"
)

// noRedirect is why the checks that build on "sso-redirect" are skipped.
const noRedirect = "the provider does not redirect to Fly.io"

var ssoChecks = []check{
	{Requirement{
		ID: "sso-redirect", Group: groupSSO,
		Text:   "The customer's browser is sent to Fly.io's sign-on",
		Source: sourceSSO,
		Fix:    `Redirect GET {base}/extensions/{id}/sso to /oauth/authorize with client_id, response_type=code (not request_type), redirect_uri={base}/callback, scope and state. If extensions have no dashboard, answer 501.`,
	}, checkSSORedirect},
	{Requirement{
		ID: "sso-state", Group: groupSSO,
		Text:   "Each sign-on has an unguessable state",
		Source: sourceSSO,
		Fix:    "Make a new state for each sign-on: random bytes, or signed data with a nonce.",
	}, checkSSOState},
	{Requirement{
		ID: "sso-unknown-id", Group: groupSSO,
		Text:   "A sign-on for an unknown extension does not begin",
		Source: sourceSSO,
		Fix:    "Look the extension up first. If it does not exist, answer 404.",
	}, checkSSOUnknownID},
	{Requirement{
		ID: "sso-sign-in", Group: groupSSO,
		Text:   "An admin of the organization is signed in",
		Source: sourceSSO,
		Fix:    "Exchange the code at /oauth/token, with client_id, client_secret, grant_type, code and redirect_uri as form fields. In generation 2, get the user from /oauth/token/info. Start a session, without SameSite=Strict in its cookies, and redirect to the extension's page.",
	}, checkSSOSignIn},
	{Requirement{
		ID: "sso-token-type", Group: groupSSO,
		Text:   "A token response without token_type is accepted",
		Source: sourceSSO,
		Fix:    "Treat a token without a token_type as a bearer token.",
	}, checkSSOTokenType},
	{Requirement{
		ID: "sso-denied", Group: groupSSO,
		Text:   "A user who denies consent is not signed in",
		Source: sourceSSO,
		Fix:    "If the callback has error=access_denied, answer with a 4xx status and a page that says so.",
	}, checkSSODenied},
	{Requirement{
		ID: "sso-no-member", Group: groupSSO,
		Text:   "A user of another organization is not signed in",
		Source: sourceSSO,
		Fix:    "Look for the extension's organization in the list from /oauth/token/info. If it is missing, refuse the user.",
	}, checkSSONoMember},
	{Requirement{
		ID: "sso-foreign-token", Group: groupSSO,
		Text:   "A token of another application is refused",
		Source: sourceSSO,
		Fix:    "Compare application.uid from /oauth/token/info with your client id.",
	}, checkSSOForeignToken},
	{Requirement{
		ID: "sso-forged-state", Group: groupSSO,
		Text:   "A callback with a missing or changed state is refused",
		Source: sourceSSO,
		Fix:    "Verify the state before you exchange the code.",
	}, checkSSOForgedState},
	{Requirement{
		ID: "sso-other-browser", Group: groupSSO,
		Text:   "A sign-on can end only in the browser in which it began",
		Source: sourceSSO,
		Fix:    "Bind the state to the browser with a cookie. Otherwise an attacker can sign a customer in as another user.",
	}, checkSSOOtherBrowser},
	{Requirement{
		ID: "sso-other-session", Group: groupSSO,
		Text:   "A session for one organization gives no access to another",
		Source: sourceSSO,
		Fix:    "Before you redirect a browser with a session to the extension's page, compare the session's organization with the extension's. If they differ, start a new sign-on at Fly.io.",
	}, checkSSOOtherSession},
	{Requirement{
		ID: "sso-fly-fails", Group: groupSSO,
		Text:   "A user is not signed in while Fly.io fails",
		Source: sourceSSO,
		Fix:    "Refuse the user after any unexpected answer from Fly.io, and ask them to try again.",
	}, checkSSOFlyFails},
}

func checkSSORedirect(ctx context.Context, s *subject) error {
	_, err := s.beginAlone(ctx)
	return err
}

// minState is the minimum length of an unguessable state: 128 bits in base64.
const minState = 22

func checkSSOState(ctx context.Context, s *subject) error {
	var states [2]string
	for i := range states {
		to, err := s.beginAlone(ctx)
		if err != nil {
			return skipFailure(err, noRedirect)
		}
		states[i] = to.Query().Get("state")
	}
	switch {
	case states[0] == states[1]:
		return &failure{"a different state for each browser", "the same state for two browsers"}
	case len(states[0]) < minState:
		return &failure{fmt.Sprintf("a state of %d characters or more", minState), fmt.Sprintf("a state of %d characters", len(states[0]))}
	}
	return nil
}

func checkSSOUnknownID(ctx context.Context, s *subject) error {
	if _, err := s.beginAlone(ctx); err != nil {
		return skipFailure(err, noRedirect)
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
	return nil // the provider may show a page of its own
}

func checkSSOSignIn(ctx context.Context, s *subject) error {
	_, err := s.home(ctx)
	return err
}

// settled calls home. It returns a *skip if an admin cannot sign in.
func (s *subject) settled(ctx context.Context) ([]string, error) {
	home, err := s.home(ctx)
	return home, skipFailure(err, "an admin cannot sign in")
}

// faulty signs an admin in while an endpoint of the simulated OAuth server has a fault.
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
	return s.keepsOut(ctx, Choice{Error: "access_denied"}, "a user who denied consent")
}

func checkSSONoMember(ctx context.Context, s *subject) error {
	return s.keepsOut(ctx, asStranger, "a user of another organization")
}

func (s *subject) keepsOut(ctx context.Context, c Choice, what string) error {
	home, err := s.settled(ctx)
	if err != nil {
		return err
	}
	visit, err := s.signIn(ctx, c)
	if err != nil {
		return err
	}
	return s.keptOut(visit, home, what)
}

func checkSSOForeignToken(ctx context.Context, s *subject) error {
	if s.ssoGeneration == flyext.Generation1 {
		return &skip{"in generation 1, a token does not name its application"}
	}
	visit, home, err := s.faulty(ctx, TokenInfoEndpoint, ForeignApplication())
	if err != nil {
		return err
	}
	return s.keptOut(visit, home, "a token of another application")
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
			continue // generation 1 does not use the endpoint
		}
		visit, home, err := s.faulty(ctx, c.endpoint, c.fault)
		if err != nil {
			return err
		}
		if err := s.keptOut(visit, home, "a user while Fly.io fails"); err != nil {
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
		return skipFailure(err, "an admin of another organization cannot sign in")
	}
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	if visit, err = s.signInWith(ctx, b, x, asStranger); err != nil {
		return err
	}
	return s.keptOut(visit, home, "a session for another organization")
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
		if err := s.keptOut(visit, home, "a missing or changed state"); err != nil {
			return err
		}
	}
	return nil
}

// forgedState changes one character in the middle, because the last character of an
// encoding may have unused bits.
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
	return s.keptOut(visit, home, "a browser other than the one that began the sign-on")
}
