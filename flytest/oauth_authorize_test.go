package flytest_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/flyext/flyext/flytest"
)

// TestOAuthNowhereToRedirectTo checks that an invalid client or redirect URL causes no
// redirect, not even with an error.
func TestOAuthNowhereToRedirectTo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(url.Values)
	}{
		{"no client id", set("client_id")},
		{"foreign client id", set("client_id", "another")},
		{"two client ids", set("client_id", oauthClientID, oauthClientID)},
		{"no redirect URL", set("redirect_uri")},
		{"another host", set("redirect_uri", "https://evil.example/flyio/callback")},
		{"longer path", set("redirect_uri", oauthRedirect+"/")},
		{"shorter path", set("redirect_uri", "https://logjam.io/flyio")},
		{"with a query", set("redirect_uri", oauthRedirect+"?a=b")},
		{"other case", set("redirect_uri", "https://LOGJAM.io/flyio/callback")},
		{"plain http", set("redirect_uri", "http://logjam.io/flyio/callback")},
		{"with a user", set("redirect_uri", "https://logjam.io@evil.example/flyio/callback")},
		{"two redirect URLs", set("redirect_uri", oauthRedirect, "https://evil.example/")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := newOAuthTest(t)
			o.fly.SetChoice(&flytest.Choice{UserID: nathan.ID})
			query := asked(o.fly, test.change)
			for _, w := range []*httptest.ResponseRecorder{
				o.do(httptest.NewRequest(http.MethodGet, "/oauth/authorize?"+query.Encode(), nil)),
				o.choose(query, signIn(nathan.ID)),
				o.choose(query, url.Values{"action": {"cancel"}}),
			} {
				if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" || !strings.Contains(w.Body.String(), `id="refusal"`) {
					t.Errorf("got %d with Location %q, want 400 with a page that refuses", w.Code, w.Header().Get("Location"))
				}
			}
		})
	}
}

func TestOAuthAuthorizeErrors(t *testing.T) {
	t.Parallel()
	pkce := func(challenge, method []string) func(url.Values) {
		return all(set("code_challenge", challenge...), set("code_challenge_method", method...))
	}
	for _, test := range []struct {
		name       string
		generation func(*flytest.OAuthServer)
		change     func(url.Values)
		want       string
	}{
		{"no response type", nil, set("response_type"), "invalid_request"},
		{"the proposal's request_type", nil, all(set("response_type"), set("request_type", "code")), "invalid_request"},
		{"implicit flow", nil, set("response_type", "token"), "unsupported_response_type"},
		{"two scopes", nil, set("scope", "read", "read"), "invalid_request"},
		{"two states", nil, set("state", oauthState, "other"), "invalid_request"},
		{"no scope", nil, set("scope"), "invalid_scope"},
		{"greater scope", nil, set("scope", "read write"), "invalid_scope"},
		{"generation 1's scope", nil, set("scope", oauthScope1), "invalid_scope"},
		{"plain challenge", nil, pkce([]string{oauthVerifier}, []string{"plain"}), "invalid_request"},
		{"challenge that is plain by default", nil, pkce([]string{oauthVerifier}, nil), "invalid_request"},
		{"method without challenge", nil, pkce(nil, []string{"S256"}), "invalid_request"},
		{"short challenge", nil, pkce([]string{"abc"}, []string{"S256"}), "invalid_request"},
		{"generation 2's scope", generation1, set("scope", "read"), "invalid_scope"},
		{"no organization", generation1, set("scope", `{"permission":"admin"}`), "invalid_scope"},
		{"another permission", generation1, set("scope", `{"organization_id":"collider","permission":"member"}`), "invalid_scope"},
		{"unknown member", generation1, set("scope", `{"organization_id":"collider","permission":"admin","x":1}`), "invalid_scope"},
		{"two organizations", generation1, set("scope", `{"organization_id":"collider","organization_id":"hadron","permission":"admin"}`), "invalid_scope"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var change []func(*flytest.OAuthServer)
			if test.generation != nil {
				change = append(change, test.generation)
			}
			o := newOAuthTest(t, change...)
			query := asked(o.fly, test.change)
			for _, w := range []*httptest.ResponseRecorder{
				o.do(httptest.NewRequest(http.MethodGet, "/oauth/authorize?"+query.Encode(), nil)),
				o.choose(query, signIn(nathan.ID)),
			} {
				back := location(t, w)
				if back.Get("error") != test.want || back.Has("code") || back.Get("error_description") == "" {
					t.Errorf("redirected with %v, want %s", back, test.want)
				}
				if one := len(query["state"]) == 1; back.Has("state") != one || one && back.Get("state") != oauthState {
					t.Errorf("got state %q", back["state"])
				}
			}
		})
	}
}

