package flytest

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/flyext/flyext"
)

// An OAuthServer plays Fly.io's sign-on towards one provider, for tests in Go
// and for a person with a browser. It is an [http.Handler], whose URL is the
// provider's [flyext.SSO.OAuthURL]:
//
//	GET  /oauth/authorize   a page to choose a user on, or to cancel
//	POST /oauth/authorize   the choice: redirects with a code, or an error
//	POST /oauth/token       a code for an access token (RFC 6749, section 4.1.3)
//	GET  /oauth/token/info  whose token it is; in generation 1 there is none
//
// ClientID, ClientSecret and RedirectURLs are required, and there is nobody to
// sign in before [OAuthServer.SetUsers]. The fields are set before the first
// call of a method and then left alone; what a test changes as it goes on has
// a method. All methods are safe for concurrent use, and panic on a mistake in
// the configuration, as a test is better told than answered.
//
// It is strict where Fly.io may be lenient, so that a provider that gets along
// with it gets along with Fly.io: redirect URLs are compared byte by byte, a
// parameter comes once (RFC 6749, section 3.1), credentials come as members of
// the form and nowhere else, PKCE is S256 or not there (RFC 7636). A code works
// once, for a short time, with the redirect URL and the PKCE verifier that it
// was asked for with; if it comes again, the token that was got for it is
// revoked (RFC 6749, section 4.1.2). A refresh token works once.
//
// The page needs no script. A browser test finds on it, by their id: the form
// "authorize"; a radio button for each user, whose name is "user" and whose
// value the user's id; the select elements "organization", whose values are ""
// and the ids of organizations, and "role", whose values are "" and roles; the
// buttons "sign-in" and "cancel". See [Choice] for what they mean. A page that
// refuses has the element "refusal". The page's Content-Security-Policy lets
// the form lead to the origins of RedirectURLs and to no other: Chromium holds
// every redirect that follows to that too, so a service whose [flyext.SSOConfig.SignIn]
// goes on to another origin lists a URL of that one as well.
//
// See https://fly.io/docs/reference/extensions_api/#single-sign-on-flow.
type OAuthServer struct {
	// ClientID and ClientSecret are what the provider was issued.
	ClientID     string
	ClientSecret string

	// RedirectURLs are those that the provider registered, such as
	// "https://logjam.io/flyio/callback". A browser is sent to no other.
	RedirectURLs []string

	// Generation is the version of the sign-on; 0 means [flyext.Generation2].
	// In [flyext.Generation1] the scope names an organization, and only its
	// admins get a code.
	Generation flyext.Generation

	// Now is the clock by which codes and tokens expire; nil means [time.Now].
	Now func() time.Time

	// CodeLifetime is how long a code works; 0 means one minute, which is
	// enough for a provider that redeems it at once.
	CodeLifetime time.Duration

	// TokenLifetime is how long an access token works; 0 means two hours.
	TokenLifetime time.Duration

	mu       sync.Mutex
	users    []User
	choice   *Choice
	faults   map[string]Fault
	requests []OAuthRequest
	held     int               // bytes of requests, about
	grants   map[string]*grant // by code
	tokens   map[string]*token // by access token

	refreshable map[string]*token // by refresh token
}

// A User is somebody who can sign in with Fly.io.
type User struct {
	ID   string
	Name string
	// Email is the user's alias; "" means {ID}@customer.fly.io.
	Email string
	// Organizations are those that the user is in.
	Organizations []UserOrganization
}

// A UserOrganization is an organization that a [User] belongs to, with the role.
type UserOrganization struct {
	OrganizationID string
	// OrganizationName is for the page alone: Fly.io does not tell it.
	OrganizationName string
	// Role is "admin" or "member".
	Role string
}

