package flyext

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"

	"golang.org/x/oauth2"
)

// An SSOConfig says how Fly.io's customers sign in to the service: who the service
// is to Fly.io's OAuth server, what its extensions belong to, and what to do
// with a user once it is known who that is. ClientID, ClientSecret, StateKey,
// OrganizationOf and SignIn are required. Register the redirect URL
// {base}/callback with Fly.io.
//
// As [Config.SSO] it makes the [Provider] serve the handshake; [NewSignOn] is
// for a service with routes of its own. It prints and logs without its secrets.
//
// See https://fly.io/docs/reference/extensions_api/#single-sign-on-flow.
type SSOConfig struct {
	// ClientID and ClientSecret are what Fly.io issued.
	ClientID     string
	ClientSecret string

	// StateKey signs what travels through the browser to Fly.io and back. It is
	// 32 random bytes or more, the same on every machine of the service, and
	// nothing that is used elsewhere: whoever has it can forge handshakes.
	StateKey string
	// OldStateKeys are accepted as well. To change the key so that no handshake
	// breaks: deploy the new one here, on every machine; then swap the two; ten
	// minutes later drop the old one.
	OldStateKeys []string

	// OrganizationOf returns the id of the Fly.io organization that an
	// extension belongs to now, or [NotFound]. Strangers choose the id. It is
	// asked when a handshake begins and once more when it ends, since an
	// extension may be gone or have moved by then. It must heed its context.
	OrganizationOf func(ctx context.Context, extensionID string) (organizationID string, err error)

	// SignIn starts the service's own session for a user who may enter, under
	// a session id that is new, and answers with a redirect to the screen of
	// id.ExtensionID. The page headers that it finds set are strict: see
	// [SignOn]. Where it refuses the user, it returns an error, preferably an
	// *[Error], and leaves the answer alone. An error after an answer breaks
	// the connection.
	SignIn func(w http.ResponseWriter, r *http.Request, id *Identity) error

	// SignedIn, which may be nil, returns the URL of the screen to show to a
	// browser that has a session of the service already, or "". It must look
	// whether the session's user may see this very destination.
	SignedIn func(r *http.Request, to Destination) (location string)

	// Roles are the roles in the organization that may enter; nil means "admin"
	// and "member". Generation 1 proves nothing but "admin".
	Roles []string

	// Generation is the version of Fly.io's sign-on; 0 means [Generation2].
	//
	// [Generation1] asks for {"organization_id":…,"permission":"admin"} as the
	// scope, and takes the success of the exchange for the proof. That scope
	// travels through the user's browser, where it can be edited. If Fly.io's
	// answer repeats it, it is compared; if the answer has none, or "read", the
	// proof is only as good as Fly.io's refusal of every scope but that one, and
	// without it anybody with an account might enter everywhere. Prefer
	// [Generation2].
	Generation Generation

	// OAuthURL is where the OAuth server is, without its paths /oauth/…;
	// "" means https://api.fly.io, and https://fly.io in [Generation1]. It is
	// https, or plain http on a loopback address, for tests.
	OAuthURL string

	// HTTPClient is used, without its redirects, to ask Fly.io; nil means one
	// with [http.DefaultTransport].
	HTTPClient *http.Client

	// Timeout bounds what OrganizationOf and Fly.io together take of one
	// request; 0 means 10 seconds.
	Timeout time.Duration
}

// Format implements [fmt.Formatter]: whatever the verb, no secret is printed.
func (s SSOConfig) Format(f fmt.State, _ rune) { redactedFormat(f, "SSOConfig") }

// LogValue implements [slog.LogValuer].
func (s SSOConfig) LogValue() slog.Value { return slog.StringValue("SSOConfig(" + redacted + ")") }

// MarshalText implements [encoding.TextMarshaler]. It leaves everything out.
func (s SSOConfig) MarshalText() ([]byte, error) { return []byte("SSOConfig(" + redacted + ")"), nil }

// A Destination is what a user wants to see: an extension or, with the
// OrganizationID alone, everything that an organization has.
type Destination struct {
	ExtensionID    string
	OrganizationID string
}

// An Identity is a user of whom Fly.io said that they may enter, and where to.
//
// In [Generation1] the success of the exchange proves that somebody is an
// admin of the organization, and Fly.io does not say who: Role is "admin", and
// UserID, Name, Email and Organizations are empty.
type Identity struct {
	// UserID is Fly.io's id of the user, and the key to know the user by: names
	// and addresses change hands.
	UserID string
	Name   string
	// Email is an alias that reaches the user.
	Email string

	// ExtensionID is the extension that the user came for, or "" if the
	// handshake began for an organization.
	ExtensionID string
	// OrganizationID is the organization of that extension, and Role the user's
	// role in it: one of [SSOConfig.Roles].
	OrganizationID string
	Role           string

	// Organizations are all those that the user is in, as far as Fly.io says.
	Organizations []Membership

	// Generation says how Role was proven.
	Generation Generation
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
	defaultSSOTimeout = 10 * time.Second
	minStateKey       = 32   // bytes: RFC 7518, section 3.2
	maxID             = 1024 // bytes of an id that a stranger has us look for
	maxCode           = 2048 // bytes of a code that a stranger has us pass on
	roleAdmin         = "admin"
	roleMember        = "member"
)

