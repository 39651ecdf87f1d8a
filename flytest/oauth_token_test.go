package flytest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/flyext/flyext/flytest"
)

// wantJSON compares an answer with the one in protocol.md, including the order of the
// members. It replaces random values by "…".
func wantJSON(t *testing.T, w *httptest.ResponseRecorder, want string) {
	t.Helper()
	got := regexp.MustCompile(`"(fo1_)?[A-Z2-7]{26}"`).ReplaceAllString(w.Body.String(), `"$1…"`)
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(want)); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusOK || got != compact.String() {
		t.Errorf("got %d %s\nwant 200 %s", w.Code, got, compact.String())
	}
}

func TestOAuthToken(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t)
	w := o.redeem(tokenForm(o.aCode()))
	wantJSON(t, w, `{"access_token": "fo1_…", "token_type": "Bearer", "expires_in": 7200, "refresh_token": "…",
		"scope": "read", "created_at": 1686786353}`)
	if got := w.Header().Get("Pragma"); got != "no-cache" {
		t.Errorf("Pragma is %q, want no-cache", got)
	}

	o = newOAuthTest(t, generation1, func(fly *flytest.OAuthServer) { fly.TokenLifetime = time.Minute })
	wantJSON(t, o.redeem(tokenForm(o.aCode())), `{"access_token": "fo1_…", "token_type": "Bearer", "expires_in": 60, "refresh_token": "…",
		"scope": "{\"organization_id\":\"collider\",\"permission\":\"admin\"}", "created_at": 1686786353}`)
}

