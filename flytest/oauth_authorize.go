package flytest

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/flyext/flyext"
)

// An authorization is a provider's authorization request (RFC 6749, section 4.1.1).
type authorization struct {
	redirectURL    string
	scope          string
	challenge      string // of PKCE; "" without PKCE
	organizationID string // the user must be an admin of it; "" in generation 2
}

// A grant is the state of a code.
type grant struct {
	authorization
	choice      Choice
	expires     time.Time
	accessToken string    // issued for the code; "" until the code is used
	forget      time.Time // when the code and its access token have expired
}

// A protocolError is an error of RFC 6749, section 4.1.2.1 or 5.2.
type protocolError struct {
	code, description string
}

func (s *OAuthServer) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	// The form posts to the page's own URL, so GET and POST both have the
	// parameters in the query, and both check them.
	query := r.URL.Query()
	if refusal := s.checkClient(query); refusal != "" {
		s.refusePage(w, http.StatusBadRequest, refusal)
		return
	}
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		s.refusePage(w, http.StatusForbidden, "Another site sent this form. Begin again at the application.")
		return
	}
	asked, failed := s.readAuthorization(query)
	if failed != nil {
		redirectBack(w, query, failed.values())
		return
	}
	var choice Choice
	switch automatic := s.automaticChoice(); {
	case r.Method == http.MethodGet && automatic == nil:
		s.choicePage(w, query, asked)
		return
	case r.Method == http.MethodGet:
		choice = *automatic
	default:
		var ok bool
		if choice, ok = submittedChoice(r.PostForm); !ok {
			s.refusePage(w, http.StatusBadRequest, "The form has no known action. Go back and choose Sign in or Cancel.")
			return
		}
	}
	answer, err := s.grant(asked, choice)
	if err != nil {
		s.refusePage(w, http.StatusBadRequest, "This choice is not possible: "+err.Error()+". Go back and choose again.")
		return
	}
	redirectBack(w, query, answer)
}

// submittedChoice returns the choice that the form of the page carries. ok is false if
// the form has no known action.
func submittedChoice(form url.Values) (choice Choice, ok bool) {
	switch form.Get("action") {
	case "cancel":
		return Choice{Error: "access_denied"}, true
	case "sign-in":
		return Choice{UserID: form.Get("user"), OrganizationID: form.Get("organization"), Role: form.Get("role")}, true
	}
	return Choice{}, false
}

func (s *OAuthServer) automaticChoice() *Choice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.choice
}

// checkClient returns a text for the page if the client or the redirect URL is
// invalid, otherwise "". Such an error must not be redirected, because the sender of
// the URL could then redirect the browser anywhere (RFC 6749, section 4.1.2.1).
func (s *OAuthServer) checkClient(query url.Values) (refusal string) {
	clientID, redirectURL := query["client_id"], query["redirect_uri"]
	switch {
	case len(clientID) != 1 || clientID[0] != s.ClientID:
		return "client_id is missing, duplicated or unknown. Configure the application with the client id of this server."
	case len(redirectURL) != 1 || !slices.Contains(s.RedirectURLs, redirectURL[0]):
		return "redirect_uri is missing, duplicated or not registered. Register the callback URL of the application with this server."
	}
	return ""
}

// challengeSize is the length of a SHA-256 in base64url without padding.
var challengeSize = base64.RawURLEncoding.EncodedLen(32)

func (s *OAuthServer) readAuthorization(query url.Values) (authorization, *protocolError) {
	for name, values := range query {
		if len(values) > 1 {
			return authorization{}, &protocolError{"invalid_request", "duplicate parameter: " + name}
		}
	}
	a := authorization{
		redirectURL: query.Get("redirect_uri"), scope: query.Get("scope"), challenge: query.Get("code_challenge"),
	}
	switch responseType := query.Get("response_type"); responseType {
	case "code":
	case "":
		return a, &protocolError{"invalid_request", "response_type is missing"}
	default:
		return a, &protocolError{"unsupported_response_type", "response_type must be code"}
	}
	switch method := query.Get("code_challenge_method"); {
	case a.challenge == "" && method == "": // PKCE is optional
	case method != "S256": // a missing method means plain: RFC 7636, section 4.3
		return a, &protocolError{"invalid_request", "code_challenge_method must be S256"}
	case len(a.challenge) != challengeSize:
		return a, &protocolError{"invalid_request", "code_challenge must be a SHA-256 in base64url without padding"}
	}
	if s.Generation != flyext.Generation1 {
		if a.scope != "read" {
			return a, &protocolError{"invalid_scope", "scope must be read"}
		}
		return a, nil
	}
	var scope struct {
		OrganizationID string `json:"organization_id"`
		Permission     string `json:"permission"`
	}
	err := jsonv2.Unmarshal([]byte(a.scope), &scope, jsonv2.RejectUnknownMembers(true))
	if err != nil || scope.OrganizationID == "" || scope.Permission != "admin" {
		return a, &protocolError{"invalid_scope", "scope must be a JSON object with organization_id and the permission admin"}
	}
	a.organizationID = scope.OrganizationID
	return a, nil
}

