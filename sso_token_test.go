package flyext_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

// The attacker has a code that Fly.io issued in somebody else's handshake, and
// a handshake and browser of their own. PKCE ties the code to the other one.
func TestCodeInjection(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	attacker, victim := st.browser(), st.browser()
	stolen := parameter(t, victim.authorize(victim.begin("x1")), "code")
	callback := attacker.authorize(attacker.begin("x1"))
	st.wantRefusal(attacker.get(edit(t, callback, "code", stolen)), http.StatusForbidden, flyext.CodeInvalidGrant)
}

// The code was issued to another client of Fly.io's, whose flow the attacker
// controls.
func TestCodeInjectionFromAnotherClientsFlow(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	callback := b.authorize(edit(t, b.begin("x1"), "client_id", "another-client"))
	st.wantRefusal(b.get(callback), http.StatusForbidden, flyext.CodeInvalidGrant)
}

// The token is genuine and was issued to another application. A provider that
// looks at the user alone lets every application's owner in.
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

// What an answer says counts, and not what its Content-Type calls it.
func TestInvalidGrantAsText(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	st.fly.token = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
	}
	b := st.browser()
	st.wantRefusal(b.get(b.authorize(b.begin("x1"))), http.StatusForbidden, flyext.CodeInvalidGrant)
}

// A failure need not be JSON.
func TestInvalidGrantAsForm(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	st.fly.token = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-www-form-urlencoded")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "error=invalid_grant")
	}
	b := st.browser()
	st.wantRefusal(b.get(b.authorize(b.begin("x1"))), http.StatusForbidden, flyext.CodeInvalidGrant)
}

// An organization whose name is no text is no scope of everybody's.
func TestScopeThatIsNoText(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t, func(s *flyext.SSOConfig) { s.Generation = flyext.Generation1 })
	st.move("x1", "\xff")
	if p := st.browser().get(ssoBase + "/extensions/x1/sso"); p.status != http.StatusInternalServerError || p.location() != "" {
		t.Errorf("got %d to %q", p.status, p.location())
	}
}