// A SignOn takes browsers through the handshake of OAuth 2.0 (RFC 6749,
// section 4.1, with the PKCE of RFC 7636): [SignOn.Begin] sends one to Fly.io,
// [SignOn.Callback] receives it back and hands the user to [SSOConfig.SignIn].
// [Provider] has one inside; a service that keeps routes of its own uses one
// directly.
//
// It keeps nothing, so the two halves may run on different machines: what
// belongs to a handshake is in the signed state, which Fly.io sends back, and
// in a cookie, which binds the state to the browser and makes it work once.
// Keep the routes that call Begin below the path of [Config.BaseURL], where
// that cookie is sent, or else their cookies cannot be counted and kept few.
// The cookie cannot be kept from other sites of the same registrable domain,
// so host nobody else's content on such a one.
//
// Every answer of it carries Cache-Control: no-store, Referrer-Policy:
// no-referrer, a Content-Security-Policy that allows nothing, and
// X-Content-Type-Options: nosniff. A refusal is a page for a person, or the
// JSON of an [Error] if the request accepts JSON and no HTML. It redirects to
// Fly.io and to where SSO's functions say, never to where a request says.
//
// It is safe for concurrent use.
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

// NewSignOn returns the sign-on of a configuration, of which it uses BaseURL,
// SSO, Now and Logger. It fails on whatever would be insecure or fail later: a
// required field that is missing, a state key that is short, plain http beyond
// loopback, roles that nobody can have.
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
	if !isSecureURL(base) {
		return nil, errors.New("flyext: SSO needs a Config.BaseURL that is https, or http on a loopback address")
	}
	server, err := url.Parse(sso.OAuthURL)
	if err != nil || !isSecureURL(server) || server.User != nil || server.RawQuery != "" || server.Fragment != "" {
		return nil, errors.New("flyext: SSOConfig.OAuthURL is no https URL, nor http on a loopback address")
	}
	s := &SignOn{
		sso: sso, base: base, secure: base.Scheme == "https", now: c.Now, log: c.Logger,
		oauth: oauth2.Config{
			ClientID: sso.ClientID, ClientSecret: sso.ClientSecret,
			RedirectURL: base.String() + callbackPath,
			Endpoint: oauth2.Endpoint{
				AuthURL:  server.JoinPath("oauth", "authorize").String(),
				TokenURL: server.JoinPath("oauth", "token").String(),
				// To find out the style costs a request, and a code works once.
				AuthStyle: oauth2.AuthStyleInParams,
			},
		},
		infoURL: server.JoinPath("oauth", "token", "info").String(),
		client:  withoutRedirects(sso.HTTPClient),
	}
	for _, key := range append([]string{sso.StateKey}, sso.OldStateKeys...) {
		s.keys = append(s.keys, []byte(key))
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.cookie("x", "x").Valid(); err != nil {
		return nil, fmt.Errorf("flyext: the path of Config.BaseURL cannot be a cookie's: %w", err)
	}
	return s, nil
}

// withDefaults returns a checked copy.
func (s *SSOConfig) withDefaults() (SSOConfig, error) {
	d := *s
	if d.Generation == 0 {
		d.Generation = Generation2
	}
	if d.Roles == nil {
		d.Roles = []string{roleAdmin, roleMember}
	}
	d.Roles = slices.Clone(d.Roles)
	if d.Timeout == 0 {
		d.Timeout = defaultSSOTimeout
	}
	if d.OAuthURL == "" {
		d.OAuthURL = generation2URL
		if d.Generation == Generation1 {
			d.OAuthURL = generation1URL
		}
	}
	short := func(key string) bool { return len(key) < minStateKey }
	switch {
	case d.ClientID == "" || d.ClientSecret == "":
		return d, errors.New("flyext: SSOConfig.ClientID or SSOConfig.ClientSecret is missing")
	case short(d.StateKey) || slices.ContainsFunc(d.OldStateKeys, short):
		return d, fmt.Errorf("flyext: SSOConfig.StateKey or one of SSOConfig.OldStateKeys is shorter than %d bytes", minStateKey)
	case d.OrganizationOf == nil || d.SignIn == nil:
		return d, errors.New("flyext: SSOConfig.OrganizationOf or SSOConfig.SignIn is missing")
	case d.Generation != Generation1 && d.Generation != Generation2:
		return d, errors.New("flyext: SSOConfig.Generation is unknown")
	case len(d.Roles) == 0 || slices.Contains(d.Roles, ""):
		return d, errors.New("flyext: SSOConfig.Roles is empty or has an empty role")
	case d.Generation == Generation1 && !slices.Contains(d.Roles, roleAdmin):
		return d, errors.New("flyext: SSOConfig.Roles is without admin, the only role in generation 1")
	case d.Timeout < 0:
		return d, errors.New("flyext: SSOConfig.Timeout is negative")
	}
	return d, nil
}

