package service

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

// TestSignInForMovedStream checks a sign-in for a stream that was moved to another
// organization while the user was at Fly.io.
func TestSignInForMovedStream(t *testing.T) {
	t.Parallel()
	d := newDashboardTest(t)
	if _, err := d.store.db.ExecContext(t.Context(), `UPDATE streams SET organization_id = ? WHERE id = 'alpha'`, hadron); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	user := &flyext.Identity{UserID: nathan, OrganizationID: collider, ExtensionID: "alpha", Role: "member"}
	if err := d.signIn(w, httptest.NewRequest(http.MethodGet, "/flyio/callback", nil), user); err != errNotFound {
		t.Errorf("got %v, want %v", err, errNotFound)
	}
	if len(w.Result().Cookies()) > 0 || d.count(`SELECT count(*) FROM sessions`) > 0 {
		t.Error("the refused sign-in started a session")
	}
	if got := d.count(`SELECT count(*) FROM activities WHERE stream_id = 'alpha' AND what = 'Signed in'`); got != 0 {
		t.Error("the refused sign-in is recorded as an activity")
	}
}

// TestSignInForNoCustomer checks that a sign-in without a stream or a customer
// organization is refused and stores nothing. Fly.io identifies members of every
// organization.
func TestSignInForNoCustomer(t *testing.T) {
	t.Parallel()
	d := newDashboardTest(t)
	for _, user := range []*flyext.Identity{
		{UserID: stranger, OrganizationID: "unknown", Role: "admin"},
		{UserID: stranger, OrganizationID: collider, ExtensionID: "gone", Role: "admin"},
	} {
		w := httptest.NewRecorder()
		if err := d.signIn(w, httptest.NewRequest(http.MethodGet, "/", nil), user); err == nil {
			t.Errorf("%+v: the sign-in succeeded", user)
		}
		if len(w.Result().Cookies()) > 0 {
			t.Errorf("%+v: the answer has a cookie", user)
		}
	}
	if got := d.count(`SELECT count(*) FROM users WHERE id = ?`, stranger) + d.count(`SELECT count(*) FROM sessions`); got != 0 {
		t.Errorf("the refused sign-ins stored %d users and sessions", got)
	}
}

func TestSignOnBegins(t *testing.T) {
	t.Parallel()
	d := newDashboardTest(t)
	ofCollider, ofHadron := d.in(collider), d.in(hadron)
	for _, test := range []struct {
		name, path string
		session    *http.Cookie
		status     int
		location   string
	}{
		{"stream", "/flyio/extensions/alpha/sso", nil, 302, "https://api.fly.io/oauth/authorize?"},
		{"organization", "/flyio/organizations/collider/sso", nil, 302, "https://api.fly.io/oauth/authorize?"},
		{"stream, signed in", "/flyio/extensions/a%2Fb/sso", ofCollider, 302, "/streams/a%2Fb"},
		{"organization, signed in", "/flyio/organizations/collider/sso", ofCollider, 302, "/organizations/collider"},
		{"stream, signed in for another organization", "/flyio/extensions/alpha/sso", ofHadron, 302, "https://api.fly.io/oauth/authorize?"},
		{"organization, signed in for another one", "/flyio/organizations/collider/sso", ofHadron, 302, "https://api.fly.io/oauth/authorize?"},
		{"unknown stream", "/flyio/extensions/none/sso", ofCollider, 404, ""},
		{"deleted stream", "/flyio/extensions/gone/sso", ofCollider, 410, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := d.get(test.path, test.session)
			location := w.Header().Get("Location")
			if w.Code != test.status || !strings.HasPrefix(location, test.location) {
				t.Errorf("got %d with location %q, want %d with %q", w.Code, location, test.status, test.location)
			}
			for _, c := range w.Result().Cookies() {
				if c.Path != "/flyio" {
					t.Errorf("cookie %s has the path %s, want /flyio, where the callback is", c.Name, c.Path)
				}
			}
		})
	}
	if w := d.do(httptest.NewRequest(http.MethodPost, "https://logjam.example/flyio/organizations/collider/sso", nil)); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: got %d, want 405", w.Code)
	}
}

func TestStateKey(t *testing.T) {
	t.Parallel()
	path := dbPath(t)
	l := newLogjam(t, path)
	first := l.store.stateKey
	if err := l.store.close(); err != nil {
		t.Fatal(err)
	}
	if again := newLogjam(t, path).store.stateKey; again != first || len(first) != keySize {
		t.Error("the key changed at a restart, which breaks the handshakes in progress")
	}
	key, err := readKeyFile(path + ".key")
	if err != nil {
		t.Fatal(err)
	}
	if other := newLogjam(t, dbPath(t)).store.stateKey; other == first || first == string(key) {
		t.Error("the state key is another database's state key, or the database's own key")
	}
}