// The user is an admin of one organization and wants into the extension of
// another.
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
		"the extension moved meanwhile": {func(st *ssoTest, b *browser) page {
			callback := b.authorize(b.begin("x1"))
			st.move("x1", "o3")
			return b.get(callback)
		}, 409, flyext.CodeConflict},
		"the extension moved to another one of the user's": {func(st *ssoTest, b *browser) page {
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

// In generation 1 the organization is in the scope, which the attacker edits in
// the authorize URL to one that they are an admin of.
func TestOrganizationConfusionByEditedScope(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edited string
		says   func(granted string) string
		enter  bool
	}{
		"as it was":                {`{"organization_id":"o3","permission":"admin"}`, nil, true},
		"written otherwise":        {`{"permission": "admin", "organization_id": "o3"}`, nil, true},
		"another organization":     {`{"organization_id":"o1","permission":"admin"}`, nil, false},
		"another permission":       {`{"organization_id":"o3","permission":"member"}`, nil, false},
		"no organization":          {`{"permission":"admin"}`, nil, false},
		"two organizations":        {`{"organization_id":"o1","organization_id":"o3","permission":"admin"}`, nil, false},
		"broken JSON":              {`{"organization_id":"o3","permission":"admin"`, nil, false},
		"a word before it":         {`read {"organization_id":"o1","permission":"admin"}`, nil, false},
		"space before it":          {` {"organization_id":"o1","permission":"admin"}`, nil, false},
		"words in place of it":     {`o1:admin`, nil, false},
		"a list in place of it":    {`["organization_id","o3"]`, nil, false},
		"escaped":                  {`%7B%22organization_id%22%3A%22o3%22%7D`, nil, false},
		"the answer says nothing":  {`{"organization_id":"o3","permission":"admin"}`, func(string) string { return "" }, true},
		"the answer says \"read\"": {`{"organization_id":"o3","permission":"admin"}`, func(string) string { return "read" }, true},
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

// A state of generation 1 asks for the organization in the scope, one of
// generation 2 for the list of organizations. Begun as one and ended as the
// other, neither would be looked at.
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
		role     []string // of the user in o1, one for each entry
		want     string   // "" where the user may not enter
		code     string
	}{
		"admin":               {nil, []string{"admin"}, "admin", ""},
		"member":              {nil, []string{"member"}, "member", ""},
		"unknown role":        {nil, []string{"auditor"}, "", flyext.CodeRoleNotAccepted},
		"no role":             {nil, []string{""}, "", flyext.CodeRoleNotAccepted},
		"other case":          {nil, []string{"Admin"}, "", flyext.CodeRoleNotAccepted},
		"two roles":           {nil, []string{"auditor", "member"}, "member", ""},
		"admins only, member": {[]string{"admin"}, []string{"member"}, "", flyext.CodeRoleNotAccepted},
		"admins only, admin":  {[]string{"admin"}, []string{"admin"}, "admin", ""},
		"role of our own":     {[]string{"auditor"}, []string{"auditor"}, "auditor", ""},
		"in nothing":          {nil, nil, "", flyext.CodeNotAMember},
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

const (
	// As the protocol's page has them.
	recordedToken = `{"access_token": "fo1_1", "token_type": "Bearer", "expires_in": 7200, "refresh_token": "r1", "scope": "read", "created_at": 1683733170}`
	recordedInfo  = `{"resource_owner_id": "k9d01lp82rky6vo2", "user_id": "k9d01lp82rky6vo2", "user_name": "Nathan", "email": "k9d01lp82rky6vo2@customer.fly.io",
   "organizations": [{"id": "g1lx9my4pzemqwk7", "role": "admin"}, {"id": "0vogzmzoj1k5xp29", "role": "admin"}], "scope": ["read"],
   "expires_in": 7200, "application": {"uid": "elMJpuhA5bXb"}, "created_at": 1686786353}`
)

func TestAnswersOfFly(t *testing.T) {
	t.Parallel()
	const minimal = `{"user_id":"u1","organizations":[{"id":"g1lx9my4pzemqwk7","role":"admin"}]}`
	token := func(s string) [2]string { return [2]string{s, recordedInfo} }
	info := func(s string) [2]string { return [2]string{recordedToken, s} }
	for name, c := range map[string]struct {
		answers [2]string // to token and token/info
		logged  string    // the reason why it is refused, or "" where it is not
	}{
		"as recorded": {[2]string{recordedToken, recordedInfo}, ""},

		"token: no token_type":         {token(`{"access_token":"a"}`), ""},
		"token: token_type null":       {token(`{"access_token":"a","token_type":null}`), ""},
		"token: token_type lower":      {token(`{"access_token":"a","token_type":"bearer"}`), ""},
		"token: expires_in as text":    {token(`{"access_token":"a","expires_in":"7200"}`), ""},
		"token: expires_in null":       {token(`{"access_token":"a","expires_in":null}`), ""},
		"token: unknown members":       {token(`{"access_token":"a","x":{"y":[1]},"z":null}`), ""},
		"token: no access_token":       {token(`{"token_type":"Bearer"}`), `"access_token" must be a string that is not empty`},
		"token: empty access_token":    {token(`{"access_token":""}`), `"access_token" must be a string that is not empty`},
		"token: access_token a number": {token(`{"access_token":7}`), `"access_token" must be a string`},
		"token: expires_in a digit":    {token(`{"access_token":"a","expires_in":7}`), ""},
		"token: twice":                 {token(`{"access_token":"a","access_token":"b"}`), "names a member twice"},
		"token: an array":              {token(`[]`), "not an object"},
		"token: HTML":                  {token(`<html>`), "not JSON"},
		"token: form":                  {token(`access_token=a`), "not JSON"},
		"token: nothing":               {token(``), "is empty"},
		"token: an error, with 200":    {token(`{"error":"server_error"}`), `error "server_error"`},

		// Members that decide nothing fail nothing.
		"token: token_type a number":     {token(`{"access_token":"a","token_type":7}`), ""},
		"token: expires_in a fraction":   {token(`{"access_token":"a","expires_in":7200.0}`), ""},
		"token: expires_in an exponent":  {token(`{"access_token":"a","expires_in":7.2e3}`), ""},
		"token: expires_in empty":        {token(`{"access_token":"a","expires_in":""}`), ""},
		"token: expires_in a word":       {token(`{"access_token":"a","expires_in":"soon"}`), ""},
		"token: expires_in an object":    {token(`{"access_token":"a","expires_in":{}}`), ""},
		"token: expires_in huge":         {token(`{"access_token":"a","expires_in":1e300}`), ""},
		"token: refresh_token a number":  {token(`{"access_token":"a","refresh_token":7}`), ""},
		"token: scope an array":          {token(`{"access_token":"a","scope":["read"]}`), ""},
		"token: error null":              {token(`{"error":null,"access_token":"a"}`), ""},
		"token: a lone surrogate":        {token(`{"access_token":"a","x":"\\ud83d"}`), ""},
		"info: only resource_owner_id":   {info(strings.Replace(minimal, "user_id", "resource_owner_id", 1)), ""},
		"info: user_name an array":       {info(strings.Replace(minimal, "{", `{"user_name":[],`, 1)), ""},
		"info: email a number":           {info(strings.Replace(minimal, "{", `{"email":1,`, 1)), ""},
		"info: a truncated emoji":        {info(strings.Replace(minimal, "{", `{"user_name":"Acme \\ud83d",`, 1)), ""},
		"info: another without id":       {info(strings.Replace(minimal, "[{", `[{"role":"admin"},{`, 1)), ""},
		"info: another with id null":     {info(strings.Replace(minimal, "[{", `[{"id":null,"role":"admin"},{`, 1)), ""},
		"info: another's role an array":  {info(strings.Replace(minimal, "[{", `[{"id":"o9","role":["admin"]},{`, 1)), ""},
		"info: another that is a string": {info(strings.Replace(minimal, "[{", `["g1",{`, 1)), ""},
		"info: another's id twice":       {info(strings.Replace(minimal, "[{", `[{"id":"a","id":"b"},{`, 1)), ""},

		"info: least":                    {info(minimal), ""},
		"info: no user":                  {info(strings.Replace(minimal, "user_id", "x", 1)), `"user_id" must be a string that is not empty`},
		"info: bytes that are not UTF-8": {info(strings.Replace(minimal, "u1", "\xff", 1)), "UTF-8"},
		"info: unknown members":          {info(`{"x":1,"organizations":[{"id":"g1lx9my4pzemqwk7","role":"admin","slug":"s"}],"user_id":"u1"}`), ""},
		"info: nulls":                    {info(`{"user_id":"u1","user_name":null,"email":null,"application":null,"organizations":[{"id":"g1lx9my4pzemqwk7","role":"admin"},{"id":"o","role":null}]}`), ""},
		"info: application without uid":  {info(strings.Replace(minimal, "{", `{"application":{},`, 1)), ""},
		"info: application uid null":     {info(strings.Replace(minimal, "{", `{"application":{"uid":null},`, 1)), ""},
		"info: scope as text":            {info(strings.Replace(minimal, "{", `{"scope":"read",`, 1)), ""},
		"info: user_id a number":         {info(strings.Replace(minimal, `"u1"`, "1", 1)), `"user_id" must be a string`},
		"info: user_id null":             {info(strings.Replace(minimal, `"u1"`, "null", 1)), `"user_id" must be a string`},
		"info: application a string":     {info(strings.Replace(minimal, "{", `{"application":"x",`, 1)), `"application" must be an object`},
		"info: application uid a number": {info(strings.Replace(minimal, "{", `{"application":{"uid":1},`, 1)), `"application" must be an object`},
		"info: organizations an object":  {info(`{"user_id":"u1","organizations":{"g1lx9my4pzemqwk7":"admin"}}`), `"organizations" must be an array`},
		"info: twice":                    {info(strings.Replace(minimal, "{", `{"user_id":"u2",`, 1)), "names a member twice"},
		"info: something behind it":      {info(minimal + minimal), "text after"},
		"info: HTML":                     {info(`<html>`), "not JSON"},
		"info: nothing":                  {info(``), "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t)
			st.move("x1", "g1lx9my4pzemqwk7")
			st.fly.token = func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, c.answers[0]) }
			st.fly.info = func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, c.answers[1]) }
			b := st.browser()
			p := b.get(b.authorize(b.begin("x1")))
			if c.logged == "" {
				if len(st.signedIn) != 1 {
					t.Errorf("got %d %s, log %s", p.status, p.body, st.logged())
				}
				return
			}
			st.wantRefusal(p, http.StatusBadGateway, flyext.CodeFlyUnavailable)
			var record struct{ Error string }
			if err := json.Unmarshal([]byte(st.logged()), &record); err != nil || !strings.Contains(record.Error, c.logged) {
				t.Errorf("the log is without %q: %s", c.logged, st.logged())
			}
			if strings.Contains(record.Error, "422") || strings.Contains(record.Error, "400") || strings.Contains(record.Error, "fo1_leak") {
				t.Errorf("the log has a status that Fly.io did not answer, or its answer: %s", st.logged())
			}
		})
	}
}

