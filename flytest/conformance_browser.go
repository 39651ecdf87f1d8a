package flytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// browser returns a new browser, which visits the provider. If signsIn is set, it also
// visits the simulated OAuth server.
func (s *subject) browser(signsIn bool) (*Browser, error) {
	urls := []string{s.BaseURL}
	if signsIn && s.OAuth != nil {
		urls = append(urls, s.OAuthURL)
	}
	b, err := NewBrowser(s.Client, urls...)
	if err != nil {
		return nil, err
	}
	b.platform.Observe = s.observe
	return b, nil
}

// observe records an exchange.
func (s *subject) observe(e Exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record(e)
}

func (s *subject) open(ctx context.Context, b *Browser, target string) (*Visit, error) {
	var visit *Visit
	err := s.patiently(ctx, func() (Exchange, error) {
		limited, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		var err error
		if visit, err = b.Open(limited, target); err != nil {
			return Exchange{}, err
		}
		return visit.Last(), nil
	})
	return visit, err
}

// begin opens the dashboard in a browser that does not visit Fly.io. It returns the URL
// to which the provider redirects the browser.
func (s *subject) begin(ctx context.Context, b *Browser) (*url.URL, error) {
	x, err := s.standing(ctx)
	if err != nil {
		return nil, err
	}
	target, err := s.platform.DashboardURL(x.id)
	if err != nil {
		return nil, err
	}
	visit, err := s.open(ctx, b, target)
	if err != nil {
		return nil, err
	}
	last := visit.Last()
	switch last.Response.StatusCode {
	case http.StatusNotImplemented, http.StatusNotFound, http.StatusMethodNotAllowed:
		return nil, &skip{fmt.Sprintf("single sign-on is not offered (%s)", last.Response.Status)}
	}
	if visit.Elsewhere == nil {
		return nil, cmp.Or(s.missesRoute(ctx, last), error(&failure{"a redirect to Fly.io", describe(last)}))
	}
	return visit.Elsewhere, s.checkAuthorization(visit.Elsewhere)
}

// missesRoute returns a *skip if the provider has no route for the sign-on and refuses
// a browser only because its request is unsigned. A signed request to the route then
// gets 404, 405 or 501.
func (s *subject) missesRoute(ctx context.Context, e Exchange) error {
	if e.Response.StatusCode != http.StatusUnauthorized && e.Response.StatusCode != http.StatusForbidden {
		return nil
	}
	signed, err := s.call(ctx, http.MethodGet, strings.TrimPrefix(e.Request.URL.EscapedPath(), s.basePath), nil)
	if err != nil {
		return err
	}
	switch signed.Response.StatusCode {
	case http.StatusNotImplemented, http.StatusNotFound, http.StatusMethodNotAllowed:
		return &skip{fmt.Sprintf("single sign-on is not offered (%s for a signed request)", signed.Response.Status)}
	}
	return nil
}

// beginAlone calls begin with a new browser.
func (s *subject) beginAlone(ctx context.Context) (*url.URL, error) {
	b, err := s.browser(false)
	if err != nil {
		return nil, err
	}
	return s.begin(ctx, b)
}

// The users of a run.
const (
	userAdmin    = "flytest-user"
	userStranger = "flytest-stranger"
)

// setUpOAuth sets the users and the choice of the simulated OAuth server. It returns a
// *skip if there is no simulated OAuth server or no sign-on.
func (s *subject) setUpOAuth(ctx context.Context, c Choice) error {
	if _, err := s.beginAlone(ctx); err != nil {
		return skipFailure(err, noRedirect)
	}
	if s.OAuth == nil {
		return &skip{"no simulated OAuth server is configured; set Conformance.OAuth, or FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET for flysim"}
	}
	s.OAuth.SetUsers(
		User{ID: userAdmin, Name: "Ada", Organizations: []UserOrganization{{OrganizationID: ownOrganization, Role: "admin"}}},
		User{ID: userStranger, Name: "Stranger", Organizations: []UserOrganization{{OrganizationID: otherOrganization, Role: "admin"}}},
	)
	s.OAuth.SetChoice(&c)
	return nil
}

var (
	asAdmin    = Choice{UserID: userAdmin}
	asStranger = Choice{UserID: userStranger}
)

// signIn signs a user in with a new browser, from the dashboard to the last page.
func (s *subject) signIn(ctx context.Context, c Choice) (*Visit, error) {
	x, err := s.standing(ctx)
	if err != nil {
		return nil, err
	}
	b, err := s.browser(true)
	if err != nil {
		return nil, err
	}
	return s.signInWith(ctx, b, x, c)
}

func (s *subject) signInWith(ctx context.Context, b *Browser, x *extension, c Choice) (*Visit, error) {
	if err := s.setUpOAuth(ctx, c); err != nil {
		return nil, err
	}
	target, err := s.platform.DashboardURL(x.id)
	if err != nil {
		return nil, err
	}
	return s.open(ctx, b, target)
}

// callback begins a sign-on in browser b and completes the step at the simulated OAuth
// server, where an admin gives consent, in another browser. It returns the callback URL
// for b to open.
func (s *subject) callback(ctx context.Context, b *Browser) (*url.URL, error) {
	if err := s.setUpOAuth(ctx, asAdmin); err != nil {
		return nil, err
	}
	authorize, err := s.begin(ctx, b)
	if err != nil {
		return nil, err
	}
	fly, err := NewBrowser(s.Client, s.OAuthURL)
	if err != nil {
		return nil, err
	}
	visit, err := s.open(ctx, fly, authorize.String())
	if err != nil {
		return nil, err
	}
	if visit.Elsewhere == nil {
		return nil, errors.New("flytest: the simulated OAuth server does not redirect the browser to the provider")
	}
	return visit.Elsewhere, nil
}
