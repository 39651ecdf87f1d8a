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

// An OAuthServer simulates Fly.io's sign-on for one provider. Use it in Go tests,
// or with a browser. It is an [http.Handler]; configure the provider with its URL
// as [flyext.SSOConfig.OAuthURL]:
//
//	GET  /oauth/authorize   shows a page to choose a user or to cancel
//	POST /oauth/authorize   redirects with a code or an error
//	POST /oauth/token       exchanges a code or a refresh token for an access token
//	                        (RFC 6749, sections 4.1.3 and 6)
//	GET  /oauth/token/info  describes an access token (generation 2 only)
//
// ClientID, ClientSecret and RedirectURLs are required. Call [OAuthServer.SetUsers]
// to add users; a new server has no users. Set the fields before the first method call
// and do not change them afterwards. All methods are safe for concurrent use. They
// panic if the configuration is invalid, so that a test reports the mistake.
//
// The server is strict where Fly.io may be lenient, so that a provider that works
// with the server also works with Fly.io:
//
//   - It compares redirect URLs byte by byte.
//   - It refuses duplicate parameters (RFC 6749, section 3.1).
//   - It accepts the client's credentials only as form parameters.
//   - It accepts only S256 as the method of PKCE (RFC 7636). PKCE is optional.
//   - A code works once, for a short time, and only with the redirect URL and the
//     PKCE verifier of its authorize request. Reuse of a code revokes the access
//     token that it was exchanged for (RFC 6749, section 4.1.2).
//   - A refresh token works once.
//
// The page needs no script. A browser test can use these ids of elements:
//
//   - "authorize": the form
//   - "organization": a select element with "" and the ids of organizations
//   - "role": a select element with "" and the roles
//   - "sign-in" and "cancel": the buttons
//   - "refusal": the reason, on a page that refuses a request
//
// Each user has a radio button with the name "user" and the user's id as its value.
// [Choice] explains the values.
//
// The page's Content-Security-Policy allows the form to lead to the origins of
// RedirectURLs only. Chromium applies the policy to each later redirect as well. If
// [flyext.SSOConfig.SignIn] redirects to another origin, add a URL of that origin to
// RedirectURLs.
//
// See https://fly.io/docs/reference/extensions_api/#single-sign-on-flow.
type OAuthServer struct {
	// ClientID and ClientSecret are the provider's OAuth credentials.
	ClientID     string
	ClientSecret string

	// RedirectURLs are the callback URLs that the provider registered, such as
	// "https://logjam.io/flyio/callback". The server redirects to no other URL.
	RedirectURLs []string

	// Generation is the version of the sign-on; 0 means [flyext.Generation2].
	// In [flyext.Generation1] the scope names an organization, and only its
	// admins get a code.
	Generation flyext.Generation

	// Now is the clock for the expiry of codes and tokens; nil means [time.Now].
	Now func() time.Time

	// CodeLifetime is the time for which a code is valid; 0 means one minute. A
	// provider normally uses a code at once.
	CodeLifetime time.Duration

	// TokenLifetime is the time for which an access token is valid; 0 means two
	// hours.
	TokenLifetime time.Duration

	mu       sync.Mutex
	users    []User
	choice   *Choice
	faults   map[string]Fault
	requests []OAuthRequest
	held     int               // approximate size of requests in bytes
	grants   map[string]*grant // by code
	tokens   map[string]*token // by access token

	refreshable map[string]*token // by refresh token
}

// A User is a user of the simulated Fly.io. Users sign in on the page of an
// [OAuthServer] or by [OAuthServer.SetChoice].
type User struct {
	ID   string
	Name string
	// Email is the user's alias; "" means {ID}@customer.fly.io.
	Email string
	// Organizations are the user's memberships.
	Organizations []UserOrganization
}

// A UserOrganization is the membership of a [User] in an organization.
type UserOrganization struct {
	OrganizationID string
	// OrganizationName appears on the page only. Fly.io does not send it to the
	// provider.
	OrganizationName string
	// Role is the user's role, such as "admin" or "member".
	Role string
}