func TestRecordedIdentity(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	st.move("x1", "0vogzmzoj1k5xp29")
	st.fly.token = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain") // not what oauth2 expects of JSON
		_, _ = io.WriteString(w, recordedToken)
	}
	st.fly.info = func(w http.ResponseWriter, r *http.Request) {
		if accept := r.Header.Get("Accept"); accept != "application/json" {
			t.Errorf("asked for %q", accept)
		}
		answerJSON(w, 200, recordedInfo)
	}
	b := st.browser()
	p := b.get(b.authorize(b.begin("x1")))
	want := []flyext.Identity{{
		UserID: "k9d01lp82rky6vo2", Name: "Nathan", Email: "k9d01lp82rky6vo2@customer.fly.io",
		ExtensionID: "x1", OrganizationID: "0vogzmzoj1k5xp29", Role: "admin",
		Organizations: []flyext.Membership{{"g1lx9my4pzemqwk7", "admin"}, {"0vogzmzoj1k5xp29", "admin"}},
		Generation:    flyext.Generation2,
	}}
	if !reflect.DeepEqual(st.signedIn, want) {
		t.Errorf("signed in %+v, want %+v: %s", st.signedIn, want, p.body)
	}
}

// The form of the exchange, member by member.
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
		t.Errorf("form %v, Authorization %q, want %v", got, authorization, want)
	}
	if st.fly.calls != 1 {
		t.Errorf("%d calls for one code", st.fly.calls)
	}
}