// A Choice is what a person chooses on the authorize page.
type Choice struct {
	UserID string

	// OrganizationID narrows what the token tells to one organization; "" means
	// all that the user is in.
	OrganizationID string

	// Role is played instead of the user's own, in OrganizationID even if the
	// user is not in it; "" means that the roles stay what they are.
	Role string

	// Error is sent back instead of a code: "access_denied" is what Cancel does,
	// others are in RFC 6749, section 4.1.2.1. With it, UserID does not matter.
	Error string
}

// The endpoints, as paths: what [OAuthServer.SetFault] takes and
// [OAuthRequest] has.
const (
	AuthorizeEndpoint = "/oauth/authorize"
	TokenEndpoint     = "/oauth/token"
	TokenInfoEndpoint = "/oauth/token/info"
)

const (
	defaultCodeLifetime  = time.Minute
	defaultTokenLifetime = 2 * time.Hour
	maxForm              = 64 << 10 // bytes; of the last ones all is remembered
	maxRequests          = 1000     // remembered, so that a server for people can run for long
	maxRemembered        = 4 << 20  // bytes of the remembered requests, about
	maxRememberedForm    = 64 << 10 // bytes of one of them, about
)

// SetUsers replaces the users. Tokens follow: from then on they tell the new
// organizations of their user, and those of a user who is gone do not work.
func (s *OAuthServer) SetUsers(users ...User) {
	s.check()
	all := make([]User, 0, len(users))
	for _, u := range users {
		if u.ID == "" || slices.ContainsFunc(all, func(other User) bool { return other.ID == u.ID }) {
			panic(fmt.Sprintf("flytest: a user's id is empty or not the only one: %q", u.ID))
		}
		for _, m := range u.Organizations {
			if m.OrganizationID == "" || m.Role == "" {
				panic(fmt.Sprintf("flytest: user %q has a membership without organization or role", u.ID))
			}
		}
		u.Organizations = slices.Clone(u.Organizations)
		all = append(all, u)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users = all
}

// SetChoice makes the authorize endpoint choose for itself instead of showing
// its page, so that an [http.Client] with cookies comes through the whole
// handshake by following redirects. It must be one that the page would offer. A
// nil choice brings the page back.
func (s *OAuthServer) SetChoice(c *Choice) {
	s.check()
	s.mu.Lock()
	defer s.mu.Unlock()
	if c == nil {
		s.choice = nil
		return
	}
	if _, err := s.grantable(*c); err != nil {
		panic("flytest: SetChoice: " + err.Error())
	}
	chosen := *c
	s.choice = &chosen
}

// SetFault spoils the answers of an endpoint until the next call for it; nil
// mends it.
func (s *OAuthServer) SetFault(endpoint string, f Fault) {
	s.check()
	switch endpoint {
	case AuthorizeEndpoint, TokenEndpoint, TokenInfoEndpoint:
	default:
		panic(fmt.Sprintf("flytest: there is no endpoint %q", endpoint))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults == nil {
		s.faults = make(map[string]Fault)
	}
	s.faults[endpoint] = f
}

// An OAuthRequest is a request that an [OAuthServer] received.
type OAuthRequest struct {
	Method string
	Path   string
	// Form holds the parameters of query and body, with "[redacted]" in place
	// of a client secret. Codes and verifiers are there as they came. It is nil
	// if the parameters are too large to be remembered.
	Form url.Values
}

// Requests returns the requests received so far, the oldest first, faults or
// not. It returns the last thousand at most, and fewer if they are large.
func (s *OAuthServer) Requests() []OAuthRequest {
	s.check()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]OAuthRequest, 0, len(s.requests))
	for _, r := range s.requests {
		r.Form = cloneForm(r.Form)
		all = append(all, r)
	}
	return all
}

func (s *OAuthServer) record(r *http.Request) {
	seen := OAuthRequest{Method: r.Method, Path: r.URL.Path}
	if sizeOfForm(r.Form) <= maxRememberedForm {
		seen.Form = cloneForm(r.Form)
		if seen.Form.Has("client_secret") {
			seen.Form.Set("client_secret", "[redacted]")
		}
	}
	if len(seen.Path) > maxRememberedForm {
		seen.Path = seen.Path[:maxRememberedForm]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, seen)
	s.held += seen.size()
	for len(s.requests) > maxRequests || s.held > maxRemembered {
		s.held -= s.requests[0].size()
		s.requests = slices.Delete(s.requests, 0, 1)
	}
}

