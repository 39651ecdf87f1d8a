package flyext_test

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"testing"

	"github.com/flyext/flyext"
)

// An attacker uses a stolen code of a victim's handshake in a handshake of their own.
// PKCE ties the code to the victim's handshake.
func TestCodeInjection(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	attacker, victim := st.browser(), st.browser()
	stolen := parameter(t, victim.authorize(victim.begin("x1")), "code")
	callback := attacker.authorize(attacker.begin("x1"))
	st.wantRefusal(attacker.get(edit(t, callback, "code", stolen)), http.StatusForbidden, flyext.CodeInvalidGrant)
}

// An attacker uses a code that Fly.io issued to another OAuth client.
func TestCodeInjectionFromAnotherClientsFlow(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	callback := b.authorize(edit(t, b.begin("x1"), "client_id", "another-client"))
	st.wantRefusal(b.get(callback), http.StatusForbidden, flyext.CodeInvalidGrant)
}

// The token is genuine, but was issued to another application. Without this check,
// the owner of any application could sign in as its users.
func TestTokenOfAForeignApplication(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	st.fly.application = "another-client"
	b := st.browser()
	st.wantRefusal(b.get(b.authorize(b.begin("x1"))), http.StatusForbidden, flyext.CodeForeignToken)
}

func TestTokenOfANamelessApplication(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	st.fly.info = func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, 200, `{"user_id":"u1","organizations":[{"id":"o1","role":"admin"}],"application":{"uid":""}}`)
	}
	b := st.browser()
	st.wantRefusal(b.get(b.authorize(b.begin("x1"))), http.StatusForbidden, flyext.CodeForeignToken)
}

// An organization id that is not UTF-8 cannot be part of a scope, so the handshake
// fails.
func TestScopeThatIsNoText(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t, func(s *flyext.SSOConfig) { s.Generation = flyext.Generation1 })
	st.move("x1", "\xff")
	if p := st.browser().get(ssoBase + "/extensions/x1/sso"); p.status != http.StatusInternalServerError || p.location() != "" {
		t.Errorf("got %d to %q", p.status, p.location())
	}
}

// A user who is an admin of one organization tries to open the extension of another.
func TestOrganizationConfusion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		attack func(st *ssoTest, b *browser) page
		status int
		code   string
	}{
		"not in the organization": {func(st *ssoTest, b *browser) page {
			return b.get(b.authorize(b.begin("x3")))
		}, 403, flyext.CodeNotAMember},
		"code of one extension, state of another": {func(st *ssoTest, b *browser) page {
			mine, theirs := b.authorize(b.begin("x1")), b.authorize(b.begin("x3"))
			return b.get(edit(t, theirs, "code", parameter(t, mine, "code")))
		}, 403, flyext.CodeInvalidGrant},
		"cookie of one extension, state of another": {func(st *ssoTest, b *browser) page {
			mine := b.authorize(b.begin("x1"))
			theirs := st.browser()
			callback := theirs.authorize(theirs.begin("x3"))
			return b.get(edit(t, callback, "code", parameter(t, mine, "code")))
		}, 403, flyext.CodeUnknownHandshake},
		"the extension moved during the handshake": {func(st *ssoTest, b *browser) page {
			callback := b.authorize(b.begin("x1"))
			st.move("x1", "o3")
			return b.get(callback)
		}, 409, flyext.CodeConflict},
		"the extension moved to another organization of the user": {func(st *ssoTest, b *browser) page {
			callback := b.authorize(b.begin("x1"))
			st.move("x1", "o2")
			return b.get(callback)
		}, 409, flyext.CodeConflict},
		"the extension is gone": {func(st *ssoTest, b *browser) page {
			callback := b.authorize(b.begin("x1"))
			st.mu.Lock()
			delete(st.org, "x1")
			st.mu.Unlock()
			return b.get(callback)
		}, 404, flyext.CodeNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t)
			st.wantRefusal(c.attack(st, st.browser()), c.status, c.code)
		})
	}
}

// In generation 1 the scope names the organization. An attacker edits the scope in the
// authorize URL to an organization where they are an admin.
func TestOrganizationConfusionByEditedScope(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edited string
		says   func(granted string) string
		enter  bool
	}{
		"unchanged":                        {`{"organization_id":"o3","permission":"admin"}`, nil, true},
		"other JSON with the same meaning": {`{"permission": "admin", "organization_id": "o3"}`, nil, true},
		"another organization":             {`{"organization_id":"o1","permission":"admin"}`, nil, false},
		"another permission":               {`{"organization_id":"o3","permission":"member"}`, nil, false},
		"no organization":                  {`{"permission":"admin"}`, nil, false},
		"two organizations":                {`{"organization_id":"o1","organization_id":"o3","permission":"admin"}`, nil, false},
		"broken JSON":                      {`{"organization_id":"o3","permission":"admin"`, nil, false},
		"a word before it":                 {`read {"organization_id":"o1","permission":"admin"}`, nil, false},
		"space before it":                  {` {"organization_id":"o1","permission":"admin"}`, nil, false},
		"words in place of it":             {`o1:admin`, nil, false},
		"a list in place of it":            {`["organization_id","o3"]`, nil, false},
		"escaped":                          {`%7B%22organization_id%22%3A%22o3%22%7D`, nil, false},
		"the answer says nothing":          {`{"organization_id":"o3","permission":"admin"}`, func(string) string { return "" }, true},
		"the answer says \"read\"":         {`{"organization_id":"o3","permission":"admin"}`, func(string) string { return "read" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t, func(s *flyext.SSOConfig) { s.Generation = flyext.Generation1 })
			st.fly.scope = c.says
			b := st.browser()
			p := b.get(b.authorize(edit(t, b.begin("x3"), "scope", c.edited)))
			if c.enter {
				if len(st.signedIn) != 1 {
					t.Errorf("got %d %s, want a sign-in", p.status, p.body)
				}
				return
			}
			st.wantRefusal(p, http.StatusForbidden, flyext.CodeNotAMember)
		})
	}
}

