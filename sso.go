package flyext

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"golang.org/x/oauth2"
)

// A Destination is the target of a sign-on: an extension or, if only OrganizationID is
// set, an organization.
type Destination struct {
	ExtensionID    string
	OrganizationID string
}

// An Identity is a user whose access Fly.io has confirmed.
//
// In [Generation1] the exchange proves only that the user is an admin of the
// organization: Role is "admin", and UserID, Name, Email and Organizations are empty.
type Identity struct {
	// UserID is Fly.io's id of the user. Use it as the key: names and addresses may
	// pass to another user.
	UserID string
	Name   string
	// Email is an alias that reaches the user.
	Email string

	// ExtensionID is the extension to show, or "" if the handshake began for an
	// organization.
	ExtensionID string
	// OrganizationID is the organization of the extension or of the handshake. Role is
	// the user's role in it, one of [SSOConfig.Roles].
	OrganizationID string
	Role           string

	// Organizations are the user's organizations that Fly.io names.
	Organizations []Membership

	// Generation is the version of the sign-on that proved Role.
	Generation Generation

	// Grant is for [SignOn.Recheck]. It is nil without [SSOConfig.KeepGrant], or if
	// Fly.io sent no refresh token.
	Grant *Grant
}

// A Membership is a user's role in an organization, such as "admin".
type Membership struct {
	OrganizationID string
	Role           string
}

const (
	generation1URL    = "https://fly.io"
	generation2URL    = "https://api.fly.io"
	callbackPath      = "/callback"
	routeSSO          = "/extensions/{id}/sso"
	routeDashboard    = "/organizations/{organization_id}/sso"
	defaultSSOTimeout = 10 * time.Second
	minStateKey       = 32   // bytes (RFC 7518, section 3.2)
	maxID             = 1024 // bytes of an id in an unauthenticated request
	maxCode           = 2048 // bytes of a code in an unauthenticated request
	roleAdmin         = "admin"
	roleMember        = "member"
)

// A SignOn signs users in with OAuth 2.0 (RFC 6749, section 4.1, with the PKCE of RFC
// 7636). [SignOn.Begin] sends a browser to Fly.io. [SignOn.Callback] handles the way
// back and calls [SSOConfig.SignIn]. [Provider.SignOn] returns the sign-on of a
// provider. It is safe for concurrent use.
//
// It is stateless, so Begin and Callback may run on different machines. The handshake
// is in a signed state that Fly.io sends back. A cookie binds the state to the browser
// and limits it to one use. Mount routes that call Begin below Config.BaseURL's path:
// the cookie has that path, and flyext does not see pending cookies in other routes, so
// it could not limit their number. Subdomains of the same registrable domain can
// overwrite cookies, so do not host untrusted content on them.
//
// Each response has Cache-Control: no-store, Referrer-Policy: no-referrer,
// X-Content-Type-Options: nosniff, and a Content-Security-Policy that allows only the
// page's own style. A refusal is a page for a person, or the JSON of an [Error] if
// Accept gives JSON at least the weight of HTML. Redirects go only to Fly.io and to the
// URLs that the functions of SSOConfig return, never to a URL of the request.
type SignOn struct {
	sso     SSOConfig
	oauth   oauth2.Config
	client  *http.Client
	infoURL string
	base    *url.URL
	secure  bool // the base URL is https
	keys    [][]byte
	now     func() time.Time
	log     *slog.Logger
}

// Format implements [fmt.Formatter]. It redacts everything, whatever the verb.
func (s *SignOn) Format(f fmt.State, verb rune) { hidden{}.Format(f, verb) }