func TestOAuthTokenInfo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		form          url.Values
		who           string
		organizations string
	}{
		{
			"of an admin", signIn(nathan.ID),
			`"resource_owner_id": "k9d01lp82rky6vo2", "user_id": "k9d01lp82rky6vo2", "user_name": "Nathan", "email": "k9d01lp82rky6vo2@customer.fly.io"`,
			`{"id": "collider", "role": "admin"}, {"id": "hadron", "role": "member"}`,
		},
		{
			"with their own address", signIn(emmy.ID),
			`"resource_owner_id": "emmy", "user_id": "emmy", "user_name": "", "email": "emmy@hadron.example"`,
			`{"id": "hadron", "role": "auditor"}`,
		},
		{
			"without organizations", signIn(loner.ID),
			`"resource_owner_id": "loner", "user_id": "loner", "user_name": "<b>Loner</b>", "email": "loner@customer.fly.io"`, ``,
		},
		{
			"limited to one organization", edited(signIn(nathan.ID), set("organization", "hadron")),
			`"resource_owner_id": "k9d01lp82rky6vo2", "user_id": "k9d01lp82rky6vo2", "user_name": "Nathan", "email": "k9d01lp82rky6vo2@customer.fly.io"`,
			`{"id": "hadron", "role": "member"}`,
		},
		{
			"limited to an organization of others", edited(signIn(emmy.ID), set("organization", "collider")),
			`"resource_owner_id": "emmy", "user_id": "emmy", "user_name": "", "email": "emmy@hadron.example"`, ``,
		},
		{
			"with a role in all organizations", edited(signIn(nathan.ID), set("role", "member")),
			`"resource_owner_id": "k9d01lp82rky6vo2", "user_id": "k9d01lp82rky6vo2", "user_name": "Nathan", "email": "k9d01lp82rky6vo2@customer.fly.io"`,
			`{"id": "collider", "role": "member"}, {"id": "hadron", "role": "member"}`,
		},
		{
			"with a role in one organization", edited(signIn(emmy.ID), all(set("organization", "collider"), set("role", "admin"))),
			`"resource_owner_id": "emmy", "user_id": "emmy", "user_name": "", "email": "emmy@hadron.example"`,
			`{"id": "collider", "role": "admin"}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := newOAuthTest(t)
			accessToken := o.accessToken(o.code(asked(o.fly), test.form))
			o.advance(10 * time.Second)
			wantJSON(t, o.info(accessToken), `{`+test.who+`, "organizations": [`+test.organizations+`], "scope": ["read"],
				"expires_in": 7190, "application": {"uid": "elMJpuhA5bXb"}, "created_at": 1686786353}`)
		})
	}
}

func edited(form url.Values, change func(url.Values)) url.Values {
	change(form)
	return form
}

func TestOAuthTokenRefusals(t *testing.T) {
	t.Parallel()
	request := func(change func(url.Values)) func(*oauthTest, string) *http.Request {
		return func(_ *oauthTest, code string) *http.Request {
			return formRequest("/oauth/token", tokenForm(code, change))
		}
	}
	changed := func(change func(*http.Request)) func(*oauthTest, string) *http.Request {
		return func(_ *oauthTest, code string) *http.Request {
			r := formRequest("/oauth/token", tokenForm(code))
			change(r)
			return r
		}
	}
	for _, test := range []struct {
		name    string
		request func(o *oauthTest, code string) *http.Request
		status  int
		want    string
	}{
		{"no client id", request(set("client_id")), 401, "invalid_client"},
		{"too large", request(set("more", strings.Repeat("a", 64<<10))), 400, "invalid_request"},
		{"foreign client id", request(set("client_id", "another")), 401, "invalid_client"},
		{"no secret", request(set("client_secret")), 401, "invalid_client"},
		{"wrong secret", request(set("client_secret", oauthSecret+"x")), 401, "invalid_client"},
		{"secret cut short", request(set("client_secret", oauthSecret[:3])), 401, "invalid_client"},
		{"secret twice", request(set("client_secret", oauthSecret, oauthSecret)), 400, "invalid_request"},
		{"credentials as Basic", func(_ *oauthTest, code string) *http.Request {
			r := formRequest("/oauth/token", tokenForm(code, all(set("client_id"), set("client_secret"))))
			r.SetBasicAuth(oauthClientID, oauthSecret)
			return r
		}, 401, "invalid_client"},
		{"credentials twice", changed(func(r *http.Request) { r.SetBasicAuth(oauthClientID, oauthSecret) }), 401, "invalid_client"},
		{"everything in the URL", func(_ *oauthTest, code string) *http.Request {
			return formRequest("/oauth/token?"+tokenForm(code).Encode(), nil)
		}, 401, "invalid_client"},
		{"secret in the URL", func(_ *oauthTest, code string) *http.Request {
			return formRequest("/oauth/token?client_secret="+oauthSecret, tokenForm(code, set("client_secret")))
		}, 401, "invalid_client"},
		{"no content type", changed(func(r *http.Request) { r.Header.Del("Content-Type") }), 400, "invalid_request"},
		{"JSON", func(*oauthTest, string) *http.Request {
			r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(`{}`))
			r.Header.Set("Content-Type", "application/json")
			return r
		}, 400, "invalid_request"},
		{"broken form", func(*oauthTest, string) *http.Request {
			r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader("code=%zz"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return r
		}, 400, "invalid_request"},
		{"form of 2 MiB", request(set("padding", strings.Repeat("x", 2<<20))), 400, "invalid_request"},
		{"no grant type", request(set("grant_type")), 400, "invalid_request"},
		{"refresh token", request(set("grant_type", "refresh_token")), 400, "invalid_grant"},
		{"another grant type", request(set("grant_type", "password")), 400, "unsupported_grant_type"},
		{"no code", request(set("code")), 400, "invalid_request"},
		{"unknown code", request(set("code", "AAAAAAAAAAAAAAAAAAAAAAAAAA")), 400, "invalid_grant"},
		{"two codes", func(_ *oauthTest, code string) *http.Request {
			return formRequest("/oauth/token", tokenForm(code, set("code", code, "x")))
		}, 400, "invalid_request"},
		{"no redirect URL", request(set("redirect_uri")), 400, "invalid_request"},
		{"another registered redirect URL", request(set("redirect_uri", "https://logjam.io/other?a=b")), 400, "invalid_grant"},
		{"foreign redirect URL", request(set("redirect_uri", "https://evil.example/")), 400, "invalid_grant"},
		{"no verifier", request(set("code_verifier")), 400, "invalid_grant"},
		{"wrong verifier", request(set("code_verifier", strings.Repeat("x", 43))), 400, "invalid_grant"},
		{"challenge as verifier", request(set("code_verifier", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")), 400, "invalid_grant"},
		{"another flow's code", func(o *oauthTest, _ string) *http.Request {
			code := o.code(asked(o.fly, set("code_challenge", strings.Repeat("x", 43))), signIn(nathan.ID))
			return formRequest("/oauth/token", tokenForm(code))
		}, 400, "invalid_grant"},
		{"challenge removed from the URL", func(o *oauthTest, _ string) *http.Request {
			code := o.code(asked(o.fly, all(set("code_challenge"), set("code_challenge_method"))), signIn(nathan.ID))
			return formRequest("/oauth/token", tokenForm(code))
		}, 400, "invalid_grant"},
		{"expired code", func(o *oauthTest, code string) *http.Request {
			o.advance(time.Minute)
			return formRequest("/oauth/token", tokenForm(code))
		}, 400, "invalid_grant"},
		{"code expired long ago", func(o *oauthTest, code string) *http.Request {
			o.advance(time.Hour)
			return formRequest("/oauth/token", tokenForm(code))
		}, 400, "invalid_grant"},
		{"used code", func(o *oauthTest, code string) *http.Request {
			o.accessToken(code)
			return formRequest("/oauth/token", tokenForm(code))
		}, 400, "invalid_grant"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := newOAuthTest(t)
			w := o.do(test.request(o, o.aCode()))
			wantError(t, w, test.status, test.want)
			if asBasic := strings.HasPrefix(test.name, "credentials"); asBasic != (w.Header().Get("WWW-Authenticate") == "Basic") {
				t.Errorf("WWW-Authenticate is %q", w.Header().Get("WWW-Authenticate"))
			}
		})
	}
}

// TestOAuthVerifierLength checks that a verifier of invalid length is refused even if it
// matches the challenge.
func TestOAuthVerifierLength(t *testing.T) {
	t.Parallel()
	for length, status := range map[int]int{42: 400, 43: 200, 128: 200, 129: 400} {
		o := newOAuthTest(t)
		verifier := strings.Repeat("v", length)
		code := o.code(asked(o.fly, set("code_challenge", oauth2.S256ChallengeFromVerifier(verifier))), signIn(nathan.ID))
		if w := o.redeem(tokenForm(code, set("code_verifier", verifier))); w.Code != status {
			t.Errorf("verifier of %d characters: got %d, want %d", length, w.Code, status)
		}
	}
}

// TestOAuthWithoutPKCE checks that PKCE is optional.
func TestOAuthWithoutPKCE(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t)
	code := o.code(asked(o.fly, all(set("code_challenge"), set("code_challenge_method"))), signIn(nathan.ID))
	if w := o.redeem(tokenForm(code, set("code_verifier"))); w.Code != http.StatusOK {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestOAuthRefusalKeepsCode checks that a refusal does not use up a code. An attacker
// with a stolen code therefore cannot make the code useless for its owner.
func TestOAuthRefusalKeepsCode(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t)
	code := o.aCode()
	wantError(t, o.redeem(tokenForm(code, set("client_secret", "guessed"))), 401, "invalid_client")
	wantError(t, o.redeem(tokenForm(code, set("redirect_uri", "https://evil.example/"))), 400, "invalid_grant")
	wantError(t, o.redeem(tokenForm(code, set("code_verifier"))), 400, "invalid_grant")
	o.accessToken(code)
}

func TestOAuthCodeLifetime(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t, func(fly *flytest.OAuthServer) { fly.CodeLifetime = 10 * time.Minute })
	code, late := o.aCode(), o.aCode()
	o.advance(10*time.Minute - time.Nanosecond)
	o.accessToken(code)
	o.advance(time.Nanosecond)
	wantError(t, o.redeem(tokenForm(late)), 400, "invalid_grant")
}

// TestOAuthCodeReuseRevokes checks that the reuse of a code, which may be stolen,
// revokes its access token, even after the code has expired.
func TestOAuthCodeReuseRevokes(t *testing.T) {
	t.Parallel()
	for _, later := range []time.Duration{0, time.Hour} {
		t.Run(later.String(), func(t *testing.T) {
			t.Parallel()
			o := newOAuthTest(t)
			code := o.aCode()
			stolen, other := o.accessToken(code), o.accessToken(o.aCode())
			o.advance(later)
			if w := o.info(stolen); w.Code != http.StatusOK {
				t.Fatalf("got %d before the reuse, want 200", w.Code)
			}
			wantError(t, o.redeem(tokenForm(code)), 400, "invalid_grant")
			wantError(t, o.info(stolen), 401, "invalid_token")
			if w := o.info(other); w.Code != http.StatusOK {
				t.Errorf("got %d for the token of another code, want 200", w.Code)
			}
		})
	}
}

// TestOAuthCodeRace checks that a code works once in concurrent requests.
func TestOAuthCodeRace(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t)
	code := o.aCode()
	var wg sync.WaitGroup
	var successes atomic.Int32
	for range 16 {
		wg.Go(func() {
			if o.redeem(tokenForm(code)).Code == http.StatusOK {
				successes.Add(1)
			}
		})
	}
	wg.Wait()
	if successes.Load() != 1 {
		t.Errorf("the code worked %d times, want 1", successes.Load())
	}
}

func TestOAuthTokenInfoRefusals(t *testing.T) {
	t.Parallel()
	header := func(value string) func(*oauthTest, string) *http.Request {
		return func(_ *oauthTest, accessToken string) *http.Request {
			r := httptest.NewRequest(http.MethodGet, "/oauth/token/info?access_token="+accessToken, nil)
			if value != "" {
				r.Header.Set("Authorization", strings.ReplaceAll(value, "TOKEN", accessToken))
			}
			return r
		}
	}
	for _, test := range []struct {
		name      string
		request   func(o *oauthTest, accessToken string) *http.Request
		want      string
		challenge string
	}{
		{"token in the URL", header(""), "invalid_request", "Bearer"},
		{"as Basic", header("Basic TOKEN"), "invalid_request", "Bearer"},
		{"no token", header("Bearer "), "invalid_request", "Bearer"},
		{"token alone", header("TOKEN"), "invalid_request", "Bearer"},
		{"unknown token", header("Bearer fo1_x"), "invalid_token", `Bearer error="invalid_token"`},
		{"token and more", header("Bearer TOKENx"), "invalid_token", `Bearer error="invalid_token"`},
		{"expired token", func(o *oauthTest, accessToken string) *http.Request {
			o.advance(2 * time.Hour)
			return header("Bearer TOKEN")(o, accessToken)
		}, "invalid_token", `Bearer error="invalid_token"`},
		{"removed user", func(o *oauthTest, accessToken string) *http.Request {
			o.fly.SetUsers(emmy)
			return header("Bearer TOKEN")(o, accessToken)
		}, "invalid_token", `Bearer error="invalid_token"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := newOAuthTest(t)
			w := o.do(test.request(o, o.accessToken(o.aCode())))
			wantError(t, w, http.StatusUnauthorized, test.want)
			if got := w.Header().Get("WWW-Authenticate"); got != test.challenge {
				t.Errorf("WWW-Authenticate is %q, want %q", got, test.challenge)
			}
		})
	}
}

// TestOAuthTokenInfoFollowsUsers checks that existing tokens describe the current
// memberships of their user.
func TestOAuthTokenInfoFollowsUsers(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t)
	accessToken := o.accessToken(o.aCode())
	users := []flytest.User{{ID: nathan.ID, Organizations: []flytest.UserOrganization{{OrganizationID: "hadron", Role: "admin"}}}}
	o.fly.SetUsers(users...)
	users[0].Organizations[0].Role = "changed afterwards"
	if w := o.info(accessToken); !strings.Contains(w.Body.String(), `"organizations":[{"id":"hadron","role":"admin"}]`) {
		t.Errorf("got %s", w.Body)
	}
}