// grant returns the parameters of the redirect: a code or an error.
func (s *OAuthServer) grant(asked authorization, choice Choice) (url.Values, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, err := s.grantable(choice)
	if err != nil {
		return nil, err
	}
	if choice.Error != "" {
		return (&protocolError{code: choice.Error}).values(), nil
	}
	admin := func(m UserOrganization) bool { return m.OrganizationID == asked.organizationID && m.Role == "admin" }
	if asked.organizationID != "" && !slices.ContainsFunc(choice.memberships(user), admin) {
		return (&protocolError{"access_denied", "the user is not an admin of the organization"}).values(), nil
	}
	s.sweep()
	code := rand.Text()
	expires := s.now().Add(cmp.Or(s.CodeLifetime, defaultCodeLifetime))
	if s.grants == nil {
		s.grants = make(map[string]*grant)
	}
	s.grants[code] = &grant{authorization: asked, choice: choice, expires: expires, forget: expires}
	return url.Values{"code": {code}}, nil
}

// grantable returns the user of a choice, or an error if the page does not offer the
// choice. The caller holds the lock.
func (s *OAuthServer) grantable(c Choice) (User, error) {
	if c.Error != "" {
		return User{}, nil
	}
	i := slices.IndexFunc(s.users, func(u User) bool { return u.ID == c.UserID })
	if i < 0 {
		return User{}, fmt.Errorf("there is no user %q", c.UserID)
	}
	organizations, roles := s.offered()
	known := func(o organization) bool { return o.ID == c.OrganizationID }
	if c.OrganizationID != "" && !slices.ContainsFunc(organizations, known) {
		return User{}, errors.New("no user is in this organization")
	}
	if c.Role != "" && !slices.Contains(roles, c.Role) {
		return User{}, errors.New("no user has this role")
	}
	return s.users[i], nil
}

// memberships returns the memberships of a user that a token of this choice has.
func (c Choice) memberships(u User) []UserOrganization {
	if c.OrganizationID != "" && c.Role != "" {
		return []UserOrganization{{OrganizationID: c.OrganizationID, Role: c.Role}}
	}
	told := []UserOrganization{}
	for _, m := range u.Organizations {
		if c.OrganizationID != "" && m.OrganizationID != c.OrganizationID {
			continue
		}
		m.Role = cmp.Or(c.Role, m.Role)
		told = append(told, m)
	}
	return told
}

// sweep deletes expired codes and tokens, which bounds the memory of a long-running
// server. The caller holds the lock.
func (s *OAuthServer) sweep() {
	now := s.now()
	for code, g := range s.grants {
		if now.After(g.forget) {
			delete(s.grants, code)
		}
	}
	for text, t := range s.tokens {
		if now.After(t.expires) {
			delete(s.tokens, text)
		}
	}
	for text, t := range s.refreshable {
		if now.After(t.expires.Add(refreshLifetime)) {
			delete(s.refreshable, text)
		}
	}
}

func (e *protocolError) values() url.Values {
	v := url.Values{"error": {e.code}}
	if e.description != "" {
		v.Set("error_description", e.description)
	}
	return v
}

// redirectBack redirects the browser to the provider with 303, so that the browser
// does not send the form again (RFC 9700, section 4.12). The query has been checked.
func redirectBack(w http.ResponseWriter, query, answer url.Values) {
	target, err := url.Parse(query.Get("redirect_uri"))
	if err != nil {
		panic(err) // a registered URL has been parsed before
	}
	if state := query["state"]; len(state) == 1 { // a duplicate state is an error and not returned
		answer.Set("state", state[0])
	}
	if target.RawQuery != "" { // is kept: RFC 6749, section 3.1.2
		target.RawQuery += "&"
	}
	target.RawQuery += answer.Encode()
	w.Header().Set("Location", target.String())
	w.WriteHeader(http.StatusSeeOther)
}
