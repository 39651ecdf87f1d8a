package flytest

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
)

// A token is the state of an access token and its refresh token.
type token struct {
	scope   string
	choice  Choice
	created time.Time
	expires time.Time
}

// tokenAnswer is a success of the token endpoint (RFC 6749, section 5.1) with the
// members that Fly.io sends.
type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
	CreatedAt    int64  `json:"created_at"`
}

// tokenInfo is the answer of the token info endpoint.
type tokenInfo struct {
	ResourceOwnerID string             `json:"resource_owner_id"`
	UserID          string             `json:"user_id"`
	UserName        string             `json:"user_name"`
	Email           string             `json:"email"`
	Organizations   []toldOrganization `json:"organizations"`
	Scope           []string           `json:"scope"`
	ExpiresIn       int64              `json:"expires_in"` // seconds
	Application     struct {
		UID string `json:"uid"`
	} `json:"application"`
	CreatedAt int64 `json:"created_at"`
}

type toldOrganization struct {
	ID   string `json:"id"`
	Role string `json:"role"`
}

func (s *OAuthServer) serveToken(w http.ResponseWriter, r *http.Request) {
	if !s.checkTokenRequest(w, r) {
		return
	}
	answer, failed := s.exchangeGrant(r.PostForm)
	if failed != nil {
		writeOAuthError(w, http.StatusBadRequest, failed.code, failed.description)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// checkTokenRequest checks the form of a request and the credentials of the client. If
// one of them is wrong, it writes the answer and returns false.
func (s *OAuthServer) checkTokenRequest(w http.ResponseWriter, r *http.Request) bool {
	// RFC 6749, section 2.3.1 also allows Basic, but Fly.io documents the form only.
	if len(r.Header.Values("Authorization")) > 0 {
		w.Header().Set("WWW-Authenticate", "Basic") // RFC 6749, section 5.2
		writeOAuthError(w, http.StatusUnauthorized, "invalid_client", "send client_id and client_secret in the form, not in Authorization")
		return false
	}
	contentType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || contentType != "application/x-www-form-urlencoded" {
		writeOAuthError(w, http.StatusBadRequest, "invalid_request", "Content-Type must be application/x-www-form-urlencoded")
		return false
	}
	for name, values := range r.PostForm {
		if len(values) > 1 {
			writeOAuthError(w, http.StatusBadRequest, "invalid_request", "duplicate parameter: "+name)
			return false
		}
	}
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if subtle.ConstantTimeCompare([]byte(id), []byte(s.ClientID))&
		subtle.ConstantTimeCompare([]byte(secret), []byte(s.ClientSecret)) != 1 {
		writeOAuthError(w, http.StatusUnauthorized, "invalid_client", "client_id or client_secret is missing or wrong")
		return false
	}
	return true
}

// exchangeGrant returns a token for the code or the refresh token in a form, or the
// error of the answer.
func (s *OAuthServer) exchangeGrant(form url.Values) (tokenAnswer, *protocolError) {
	var answer tokenAnswer
	var refusal string
	switch form.Get("grant_type") {
	case "authorization_code":
		for _, name := range []string{"code", "redirect_uri"} {
			if form.Get(name) == "" {
				return tokenAnswer{}, &protocolError{"invalid_request", name + " is missing"}
			}
		}
		answer, refusal = s.redeem(form.Get("code"), form.Get("redirect_uri"), form.Get("code_verifier"))
	case "refresh_token":
		answer, refusal = s.refresh(form.Get("refresh_token"))
	case "":
		return tokenAnswer{}, &protocolError{"invalid_request", "grant_type is missing"}
	default:
		return tokenAnswer{}, &protocolError{"unsupported_grant_type", "grant_type must be authorization_code or refresh_token"}
	}
	if refusal != "" {
		return tokenAnswer{}, &protocolError{"invalid_grant", refusal}
	}
	return answer, nil
}

// refreshLifetime is the time for which a refresh token is valid after its access
// token has expired.
const refreshLifetime = 30 * 24 * time.Hour

// refresh exchanges a refresh token for a new token (RFC 6749, section 6), or returns
// the reason of its refusal. A refresh token works once.
func (s *OAuthServer) refresh(refreshToken string) (answer tokenAnswer, refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.refreshable[refreshToken]
	if t == nil {
		return answer, "refresh_token is unknown or already used"
	}
	delete(s.refreshable, refreshToken)
	return s.issue(t.scope, t.choice), ""
}

// issue makes an access token and its refresh token. The caller holds the lock.
func (s *OAuthServer) issue(scope string, choice Choice) tokenAnswer {
	now, lifetime := s.now(), cmp.Or(s.TokenLifetime, defaultTokenLifetime)
	if s.tokens == nil {
		s.tokens, s.refreshable = make(map[string]*token), make(map[string]*token)
	}
	t := &token{scope: scope, choice: choice, created: now, expires: now.Add(lifetime)}
	access, refresh := "fo1_"+rand.Text(), rand.Text()
	s.tokens[access], s.refreshable[refresh] = t, t
	return tokenAnswer{
		AccessToken: access, TokenType: "Bearer", ExpiresIn: int64(lifetime / time.Second),
		RefreshToken: refresh, Scope: scope, CreatedAt: now.Unix(),
	}
}

// redeem exchanges a code for a token, or returns the reason of its refusal. Only a
// success uses up a code.
func (s *OAuthServer) redeem(code, redirectURL, verifier string) (answer tokenAnswer, refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	g := s.grants[code]
	switch {
	case g == nil:
		return answer, "code is unknown or expired"
	case g.accessToken != "":
		delete(s.tokens, g.accessToken)
		return answer, "code is already used; its access token is now revoked"
	case !now.Before(g.expires):
		return answer, "code is unknown or expired"
	case redirectURL != g.redirectURL:
		return answer, "redirect_uri differs from that of the authorize request"
	case g.challenge == "" && verifier != "":
		// An attacker may have removed the challenge from the authorize URL to inject
		// a code of their own (RFC 9700, section 4.8.2).
		return answer, "unexpected code_verifier: the authorize request had no code_challenge"
	case g.challenge != "" && !proves(verifier, g.challenge):
		return answer, "code_verifier is missing or wrong"
	}
	answer = s.issue(g.scope, g.choice)
	g.accessToken, g.forget = answer.AccessToken, s.tokens[answer.AccessToken].expires
	return answer, ""
}

// proves reports whether verifier matches challenge (RFC 7636, section 4.6).
func proves(verifier, challenge string) bool {
	const minVerifier, maxVerifier = 43, 128 // RFC 7636, section 4.1
	if len(verifier) < minVerifier || len(verifier) > maxVerifier {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	computed := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(computed), []byte(challenge)) == 1
}

func (s *OAuthServer) serveTokenInfo(w http.ResponseWriter, r *http.Request) {
	scheme, accessToken, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || accessToken == "" { // RFC 9110, section 11.1: case-insensitive
		w.Header().Set("WWW-Authenticate", "Bearer") // RFC 6750, section 3
		writeOAuthError(w, http.StatusUnauthorized, "invalid_request", "send the access token as Authorization: Bearer")
		return
	}
	info, ok := s.introspect(accessToken)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		writeOAuthError(w, http.StatusUnauthorized, "invalid_token", "the access token is unknown, expired or revoked")
		return
	}
	writeJSON(w, http.StatusOK, info)
}

func (s *OAuthServer) introspect(accessToken string) (tokenInfo, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	t := s.tokens[accessToken]
	if t == nil || !now.Before(t.expires) {
		return tokenInfo{}, false
	}
	for _, u := range s.users {
		if u.ID != t.choice.UserID {
			continue
		}
		info := tokenInfo{
			ResourceOwnerID: u.ID, UserID: u.ID, UserName: u.Name, Email: u.email(),
			Organizations: []toldOrganization{}, Scope: []string{t.scope},
			ExpiresIn: int64(t.expires.Sub(now) / time.Second), CreatedAt: t.created.Unix(),
		}
		info.Application.UID = s.ClientID
		for _, m := range t.choice.memberships(u) {
			info.Organizations = append(info.Organizations, toldOrganization{m.OrganizationID, m.Role})
		}
		return info, true
	}
	return tokenInfo{}, false
}

func (u User) email() string { return cmp.Or(u.Email, u.ID+"@customer.fly.io") }

// writeOAuthError answers in the shape of RFC 6749, section 5.2.
func writeOAuthError(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}

func writeJSON(w http.ResponseWriter, status int, answer any) {
	body, err := jsonv2.Marshal(answer)
	if err != nil {
		panic("flytest: " + err.Error()) // a name or an id is not UTF-8
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body) // fails only if the client has disconnected
}