func TestOAuthChoice(t *testing.T) {
	t.Parallel()
	cancel := url.Values{"action": {"cancel"}}
	choose := func(user, organization, role string) url.Values {
		form := signIn(user)
		form.Set("organization", organization)
		form.Set("role", role)
		return form
	}
	for _, test := range []struct {
		name       string
		generation func(*flytest.OAuthServer)
		form       url.Values
		want       string // error; "" means a code
	}{
		{"sign in", nil, signIn(nathan.ID), ""},
		{"sign in without organizations", nil, signIn(loner.ID), ""},
		{"cancel", nil, cancel, "access_denied"},
		{"admin", generation1, signIn(nathan.ID), ""},
		{"admin limited to this organization", generation1, choose(nathan.ID, "collider", ""), ""},
		{"with the role admin", generation1, choose(emmy.ID, "collider", "admin"), ""},
		{"admin of another", generation1, choose(nathan.ID, "hadron", "admin"), "access_denied"},
		{"member", generation1, choose(nathan.ID, "", "member"), "access_denied"},
		{"stranger", generation1, signIn(emmy.ID), "access_denied"},
		{"stranger with the role admin in their own organization", generation1, choose(emmy.ID, "", "admin"), "access_denied"},
		{"cancelling admin", generation1, cancel, "access_denied"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var change []func(*flytest.OAuthServer)
			if test.generation != nil {
				change = append(change, test.generation)
			}
			o := newOAuthTest(t, change...)
			back := location(t, o.choose(asked(o.fly), test.form))
			if back.Get("error") != test.want || back.Has("code") != (test.want == "") {
				t.Errorf("redirected with %v, want %q", back, test.want)
			}
			if back.Get("state") != oauthState {
				t.Errorf("got state %q, want %q", back.Get("state"), oauthState)
			}
		})
	}
}

func TestOAuthImpossibleChoice(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(url.Values)
	}{
		{"unknown user", set("user", "u9")},
		{"no user", set("user")},
		{"unknown organization", set("organization", "o9")},
		{"unknown role", set("role", "owner")},
		{"no button", set("action")},
		{"unknown button", set("action", "allow")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := newOAuthTest(t)
			form := signIn(nathan.ID)
			test.change(form)
			if w := o.choose(asked(o.fly), form); w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" {
				t.Errorf("got %d with Location %q, want 400 with a page that refuses", w.Code, w.Header().Get("Location"))
			}
		})
	}
}

// TestOAuthChoiceOfAnotherSite checks that another site cannot submit the form.
func TestOAuthChoiceOfAnotherSite(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t)
	for _, test := range []struct {
		site   string
		status int
	}{{"cross-site", http.StatusForbidden}, {"same-site", http.StatusForbidden}, {"same-origin", http.StatusSeeOther}} {
		r := formRequest("/oauth/authorize?"+asked(o.fly).Encode(), signIn(nathan.ID))
		r.Header.Set("Sec-Fetch-Site", test.site)
		if w := o.do(r); w.Code != test.status {
			t.Errorf("%s: got %d, want %d", test.site, w.Code, test.status)
		}
	}
}