// NewSignOn returns a sign-on that uses the fields BaseURL, SSO, Now and Logger. It
// returns an error for an invalid or insecure configuration, such as a missing field, a
// short state key, or plain http on a host other than loopback.
func NewSignOn(c Config) (*SignOn, error) {
	base, err := parseBaseURL(c.BaseURL)
	if err != nil {
		return nil, err
	}
	if c.SSO == nil {
		return nil, errors.New("flyext: Config.SSO is missing")
	}
	sso, err := c.SSO.withDefaults()
	if err != nil {
		return nil, err
	}
	if !isAllowedURL(base, sso.InsecureAllowHTTP) {
		return nil, errors.New("flyext: SSO needs a Config.BaseURL that is https, or http on a loopback address")
	}
	server, err := url.Parse(sso.OAuthURL)
	if err != nil || !isAllowedURL(server, sso.InsecureAllowHTTP) || hasMoreThanPath(server) {
		return nil, errors.New("flyext: SSOConfig.OAuthURL must be https, or http on a loopback address, without user, query and fragment")
	}
	s := &SignOn{
		sso: sso, base: base, secure: base.Scheme == "https", now: clock(c.Now), log: cmp.Or(c.Logger, slog.Default()),
		oauth: oauth2.Config{
			ClientID: sso.ClientID, RedirectURL: base.String() + callbackPath,
			Endpoint: oauth2.Endpoint{
				AuthURL: server.JoinPath("oauth", "authorize").String(), TokenURL: server.JoinPath("oauth", "token").String(),
			},
		},
		infoURL: server.JoinPath("oauth", "token", "info").String(),
		client:  clientFor(sso.HTTPClient),
	}
	for _, key := range append([]string{sso.StateKey}, sso.OldStateKeys...) {
		s.keys = append(s.keys, []byte(key))
	}
	if err := s.cookie("x", "x").Valid(); err != nil {
		return nil, fmt.Errorf("flyext: the path of Config.BaseURL is not valid in a cookie: %w", err)
	}
	return s, nil
}

// Begin redirects a GET of a customer's browser to Fly.io or, if [SSOConfig.SignedIn]
// returns a URL, to that URL. Other methods get 405. If [SSOConfig.OrganizationOf]
// returns an error, that error is the response.
//
// One field of the destination is enough. If both are set and the extension belongs to
// another organization, the response is 404.
func (s *SignOn) Begin(w http.ResponseWriter, r *http.Request, to Destination) {
	route := routeDashboard
	if to.ExtensionID != "" {
		route = routeSSO
	}
	s.begin(w, r, &record{log: s.log, Outcome: Outcome{Route: route}}, to)
}

func (s *SignOn) begin(w http.ResponseWriter, r *http.Request, rec *record, to Destination) {
	s.serve(w, r, rec, func(w *statusWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), s.sso.Timeout)
		defer cancel()
		to, err := s.resolve(ctx, to)
		if err != nil {
			return err
		}
		rec.ExtensionID = to.ExtensionID
		if location := s.signedIn(r, to); location != "" {
			return redirect(w, location)
		}
		verifier := oauth2.GenerateVerifier()
		nonce := nonceOf(verifier)
		state, err := s.sealState(to, nonce)
		if err != nil {
			return err
		}
		s.bind(w, r, nonce, verifier)
		return redirect(w, s.oauth.AuthCodeURL(state,
			oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("scope", s.scope(to.OrganizationID))))
	})
}

var (
	errNoDestination  = errors.New("flyext: Begin needs an ExtensionID or an OrganizationID")
	errNoOrganization = errors.New("flyext: SSOConfig.OrganizationOf returned neither an organization nor an error")
	errNoAnswer       = errors.New("flyext: SSOConfig.SignIn neither wrote a response nor returned an error")
)

// resolve completes a destination. It refuses an empty organization, which could match
// every user.
func (s *SignOn) resolve(ctx context.Context, to Destination) (Destination, error) {
	for _, id := range [...]string{to.ExtensionID, to.OrganizationID} {
		if len(id) > maxID || !utf8.ValidString(id) {
			return to, NotFound("There is nothing at this URL.")
		}
	}
	if to.ExtensionID == "" {
		if to.OrganizationID == "" {
			return to, errNoDestination
		}
		return to, nil
	}
	organization, err := s.sso.OrganizationOf(ctx, to.ExtensionID)
	if err != nil {
		if _, ok := errors.AsType[*Error](err); !ok && errors.Is(err, context.DeadlineExceeded) {
			return to, timedOut(err)
		}
		return to, err
	}
	if organization == "" {
		return to, errNoOrganization
	}
	if to.OrganizationID != "" && to.OrganizationID != organization {
		return to, NotFound("This organization has no such extension.")
	}
	to.OrganizationID = organization
	return to, nil
}

