package flyext_test

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

// The body of an answer is read as JSON even if its Content-Type is wrong.
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

// An invalid grant is found in each form of a refusal, because it ends a session, and in
// no other response.
func TestFailedExchange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		code   string
	}{
		"JSON":                     {400, `{"error":"invalid_grant","error_description":"expired"}`, flyext.CodeInvalidGrant},
		"JSON with success":        {200, `{"error":"invalid_grant"}`, flyext.CodeInvalidGrant},
		"JSON with a token":        {400, `{"error":"invalid_grant","access_token":"a"}`, flyext.CodeInvalidGrant},
		"unauthorized":             {401, `{"error":"invalid_grant"}`, flyext.CodeInvalidGrant},
		"not UTF-8":                {400, "{\"error\":\"invalid_grant\",\"error_description\":\"\xff\"}", flyext.CodeInvalidGrant},
		"a member twice":           {400, `{"error":"x","error":"invalid_grant"}`, flyext.CodeInvalidGrant},
		"form":                     {400, `error=invalid_grant&error_description=expired`, flyext.CodeInvalidGrant},
		"form with success":        {200, `error=invalid_grant`, flyext.CodeFlyUnavailable},
		"form of a failed server":  {502, `error=invalid_grant`, flyext.CodeFlyUnavailable},
		"malformed form":           {400, `error=invalid_grant&a=%zz`, flyext.CodeFlyUnavailable},
		"form inside JSON":         {400, `{"x":"&error=invalid_grant&"}`, flyext.CodeFlyUnavailable},
		"another error":            {400, `{"error":"invalid_client"}`, flyext.CodeFlyUnavailable},
		"an error that is no text": {400, `{"error":["invalid_grant"]}`, flyext.CodeFlyUnavailable},
		"a token without success":  {400, `{"access_token":"a"}`, flyext.CodeFlyUnavailable},
		"HTML":                     {502, `<html>error=invalid_grant</html>`, flyext.CodeFlyUnavailable},
		"nothing":                  {400, ``, flyext.CodeFlyUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t)
			st.fly.token = func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}
			b := st.browser()
			status := http.StatusForbidden
			if c.code == flyext.CodeFlyUnavailable {
				status = http.StatusBadGateway
			}
			st.wantRefusal(b.get(b.authorize(b.begin("x1"))), status, c.code)
		})
	}
}

const (
	// The examples of Fly.io's page.
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
		logged  string    // the reason of the refusal, or "" if the answer is accepted
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
		"token: duplicate member":      {token(`{"access_token":"a","access_token":"b"}`), "names a member twice"},
		"token: an array":              {token(`[]`), "not an object"},
		"token: HTML":                  {token(`<html>`), "not JSON"},
		"token: form":                  {token(`access_token=a`), "not JSON"},
		"token: empty body":            {token(``), "is empty"},
		"token: an error, with 200":    {token(`{"error":"server_error"}`), `error "server_error"`},

		// Fields that the sign-on does not need may have any value.
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

		"info: required fields only":     {info(minimal), ""},
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
		"info: duplicate member":         {info(strings.Replace(minimal, "{", `{"user_id":"u2",`, 1)), "names a member twice"},
		"info: two values":               {info(minimal + minimal), "text after"},
		"info: HTML":                     {info(`<html>`), "not JSON"},
		"info: empty body":               {info(``), "is empty"},
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
				t.Errorf("the log lacks %q: %s", c.logged, st.logged())
			}
			if strings.Contains(record.Error, "422") || strings.Contains(record.Error, "400") || strings.Contains(record.Error, "fo1_leak") {
				t.Errorf("the log has a status that Fly.io did not send, or a part of its answer: %s", st.logged())
			}
		})
	}
}

func TestRecordedIdentity(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	st.move("x1", "0vogzmzoj1k5xp29")
	st.fly.token = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain") // oauth2 expects application/json
		_, _ = io.WriteString(w, recordedToken)
	}
	st.fly.info = func(w http.ResponseWriter, r *http.Request) {
		if accept := r.Header.Get("Accept"); accept != "application/json" {
			t.Errorf("Accept is %q, want application/json", accept)
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

// A malformed membership in the extension's organization admits no user.
func TestMalformedMembershipOfOurs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ organizations, code string }{
		"role an array":        {`[{"id":"g1lx9my4pzemqwk7","role":["admin"]}]`, flyext.CodeRoleNotAccepted},
		"role null":            {`[{"id":"g1lx9my4pzemqwk7","role":null}]`, flyext.CodeRoleNotAccepted},
		"id an array":          {`[{"id":["g1lx9my4pzemqwk7"],"role":"admin"}]`, flyext.CodeNotAMember},
		"id twice":             {`[{"id":"g1lx9my4pzemqwk7","id":"g1lx9my4pzemqwk7","role":"admin"}]`, flyext.CodeNotAMember},
		"role twice":           {`[{"id":"g1lx9my4pzemqwk7","role":"admin","role":"admin"}]`, flyext.CodeNotAMember},
		"a string":             {`["g1lx9my4pzemqwk7"]`, flyext.CodeNotAMember},
		"null":                 {`null`, flyext.CodeNotAMember},
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