func TestOAuthSetChoice(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t)
	get := func() *httptest.ResponseRecorder {
		return o.do(httptest.NewRequest(http.MethodGet, "/oauth/authorize?"+asked(o.fly).Encode(), nil))
	}
	choice := flytest.Choice{UserID: nathan.ID}
	o.fly.SetChoice(&choice)
	choice.UserID = "changed afterwards"
	if back := location(t, get()); back.Get("code") == "" || back.Get("state") != oauthState {
		t.Errorf("redirected with %v, want a code", back)
	}
	o.fly.SetChoice(&flytest.Choice{Error: "temporarily_unavailable"})
	if back := location(t, get()); back.Get("error") != "temporarily_unavailable" || back.Has("code") {
		t.Errorf("redirected with %v, want the error", back)
	}
	o.fly.SetChoice(&flytest.Choice{UserID: nathan.ID})
	o.fly.SetUsers(emmy)
	if w := get(); w.Code != http.StatusBadRequest {
		t.Errorf("got %d for a removed user, want 400", w.Code)
	}
	o.fly.SetChoice(nil)
	if w := get(); w.Code != http.StatusOK {
		t.Errorf("got %d, want the page again", w.Code)
	}
}

// TestOAuthRedirectURLWithQuery checks that a redirect URL keeps its own query.
func TestOAuthRedirectURLWithQuery(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t)
	w := o.choose(asked(o.fly, set("redirect_uri", "https://logjam.io/other?a=b"), set("state", "s")), signIn(nathan.ID))
	if got := w.Header().Get("Location"); !strings.HasPrefix(got, "https://logjam.io/other?a=b&code=") || !strings.HasSuffix(got, "&state=s") {
		t.Errorf("redirected to %s", got)
	}
}

func TestOAuthPage(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t, func(fly *flytest.OAuthServer) {
		fly.RedirectURLs = append(fly.RedirectURLs, "http://[::1]:8080/callback", "http://localhost:8080/callback")
	})
	page := o.do(httptest.NewRequest(http.MethodGet, "/oauth/authorize?"+asked(o.fly).Encode(), nil))
	for _, want := range []string{
		`<form id="authorize" method="post">`, `<input type="radio" name="user" value="k9d01lp82rky6vo2" required checked>`,
		`value="emmy" required>`, "emmy@hadron.example", "k9d01lp82rky6vo2@customer.fly.io", "auditor of Hadron (hadron)",
		`<label for="organization">`, `<select id="organization" name="organization">`, `<option value="collider">Collider Inc (collider)</option>`,
		`<option value="hadron">Hadron (hadron)</option>`, `<label for="role">`, `<select id="role" name="role">`, `<option value="auditor">`,
		`<button id="sign-in" name="action" value="sign-in">`, `<button id="cancel" name="action" value="cancel" formnovalidate>`,
		"Simulated Fly.io sign-in", "&lt;b&gt;Loner", "https://logjam.io<", "in no organization",
	} {
		if !strings.Contains(page.Body.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(page.Body.String(), `<option value="hadron">`); n != 1 {
		t.Errorf("an organization with two users is offered %d times, want 1", n)
	}
	if strings.Contains(page.Body.String(), "<script") {
		t.Error("the page has a script")
	}
	policy := page.Header().Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'", "style-src 'sha256-", "base-uri 'none'", "frame-ancestors 'none'",
		"form-action 'self' https://logjam.io http: http://localhost:8080;",
	} {
		if !strings.Contains(policy, want) {
			t.Errorf("Content-Security-Policy is %q, which lacks %q", policy, want)
		}
	}
	o.fly.SetUsers()
	page = o.do(httptest.NewRequest(http.MethodGet, "/oauth/authorize?"+asked(o.fly).Encode(), nil))
	if !strings.Contains(page.Body.String(), "There are no users yet.") || strings.Contains(page.Body.String(), `id="sign-in"`) {
		t.Errorf("without users, the page is %s", page.Body)
	}

	o = newOAuthTest(t, generation1)
	page = o.do(httptest.NewRequest(http.MethodGet, "/oauth/authorize?"+asked(o.fly).Encode(), nil))
	if want := "whether you are an admin of <b>Collider Inc (collider)</b>"; !strings.Contains(page.Body.String(), want) {
		t.Errorf("the page of generation 1 lacks %q", want)
	}
}