// Callback handles the GET with which the browser returns from Fly.io. It checks that
// this browser began the handshake, exchanges the code for the user's identity, and
// calls [SSOConfig.SignIn] if the user may enter. Mount it at {base}/callback, as
// http.HandlerFunc(s.Callback).
//
// If the user loads the page again, Callback redirects to the URL of
// [SSOConfig.SignedIn], if there is one.
func (s *SignOn) Callback(w http.ResponseWriter, r *http.Request) {
	s.callback(w, r, &record{log: s.log, Outcome: Outcome{Route: callbackPath}})
}

func (s *SignOn) callback(w http.ResponseWriter, r *http.Request, rec *record) {
	s.serve(w, r, rec, func(w *statusWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), s.sso.Timeout)
		defer cancel()
		query, _ := url.ParseQuery(r.URL.RawQuery) // a malformed parameter is absent
		to, nonce, err := s.openState(only(query, "state"))
		rec.ExtensionID = to.ExtensionID
		if err != nil {
			return err
		}
		verifier, err := s.unbind(w, r, nonce)
		if err != nil {
			if location := s.signedIn(r, to); location != "" && s.stillThere(ctx, to) == nil {
				return redirect(w, location)
			}
			return err
		}
		id, err := s.finish(ctx, to, query, verifier)
		if err != nil {
			return err
		}
		if err := s.sso.SignIn(w, r, id); err != nil {
			return err
		}
		if w.status == 0 {
			return errNoAnswer
		}
		return nil
	})
}

// finish exchanges the code and returns the user, if the user may enter.
func (s *SignOn) finish(ctx context.Context, to Destination, query url.Values, verifier string) (*Identity, error) {
	if query.Has("error") {
		return nil, authorizeError(only(query, "error"))
	}
	code := only(query, "code")
	if code == "" || len(code) > maxCode {
		return nil, signOnError(CodeMissingCode, nil)
	}
	if err := s.stillThere(ctx, to); err != nil {
		return nil, err
	}
	id, err := s.identify(ctx, to, code, verifier)
	if err != nil {
		return nil, err
	}
	return id, s.organizationExists(ctx, to)
}

// organizationExists returns NotFound if the service does not know the organization.
func (s *SignOn) organizationExists(ctx context.Context, to Destination) error {
	if to.ExtensionID != "" || s.sso.OrganizationExists == nil {
		return nil
	}
	exists, err := s.sso.OrganizationExists(ctx, to.OrganizationID)
	if err == nil && !exists {
		err = NotFound("This Fly.io organization has nothing here.")
	}
	return err
}

// signedIn returns the URL of SSOConfig.SignedIn, or "".
func (s *SignOn) signedIn(r *http.Request, to Destination) string {
	if s.sso.SignedIn == nil {
		return ""
	}
	return s.sso.SignedIn(r, to)
}

// stillThere looks the extension up again, up to ten minutes after Begin. Its
// organization must be that of the state, in which generation 1 proves the membership.
func (s *SignOn) stillThere(ctx context.Context, to Destination) error {
	if to.ExtensionID == "" {
		return nil
	}
	now, err := s.resolve(ctx, Destination{ExtensionID: to.ExtensionID})
	if err != nil {
		return err
	}
	if now != to {
		return Conflict("This extension has moved to another organization. Start again from flyctl.")
	}
	return nil
}

// only returns the value of a parameter, or "" if it is missing or repeated (RFC 6749,
// section 3.1).
func only(query url.Values, name string) string {
	if len(query[name]) != 1 {
		return ""
	}
	return query[name][0]
}

// serveBrowser serves the unsigned routes.
func (p *Provider) serveBrowser(w http.ResponseWriter, r *http.Request, rec *record, to route) {
	none := func(message string) {
		s := &SignOn{}
		s.serve(w, r, rec, func(*statusWriter, *http.Request) error { return Unsupported(message) })
	}
	switch {
	case p.signOn == nil:
		none("This provider has no sign-on with Fly.io.")
	case to.name == routeSSO:
		p.signOn.begin(w, r, rec, Destination{ExtensionID: to.id})
	case to.name == routeDashboard && p.signOn.sso.OrganizationExists == nil:
		none("This provider has no dashboard for organizations.")
	case to.name == routeDashboard:
		p.signOn.begin(w, r, rec, Destination{OrganizationID: to.id})
	default:
		p.signOn.callback(w, r, rec)
	}
}