// isSecureURL says whether what is sent to a URL stays between browser, machine
// and TLS.
func isSecureURL(u *url.URL) bool {
	host := u.Hostname()
	switch u.Scheme {
	case "https":
		return host != ""
	case "http":
		addr, err := netip.ParseAddr(host)
		return host == "localhost" || err == nil && addr.IsLoopback()
	}
	return false
}

// Begin answers a GET from a customer's browser: with a redirect to Fly.io or,
// where [SSOConfig.SignedIn] knows the browser, to the destination. Any other method
// is refused with 405, an extension that [SSOConfig.OrganizationOf] does not know as
// that says.
//
// Only one of the destination's fields is needed. An OrganizationID beside an
// ExtensionID must be the extension's, or there is nothing to be found (404).
func (s *SignOn) Begin(w http.ResponseWriter, r *http.Request, to Destination) {
	name := ""
	if to.ExtensionID != "" {
		name = routeSSO
	}
	s.serve(w, r, name, func(w *answerWriter, r *http.Request, rec *record) error {
		ctx, cancel := context.WithTimeout(r.Context(), s.sso.Timeout)
		defer cancel()
		to, err := s.resolve(ctx, to)
		if err != nil {
			return err
		}
		rec.extensionID = to.ExtensionID
		if s.sso.SignedIn != nil {
			if location := s.sso.SignedIn(r, to); location != "" {
				return redirect(w, location)
			}
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
	errNoAnswer       = errors.New("flyext: SSOConfig.SignIn neither answered nor returned an error")
)

// resolve completes a destination. An organization without an id would be
// everybody's.
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

// Callback answers the GET that Fly.io sends the browser back with: it checks
// that this browser began the handshake, trades the code for who the user is,
// and hands the user to [SSOConfig.SignIn] if they may enter. It is to be mounted at
// {base}/callback; as an [http.Handler] it is http.HandlerFunc(s.Callback).
func (s *SignOn) Callback(w http.ResponseWriter, r *http.Request) {
	s.serve(w, r, callbackPath, func(w *answerWriter, r *http.Request, rec *record) error {
		ctx, cancel := context.WithTimeout(r.Context(), s.sso.Timeout)
		defer cancel()
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return signOnError(CodeInvalidState, errQuery)
		}
		to, nonce, err := s.openState(only(query, "state"))
		if err != nil {
			return err
		}
		verifier, err := s.unbind(w, r, nonce)
		if err != nil {
			return err
		}
		rec.extensionID = to.ExtensionID
		if query.Has("error") {
			return authorizeError(only(query, "error"))
		}
		code := only(query, "code")
		if code == "" || len(code) > maxCode {
			return signOnError(CodeMissingCode, nil)
		}
		if err := s.stillThere(ctx, to); err != nil {
			return err
		}
		id, err := s.identify(ctx, to, code, verifier)
		if err != nil {
			return err
		}
		if err := s.sso.SignIn(w, r, id); err != nil {
			return err
		}
		if !w.wrote {
			return errNoAnswer
		}
		return nil
	})
}

// stillThere asks again what was asked ten minutes ago: who may see an
// extension is decided by where it belongs now. The signed organization is
// compared because generation 1 proves membership of that one.
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

// only returns the one value of a parameter. RFC 6749, section 3.1, allows no
// second one, and two of them are two readings.
func only(query url.Values, name string) string {
	if len(query[name]) != 1 {
		return ""
	}
	return query[name][0]
}

// serveBrowser serves the routes that no signature is asked for.
func (p *Provider) serveBrowser(w http.ResponseWriter, r *http.Request, to route) {
	switch {
	case p.signOn == nil:
		none := &SignOn{log: p.log}
		none.serve(w, r, to.name, func(*answerWriter, *http.Request, *record) error {
			return Unsupported("This provider has no sign-on with Fly.io.")
		})
	case to.name == routeSSO:
		p.signOn.Begin(w, r, Destination{ExtensionID: to.id})
	default:
		p.signOn.Callback(w, r)
	}
}