// A Choice is a user's choice on the authorize page.
type Choice struct {
	// UserID is the id of the user that signs in.
	UserID string

	// OrganizationID limits the token to one organization; "" means all of the
	// user's organizations.
	OrganizationID string

	// Role replaces the user's roles; "" keeps them. Together with
	// OrganizationID it applies even if the user is not in that organization.
	Role string

	// Error is the OAuth error that the redirect carries instead of an
	// authorization code. Cancel sends "access_denied". RFC 6749, section 4.1.2.1
	// lists others. If Error is set, the other fields are ignored.
	Error string
}

// The paths of the endpoints, for [OAuthServer.SetFault] and [OAuthRequest].
const (
	AuthorizeEndpoint = "/oauth/authorize"
	TokenEndpoint     = "/oauth/token"
	TokenInfoEndpoint = "/oauth/token/info"
)

const (
	defaultCodeLifetime  = time.Minute
	defaultTokenLifetime = 2 * time.Hour
	maxForm              = 64 << 10 // bytes of a request body
	maxRequests          = 1000     // recorded requests; bounds the memory of a long-running server
	maxRemembered        = 4 << 20  // approximate bytes of all recorded requests
	maxRememberedForm    = 64 << 10 // approximate bytes of one recorded form
)

// SetUsers replaces the users. Existing tokens then describe the new memberships of
// their user. Tokens of a removed user become invalid. SetUsers panics if an id is
// empty or a duplicate, or if a membership lacks its OrganizationID or Role.
func (s *OAuthServer) SetUsers(users ...User) {
	s.check()
	all := make([]User, 0, len(users))
	for _, u := range users {
		if u.ID == "" || slices.ContainsFunc(all, func(other User) bool { return other.ID == u.ID }) {
			panic(fmt.Sprintf("flytest: a user's id is empty or a duplicate: %q", u.ID))
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

// SetChoice makes the authorize endpoint apply c instead of showing its page. An
// [http.Client] with cookies then completes the handshake by following redirects.
// nil restores the page. SetChoice panics if the page would not offer the choice.
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

// SetFault makes an endpoint, such as [TokenEndpoint], answer with a fault until the
// next call of SetFault for that endpoint. nil removes the fault. SetFault panics on
// an unknown endpoint.
func (s *OAuthServer) SetFault(endpoint string, f Fault) {
	s.check()
	switch endpoint {
	case AuthorizeEndpoint, TokenEndpoint, TokenInfoEndpoint:
	default:
		panic(fmt.Sprintf("flytest: unknown endpoint %q", endpoint))
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
	// Form holds the parameters of the query and the body. The value of
	// client_secret is replaced by "[redacted]"; codes and verifiers are
	// unchanged. Form is nil if the parameters are larger than about 64 KiB.
	Form url.Values
}

// Requests returns the received requests, oldest first, including those that a
// [Fault] answered. The server keeps at most the last 1000 requests, or about 4 MiB.
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

// sizeOfForm estimates the memory of a form in bytes. Many short parameters need
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
		s.refusePage(w, http.StatusBadRequest, "The parameters are malformed.")
	case malformed != nil:
		writeOAuthError(w, http.StatusBadRequest, "invalid_request", "the parameters are malformed")
	default:
		s.faulty(r.URL.Path, endpoint.serve).ServeHTTP(w, r)
	}
}

// faulty returns the endpoint's handler with the current fault applied.
func (s *OAuthServer) faulty(endpoint string, sound http.Handler) http.Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fault := s.faults[endpoint]; fault != nil {
		return fault(sound)
	}
	return sound
}

// check panics if a field is missing or invalid.
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
			panic(fmt.Sprintf("flytest: OAuthServer.RedirectURLs: %q must be an absolute http or https URL without a fragment", registered))
		}
	}
}

func (s *OAuthServer) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// Format implements [fmt.Formatter]. It prints a placeholder without secrets for
// every verb.
func (s *OAuthServer) Format(f fmt.State, _ rune) { io.WriteString(f, redactedOAuthServer) }

// LogValue implements [slog.LogValuer]. It returns a placeholder without secrets.
func (s *OAuthServer) LogValue() slog.Value { return slog.StringValue(redactedOAuthServer) }

const redactedOAuthServer = "OAuthServer([redacted])"

// setNoStore keeps answers out of caches (RFC 6749, section 5.1).
func setNoStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
}