// In generation 1 the scope proves the membership, in generation 2 the list of
// organizations. A handshake that starts in one generation and ends in the other
// would check neither, so it is refused.
func TestMixOfGenerations(t *testing.T) {
	t.Parallel()
	for _, begun := range []flyext.Generation{flyext.Generation1, flyext.Generation2} {
		t.Run(fmt.Sprintf("begun as %d", begun), func(t *testing.T) {
			t.Parallel()
			as := func(g flyext.Generation) func(*flyext.SSOConfig) {
				return func(s *flyext.SSOConfig) { s.Generation = g }
			}
			st := newSSOTest(t, as(begun))
			b := st.browser()
			callback := b.authorize(b.begin("x3"))
			st.world["logjam.io"] = st.newProvider(as(3 - begun))
			st.wantRefusal(b.get(callback), http.StatusBadRequest, flyext.CodeInvalidState)
		})
	}
}

func TestSSORoles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		accepted []string
		role     []string // of the user in o1, one for each membership
		want     string   // "" if the user is refused
		code     string
	}{
		"admin":                   {nil, []string{"admin"}, "admin", ""},
		"member":                  {nil, []string{"member"}, "member", ""},
		"unknown role":            {nil, []string{"auditor"}, "", flyext.CodeRoleNotAccepted},
		"no role":                 {nil, []string{""}, "", flyext.CodeRoleNotAccepted},
		"other case":              {nil, []string{"Admin"}, "", flyext.CodeRoleNotAccepted},
		"two roles":               {nil, []string{"auditor", "member"}, "member", ""},
		"admins only, member":     {[]string{"admin"}, []string{"member"}, "", flyext.CodeRoleNotAccepted},
		"admins only, admin":      {[]string{"admin"}, []string{"admin"}, "admin", ""},
		"another configured role": {[]string{"auditor"}, []string{"auditor"}, "auditor", ""},
		"no membership":           {nil, nil, "", flyext.CodeNotAMember},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t, func(s *flyext.SSOConfig) { s.Roles = c.accepted })
			st.fly.organizations = []map[string]string{{"id": "o9", "role": "admin"}, {"id": "O1", "role": "admin"}}
			for _, role := range c.role {
				st.fly.organizations = append(st.fly.organizations, map[string]string{"id": "o1", "role": role})
			}
			b := st.browser()
			p := b.get(b.authorize(b.begin("x1")))
			if c.want == "" {
				st.wantRefusal(p, http.StatusForbidden, c.code)
			} else if len(st.signedIn) != 1 || st.signedIn[0].Role != c.want {
				t.Errorf("got %d %s, %+v, want a sign-in as %s", p.status, p.body, st.signedIn, c.want)
			}
		})
	}
}

// The form of the code exchange has exactly these fields.
func TestExchangeForm(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	var got url.Values
	var authorization string
	st.fly.token = func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		got, authorization = r.PostForm, r.Header.Get("Authorization")
		answerJSON(w, http.StatusBadRequest, `{"error":"invalid_grant"}`)
	}
	b := st.browser()
	callback := b.authorize(b.begin("x1"))
	verifier := onlyCookie(t, b, callback).Value
	b.get(callback)
	want := url.Values{
		"client_id": {ssoClientID}, "client_secret": {ssoSecret}, "grant_type": {"authorization_code"},
		"code": {parameter(t, callback, "code")}, "redirect_uri": {ssoBase + "/callback"}, "code_verifier": {verifier},
	}
	if !reflect.DeepEqual(got, want) || authorization != "" {
		t.Errorf("the form is %v, want %v; Authorization is %q, want none", got, want, authorization)
	}
	if st.fly.calls != 1 {
		t.Errorf("%d calls for one code, want 1", st.fly.calls)
	}
}

// SSOConfig.HTTPClient is copied, so that the service's other uses of it still follow
// redirects.
func TestHTTPClientIsNotChanged(t *testing.T) {
	t.Parallel()
	client := &http.Client{}
	newSSOTest(t, func(s *flyext.SSOConfig) { s.HTTPClient = client })
	if client.CheckRedirect != nil || client.Transport != nil {
		t.Errorf("the client was changed: %+v", client)
	}
}
