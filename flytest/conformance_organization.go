package flytest

import (
	"context"
	"net/http"
)

var organizationChecks = []check{
	{Requirement{
		ID: "sso-organization", Group: groupSSO,
		Text:   "An organization's dashboard leads to Fly.io's sign-on",
		Source: sourceRoutes,
		Fix:    `Redirect GET {base}/organizations/{organization_id}/sso to /oauth/authorize, as for an extension. If organizations have no dashboard, answer 404 or 501.`,
	}, checkSSOOrganization},
}

// checkSSOOrganization opens the dashboard of an organization in a browser.
func checkSSOOrganization(ctx context.Context, s *subject) error {
	if _, err := s.beginAlone(ctx); err != nil {
		return skipFailure(err, noRedirect)
	}
	base, err := s.platform.base()
	if err != nil {
		return err
	}
	b, err := s.browser(false)
	if err != nil {
		return err
	}
	visit, err := s.open(ctx, b, base+"/organizations/"+ownOrganization+"/sso")
	if err != nil {
		return err
	}
	if visit.Elsewhere != nil {
		return s.checkAuthorization(visit.Elsewhere)
	}
	last := visit.Last()
	if status := last.Response.StatusCode; status/100 == 4 || status == http.StatusNotImplemented {
		return &skip{"organizations have no dashboard (" + last.Response.Status + ")"}
	}
	return &failure{"a redirect to Fly.io", describe(last)}
}
