package flyext

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// An SSOConfig configures Fly.io's single sign-on. ClientID, ClientSecret, StateKey,
// OrganizationOf and SignIn are required. Register the redirect URL {base}/callback
// with Fly.io. Printing and logging redact everything. The functions must be safe for
// concurrent use.
//
// Set it as [Config.SSO], and the [Provider] serves the handshake. Use [NewSignOn] for
// the service's own routes.
//
// See https://fly.io/docs/reference/extensions_api/#single-sign-on-flow.
type SSOConfig struct {
	hidden `json:"-"`

	// ClientID and ClientSecret are issued by Fly.io.
	ClientID     string
	ClientSecret string

	// StateKey signs the state that travels through the browser to Fly.io and back.
	// Use at least 32 random bytes, the same on every machine, and for no other
	// purpose: an attacker who has the key can forge handshakes.
	StateKey string
	// OldStateKeys are accepted, too. Each needs at least 32 bytes. To change the key
	// without breaking a handshake, add the new key here on every machine, then swap the
	// two, and remove the old key ten minutes later.
	OldStateKeys []string

	// OrganizationOf returns the id of the Fly.io organization that an extension
	// belongs to now, or the error [NotFound]. Anyone can choose the extension id. It is
	// called at the beginning and at the end of a handshake, because the extension may be
	// removed or moved in between. It must return when its context ends.
	OrganizationOf func(ctx context.Context, extensionID string) (organizationID string, err error)

	// OrganizationExists reports whether the service knows an organization. It enables
	// GET {base}/organizations/{organization_id}/sso, the dashboard of an organization;
	// nil disables the route with 501. An unknown organization gets 404. It is called
	// at the end of the handshake, so only a member learns the result.
	OrganizationExists func(ctx context.Context, organizationID string) (bool, error)

	// SignIn starts the service's own session, with a new session id, and redirects to
	// the screen of id.ExtensionID or, if that is empty, of id.OrganizationID. Strict
	// page headers are already set; see [SignOn]. To refuse the user, return an error,
	// preferably an *[Error], and write no response. An error after a response breaks
	// the connection.
	SignIn func(w http.ResponseWriter, r *http.Request, id *Identity) error

	// SignedIn returns the URL of the destination's screen if the browser has a session
	// of the service, or "". It must check that the user of the session may see the
	// destination. nil always runs the handshake.
	SignedIn func(r *http.Request, to Destination) (location string)

	// Refused responds to a failed handshake with the service's own page; nil means the
	// page of flyext. It is not called if the client prefers JSON. The page headers are
	// already set; see [SignOn]. e.Message is text for a person. Refused must write
	// e.Status.
	Refused func(w http.ResponseWriter, r *http.Request, e *Error)
	// StartAgain is the command that begins the sign-in, such as "flyctl ext logjam
	// dashboard", for the page of flyext; "" shows none.
	StartAgain string

	// Roles are the roles in the organization that may enter; nil means "admin" and
	// "member". Generation 1 proves only "admin".
	Roles []string

	// KeepGrant sets [Identity.Grant], which lets [SignOn.Recheck] ask Fly.io later
	// whether the user still belongs to the organization. It needs [Generation2].
	KeepGrant bool

	// Generation is the version of Fly.io's sign-on; 0 means [Generation2].
	//
	// Prefer [Generation2]. [Generation1] requests the scope
	// {"organization_id":…,"permission":"admin"}, and a successful exchange is the
	// proof. The user can edit that scope in the browser. flyext compares it with the
	// scope in Fly.io's response. If the response has no scope, or "read", the proof
	// depends on Fly.io's refusal of edited scopes; without that refusal, any user of
	// Fly.io could enter any organization.
	Generation Generation

	// OAuthURL is the URL of the OAuth server, without its paths /oauth/…; "" means
	// https://api.fly.io, or https://fly.io in [Generation1]. It must be https, or
	// plain http on a loopback address for tests, without user, query and fragment.
	OAuthURL string
	// InsecureAllowHTTP allows plain http on any host, for OAuthURL and for
	// Config.BaseURL. An attacker on the network can then sign in as any user. Use it
	// only for tests between containers.
	InsecureAllowHTTP bool

	// HTTPClient sends the requests to Fly.io, without following redirects; nil means a
	// client with [http.DefaultTransport].
	HTTPClient *http.Client

	// Timeout bounds OrganizationOf, OrganizationExists and the requests to Fly.io,
	// together, for one request or one [SignOn.Recheck]; 0 means 10 seconds, and the
	// maximum is 24 hours.
	Timeout time.Duration
}

// withDefaults returns a checked copy with the defaults.
func (s *SSOConfig) withDefaults() (SSOConfig, error) {
	d := *s
	d.Generation = cmp.Or(d.Generation, Generation2)
	d.Timeout = cmp.Or(d.Timeout, defaultSSOTimeout)
	if d.Roles == nil {
		d.Roles = []string{roleAdmin, roleMember}
	}
	d.Roles = slices.Clone(d.Roles)
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
		return d, fmt.Errorf("flyext: SSOConfig.StateKey or one of SSOConfig.OldStateKeys is shorter than %d bytes; use random bytes", minStateKey)
	case d.OrganizationOf == nil || d.SignIn == nil:
		return d, errors.New("flyext: SSOConfig.OrganizationOf or SSOConfig.SignIn is missing")
	case d.Generation != Generation1 && d.Generation != Generation2:
		return d, errors.New("flyext: SSOConfig.Generation is unknown; use Generation1 or Generation2")
	case len(d.Roles) == 0 || slices.Contains(d.Roles, ""):
		return d, errors.New("flyext: SSOConfig.Roles is empty or has an empty role")
	case d.Generation == Generation1 && !slices.Contains(d.Roles, roleAdmin):
		return d, errors.New("flyext: SSOConfig.Roles must contain admin, the only role in generation 1")
	}
	return d, checkDuration("SSOConfig.Timeout", d.Timeout)
}

// isAllowedURL reports whether secrets may be sent to a URL: https, http on a loopback
// address or, with insecure, http on any host.
func isAllowedURL(u *url.URL, insecure bool) bool {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	switch u.Scheme {
	case "https":
		return host != ""
	case "http":
		addr, err := netip.ParseAddr(host)
		return host == "localhost" || err == nil && addr.IsLoopback() || insecure && host != ""
	}
	return false
}
