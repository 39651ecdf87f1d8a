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

// browser returns a new one, which visits the provider and, if it may sign in,
// the played Fly.io.
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

// observe records what a browser does.
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

// begin opens the dashboard in a browser that does not visit Fly.io, and returns
// where it is sent to sign in.
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

// missesRoute is a *skip if it was not the sign-on that refused a browser, but
// what refuses everybody without a signature: who has one finds nothing there.
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
		return &skip{fmt.Sprintf("single sign-on is not offered (%s to who signs)", signed.Response.Status)}
	}
	return nil
}

// beginAlone is begin in a browser of its own.
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

// plays sets the played Fly.io up for a customer, or says why it cannot.
func (s *subject) plays(ctx context.Context, c Choice) error {
	if _, err := s.beginAlone(ctx); err != nil {
		return skipFailure(err, "there is no redirect to Fly.io")
	}
	if s.OAuth == nil {
		return &skip{"no played sign-on was given that the provider is configured with"}
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

// signIn walks the whole sign-on in a new browser.
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
	if err := s.plays(ctx, c); err != nil {
		return nil, err
	}
	target, err := s.platform.DashboardURL(x.id)
	if err != nil {
		return nil, err
	}
	return s.open(ctx, b, target)
}

// callback begins in a browser, has an admin say yes at the played Fly.io, and
// returns the callback URL that this browser is to open next.
func (s *subject) callback(ctx context.Context, b *Browser) (*url.URL, error) {
	if err := s.plays(ctx, asAdmin); err != nil {
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
		return nil, errors.New("the played Fly.io does not send the browser back")
	}
	return visit.Elsewhere, nil
}
