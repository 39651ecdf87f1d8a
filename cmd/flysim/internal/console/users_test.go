package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
)

func userForm(changes ...string) url.Values {
	form := url.Values{"was": {"k9d01lp82rky6vo2"}, "id": {"k9d01lp82rky6vo2"}, "name": {"Nathan"}, "action": {"save"},
		"organization_id": {"g1lx9my4pzemqwk7", ""}, "organization_name": {"Collider", ""}, "role": {"admin", "member"}}
	for i := 0; i < len(changes); i += 2 {
		form[changes[i]] = strings.Split(changes[i+1], "|")
	}
	return form
}

// authorizePath is the path to which a provider sends a browser.
const authorizePath = "/oauth/authorize?client_id=logjam&response_type=code&scope=read&state=s&redirect_uri=http%3A%2F%2Flogjam.test%2Fflyio%2Fcallback"

// The sign-on and the provision form have the edited users.
func TestUsersFollow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name             string
		form             url.Values
		signOn, customer []string
		gone             string // from both
	}{
		{"another role", userForm("role", "member|member"), []string{"member of Collider"}, []string{"Nathan, member of Collider"}, "Nathan, admin of"},
		{"another name", userForm("name", "Nat <b>"), []string{"Nat &lt;b&gt; (k9d01lp82rky6vo2)"}, []string{"Nat &lt;b&gt;, admin of Collider"}, "Nathan"},
		{"a second organization", userForm("organization_id", "g1lx9my4pzemqwk7|second|", "organization_name", "Collider|Second|", "role", "admin|auditor|member"),
			[]string{"auditor of Second (second)"}, []string{"Nathan, auditor of Second"}, ""},
		{"out of an organization", userForm("organization_id", "|", "organization_name", "|"), []string{"in no organization"}, nil, "Nathan, admin of"},
		{"removed", userForm("action", "remove"), []string{"Emmy"}, []string{"Emmy"}, "Nathan"},
		{"a new one", userForm("was", "", "id", "new1", "name", "Newton"), []string{"Newton (new1)", "new1@customer.fly.io"}, []string{"Newton, admin of Collider"}, ""},
		{"another id", userForm("id", "changed", "email", "nat@example.com"), []string{"Nathan (changed)", "nat@example.com"}, []string{"Nathan, admin"}, "k9d01lp82rky6vo2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, newLogjam().handler(t, providerBase, ""))
			location := w.post("/users", test.form)
			if !strings.HasPrefix(location, "/users?") {
				t.Errorf("the redirect leads to %s", location)
			}
			w.wantAll(w.page(location), `id="done"`)
			signOn, home := w.page(authorizePath), w.page("/")
			w.wantAll(signOn, test.signOn...)
			w.wantAll(home, test.customer...)
			if test.gone != "" && (strings.Contains(signOn, test.gone) || strings.Contains(home, test.gone)) {
				t.Errorf("%q is still there", test.gone)
			}
		})
	}
}

func TestUsersRefuse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		form   url.Values
		status int
		want   string
	}{
		{"no id", userForm("id", ""), 422, "Enter an id."},
		{"another's id", userForm("id", "0vogzmzoj1k5xp29"), 409, "Another user has this id."},
		{"a new one with another's id", userForm("was", "", "id", "0vogzmzoj1k5xp29"), 409, "Another user has this id."},
		{"a removed user", userForm("was", "gone"), 409, "removed in the meantime"},
		{"remove a removed user", userForm("was", "gone", "action", "remove"), 409, "removed in the meantime"},
		{"remove a new user", userForm("was", "", "action", "remove"), 409, "was not saved yet"},
		{"no action", userForm("action", ""), 422, "Press Save or Remove"},
		{"name without an id", userForm("organization_id", "|", "organization_name", "Collider|"), 422, "a name but no id"},
		{"no role", userForm("role", "|"), 422, "A role is missing."},
		{"an organization twice", userForm("organization_id", "a|a", "organization_name", "A|A", "role", "admin|member"), 422, "is listed twice"},
		{"rows that are not whole", userForm("role", "admin"), 422, "The form is incomplete"},
		{"too many organizations", userForm("organization_id", strings.Repeat("a|", 21), "organization_name", strings.Repeat("a|", 21), "role", strings.Repeat("a|", 21)), 422, "can be in at most 20"},
		{"a long name", userForm("name", strings.Repeat("x", 501)), 422, "longer than 500"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, newLogjam().handler(t, providerBase, ""))
			rec := w.do(formRequest("/users", test.form))
			if rec.Code != test.status {
				t.Errorf("got %d, want %d", rec.Code, test.status)
			}
			w.wantAll(rec.Body.String(), test.want, "Not saved")
			w.wantAll(w.page(authorizePath), "admin of Collider") // nothing has changed
		})
	}
}

func TestUsersAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	last := http.StatusSeeOther
	for i := range 60 {
		last = w.do(formRequest("/users", userForm("was", "", "id", strings.Repeat("u", i+1)))).Code
	}
	if last != http.StatusConflict {
		t.Errorf("63 users: %d", last)
	}
}

func TestWithoutSignOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), func(c *console.Config) { c.ClientID, c.ClientSecret = "", "" })
	w.wantAll(w.page("/users"), "The sign-on is off", ownURL)
	w.wantAll(w.page(w.provision("ext1")), "set a client id and a client secret")
	w.post("/users", userForm("name", "Nat"))
	w.wantAll(w.page("/"), "Nat, admin of Collider")
	if rec := w.get(authorizePath); rec.Code != http.StatusNotFound {
		t.Errorf("the sign-on answered with %d", rec.Code)
	}
}

// The page shows the requests to the sign-on, without client secrets.
func TestSignOnIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	w.page(authorizePath)
	w.do(formRequest("/oauth/token", url.Values{"client_id": {"logjam"}, "client_secret": {clientSecret}, "code": {"x"}, "note": {"<script>"}}))
	page := w.page("/users")
	w.wantAll(page, "GET /oauth/authorize", "POST /oauth/token", "[redacted]", "&lt;script&gt;")
	if strings.Contains(page, clientSecret) {
		t.Error("the client secret is on the page")
	}
}