func (r OAuthRequest) size() int { return len(r.Method) + len(r.Path) + sizeOfForm(r.Form) }

// sizeOfForm is about how many bytes a form takes: many short parameters take
// far more than their text.
func sizeOfForm(form url.Values) int {
	size := 128
	for name, values := range form {
		size += 64 + len(name)
		for _, value := range values {
			size += 32 + len(value)
		}
	}
	return size
}

func cloneForm(form url.Values) url.Values { return url.Values(http.Header(form).Clone()) }

// ServeHTTP implements [http.Handler].
func (s *OAuthServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.check()
	setNoStore(w.Header())
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	malformed := r.ParseForm()
	s.record(r)

	endpoint := map[string]struct {
		methods []string
		serve   http.HandlerFunc
	}{
		AuthorizeEndpoint: {[]string{http.MethodGet, http.MethodPost}, s.serveAuthorize},
		TokenEndpoint:     {[]string{http.MethodPost}, s.serveToken},
		TokenInfoEndpoint: {[]string{http.MethodGet}, s.serveTokenInfo},
	}[r.URL.Path]
	switch {
	case endpoint.serve == nil, r.URL.Path == TokenInfoEndpoint && s.Generation == flyext.Generation1:
		http.NotFound(w, r)
	case !slices.Contains(endpoint.methods, r.Method):
		for _, method := range endpoint.methods {
			w.Header().Add("Allow", method)
		}
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case malformed != nil && r.URL.Path == AuthorizeEndpoint:
		s.refusePage(w, http.StatusBadRequest, "The parameters cannot be read.")
	case malformed != nil:
		writeOAuthError(w, http.StatusBadRequest, "invalid_request", "the parameters cannot be read")
	default:
		s.faulty(r.URL.Path, endpoint.serve).ServeHTTP(w, r)
	}
}

// faulty returns what serves an endpoint now.
func (s *OAuthServer) faulty(endpoint string, sound http.Handler) http.Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fault := s.faults[endpoint]; fault != nil {
		return fault(sound)
	}
	return sound
}

// check panics if the fields are not what a server can be made of.
func (s *OAuthServer) check() {
	switch {
	case s.ClientID == "" || s.ClientSecret == "":
		panic("flytest: OAuthServer.ClientID or ClientSecret is missing")
	case len(s.RedirectURLs) == 0:
		panic("flytest: OAuthServer.RedirectURLs is missing")
	case s.Generation != 0 && s.Generation != flyext.Generation1 && s.Generation != flyext.Generation2:
		panic("flytest: OAuthServer.Generation is unknown")
	case s.CodeLifetime < 0 || s.TokenLifetime < 0:
		panic("flytest: OAuthServer.CodeLifetime or TokenLifetime is negative")
	}
	for _, registered := range s.RedirectURLs {
		// RFC 6749, section 3.1.2: absolute, and without a fragment.
		u, err := url.Parse(registered)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Fragment != "" {
			panic(fmt.Sprintf("flytest: %q in OAuthServer.RedirectURLs is no http or https URL without a fragment", registered))
		}
	}
}

func (s *OAuthServer) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// Format implements [fmt.Formatter]: whatever the verb, no secret is printed.
func (s *OAuthServer) Format(f fmt.State, _ rune) { io.WriteString(f, redactedOAuthServer) }

// LogValue implements [slog.LogValuer].
func (s *OAuthServer) LogValue() slog.Value { return slog.StringValue(redactedOAuthServer) }

const redactedOAuthServer = "OAuthServer([redacted])"

// setNoStore keeps answers out of caches (RFC 6749, section 5.1).
func setNoStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
}
