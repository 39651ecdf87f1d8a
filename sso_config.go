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
	"strings"
	"time"
)

// An SSOConfig configures Fly.io's single sign-on. ClientID, ClientSecret, StateKey,
// OrganizationOf and SignIn are required. Register the redirect URL {base}/callback
// with Fly.io. It prints and logs without its secrets.
//
// As [Config.SSO] it makes the [Provider] serve the handshake. [NewSignOn] is for a
// service with routes of its own.
//
// See https://fly.io/docs/reference/extensions_api/#single-sign-on-flow.
type SSOConfig struct {
	// ClientID and ClientSecret are issued by Fly.io.
	ClientID     string
	ClientSecret string

	// StateKey signs the state that travels through the browser to Fly.io and back.
	// It is 32 random bytes or more, the same on every machine of the service, and
	// used for nothing else: an attacker who has it can forge handshakes.
	StateKey string
	// OldStateKeys are accepted as well. To change the key without breaking a
	// handshake, deploy the new key here on every machine, then swap the two, and
	// remove the old one ten minutes later.
	OldStateKeys []string

	// OrganizationOf returns the id of the Fly.io organization that an extension
	// belongs to now, or [NotFound]. A stranger can choose the id. It is called when
	// a handshake begins and again when it ends, because the extension may be gone
	// or have moved by then. It must heed its context.
	OrganizationOf func(ctx context.Context, extensionID string) (organizationID string, err error)

	// OrganizationExists reports whether the service knows an organization. It makes
	// the [Provider] serve GET {base}/organizations/{organization_id}/sso, the
	// dashboard of an organization; nil answers that route with 501. It is called at
	// the end of the handshake, for a proven member of the organization, so the route
	// tells a stranger nothing. An organization that it does not know is a 404.
	OrganizationExists func(ctx context.Context, organizationID string) (bool, error)

	// SignIn starts the service's own session for a user who may enter, under a new
	// session id, and answers with a redirect to the screen of id.ExtensionID, or of
	// id.OrganizationID if the former is empty. Strict page headers are set already;
	// see [SignOn]. To refuse the user, return an error, preferably an *[Error],
	// without an answer. An error after an answer breaks the connection.
	SignIn func(w http.ResponseWriter, r *http.Request, id *Identity) error

	// SignedIn returns the URL of the screen for a browser that has a session of the
	// service already, or ""; nil means that no browser has. It must check that the
	// user of the session may see this very destination.
	SignedIn func(r *http.Request, to Destination) (location string)

	// Refused answers a handshake that fails with a page of the service's own; nil
	// means the page of flyext. The page headers are set already; see [SignOn].
	// e.Message is text for a person. Refused must answer with e.Status.
	Refused func(w http.ResponseWriter, r *http.Request, e *Error)
	// StartAgain is the command that begins the sign-in, such as "flyctl ext logjam
	// dashboard". The page of flyext shows it; "" shows none.
	StartAgain string

	// Roles are the roles in the organization that may enter; nil means "admin" and
	// "member". Generation 1 proves only "admin".
	Roles []string

	// KeepGrant makes [Identity.Grant] available, to ask Fly.io later whether the
	// user still belongs to the organization. Fly.io sends no notice when a user
	// leaves. It needs [Generation2].
	KeepGrant bool

	// Generation is the version of Fly.io's sign-on; 0 means [Generation2].
	//
	// [Generation1] asks for {"organization_id":…,"permission":"admin"} as the scope,
	// and takes the success of the exchange for the proof. That scope travels through
	// the user's browser, where it can be edited. If Fly.io's answer repeats it, it
	// is compared. If the answer has none, or "read", the proof depends on Fly.io's
	// refusal of every other scope; without that refusal, each user of Fly.io might
	// enter everywhere. Prefer [Generation2].
	Generation Generation

	// OAuthURL is the URL of the OAuth server, without its paths /oauth/…; "" means
	// https://api.fly.io, and https://fly.io in [Generation1]. It must be https, or
	// plain http on a loopback address, for tests.
	OAuthURL string
	// InsecureAllowHTTP allows plain http on any host, for OAuthURL and for
	// Config.BaseURL. Everyone on the network between can then sign in as any user.
	// Its legitimate use is a test between containers.
	InsecureAllowHTTP bool

	// HTTPClient asks Fly.io, and follows no redirects; nil means a client with
	// [http.DefaultTransport].
	HTTPClient *http.Client

	// Timeout bounds the time of OrganizationOf and Fly.io together for one request;
	// 0 means 10 seconds, and the maximum is 24 hours.
	Timeout time.Duration
}

// Format implements [fmt.Formatter]. It leaves the secrets out, for each verb.
func (s SSOConfig) Format(f fmt.State, _ rune) { redactedFormat(f, "SSOConfig") }

// LogValue implements [slog.LogValuer].
func (s SSOConfig) LogValue() slog.Value { return slog.StringValue("SSOConfig(" + redacted + ")") }

// MarshalText implements [encoding.TextMarshaler]. It leaves everything out.
func (s SSOConfig) MarshalText() ([]byte, error) { return []byte("SSOConfig(" + redacted + ")"), nil }

// withDefaults returns a checked copy with the defaults.
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
	case d.KeepGrant && d.Generation == Generation1:
		return d, errors.New("flyext: SSOConfig.KeepGrant needs Generation2")
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
	}
	return d, checkDuration("SSOConfig.Timeout", d.Timeout)
}

// isAllowedURL reports whether secrets may be sent to a URL.
func (s *SSOConfig) isAllowedURL(u *url.URL) bool {
	return isSecureURL(u) || s.InsecureAllowHTTP && u.Scheme == "http" && u.Hostname() != ""
}

// isSecureURL reports whether a URL is https, or http on a loopback address.
func isSecureURL(u *url.URL) bool {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	switch u.Scheme {
	case "https":
		return host != ""
	case "http":
		addr, err := netip.ParseAddr(host)
		return host == "localhost" || err == nil && addr.IsLoopback()
	}
	return false
}