// A client of the user's own keeps its own way with redirects for its own use.
func TestHTTPClientIsNotChanged(t *testing.T) {
	t.Parallel()
	client := &http.Client{}
	newSSOTest(t, func(s *flyext.SSOConfig) { s.HTTPClient = client })
	if client.CheckRedirect != nil || client.Transport != nil {
		t.Errorf("the client was changed: %+v", client)
	}
}

// Whatever Fly.io answers, only a member of o1 enters, and the answer is whole.
func FuzzTokenInfo(f *testing.F) {
	for _, seed := range []string{
		recordedInfo, `{"user_id":"u1","organizations":[{"id":"o1","role":"admin"}]}`,
		`{"user_id":"u1","organizations":[{"id":"o1","role":"x"}],"application":{"uid":"elMJpuhA5bXb"}}`,
		`{"organizations":null}`, `[]`, ``,
	} {
		f.Add(recordedToken, seed)
		f.Add(seed, seed)
	}
	var token, info string
	var entered *flyext.Identity
	st := newSSOTest(f, func(s *flyext.SSOConfig) {
		s.SignIn = func(w http.ResponseWriter, _ *http.Request, id *flyext.Identity) error {
			entered = id
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
	})
	st.fly.token = func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, token) }
	st.fly.info = func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, info) }
	f.Fuzz(func(t *testing.T, tokenAnswer, infoAnswer string) {
		st.forget(t)
		token, info, entered = tokenAnswer, infoAnswer, nil
		b := st.browser()
		p := b.get(b.authorize(b.begin("x1")))
		if entered == nil {
			if p.status < 400 {
				t.Errorf("status %d, and nobody entered", p.status)
			}
			return
		}
		// encoding/json is lenient where we are not, and reads all that we accept.
		var says struct {
			UserID        string `json:"user_id"`
			Organizations []struct{ ID, Role string }
		}
		if err := json.Unmarshal([]byte(infoAnswer), &says); err != nil {
			t.Fatalf("accepted %q: %v", infoAnswer, err)
		}
		member := false
		for _, o := range says.Organizations {
			member = member || o.ID == "o1" && o.Role == entered.Role
		}
		if !member || entered.UserID == "" || entered.OrganizationID != "o1" {
			t.Errorf("%+v entered on %q", entered, infoAnswer)
		}
	})
}

// A malformed membership of the extension's own organization lets no user in.
func TestMalformedMembershipOfOurs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ organizations, code string }{
		"role an array":        {`[{"id":"g1lx9my4pzemqwk7","role":["admin"]}]`, flyext.CodeRoleNotAccepted},
		"role null":            {`[{"id":"g1lx9my4pzemqwk7","role":null}]`, flyext.CodeRoleNotAccepted},
		"id an array":          {`[{"id":["g1lx9my4pzemqwk7"],"role":"admin"}]`, flyext.CodeNotAMember},
		"id twice":             {`[{"id":"g1lx9my4pzemqwk7","id":"g1lx9my4pzemqwk7","role":"admin"}]`, flyext.CodeNotAMember},
		"role twice":           {`[{"id":"g1lx9my4pzemqwk7","role":"admin","role":"admin"}]`, flyext.CodeNotAMember},
		"a string":             {`["g1lx9my4pzemqwk7"]`, flyext.CodeNotAMember},
		"none":                 {`null`, flyext.CodeNotAMember},
		"another organization": {`[{"id":"o9","role":"admin"}]`, flyext.CodeNotAMember},
	} {
		st := newSSOTest(t)
		st.move("x1", "g1lx9my4pzemqwk7")
		st.fly.token = func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, recordedToken) }
		st.fly.info = func(w http.ResponseWriter, _ *http.Request) {
			answerJSON(w, 200, `{"user_id":"u1","organizations":`+c.organizations+`}`)
		}
		b := st.browser()
		p := b.get(b.authorize(b.begin("x1")))
		if p.status != http.StatusForbidden || !strings.Contains(p.body, c.code) || len(st.signedIn) != 0 {
			t.Errorf("%s: got %d %s", name, p.status, p.body)
		}
	}
}
