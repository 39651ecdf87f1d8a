package service

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// A dashboardTest is a dashboard that a test calls without a network. Its base URL
// is https, and its time is clock.
type dashboardTest struct {
	t *testing.T
	*dashboard
	logjam  *Logjam
	mux     *http.ServeMux
	secrets []string // values that must not be on a page
	clock   time.Time
}

// hostile is a name that pages must escape.
const hostile = `<script>alert(1)</script>"'&`

func newDashboardTest(t *testing.T) *dashboardTest {
	t.Helper()
	d := &dashboardTest{t: t, logjam: newLogjam(t, dbPath(t)), mux: http.NewServeMux(), clock: time.Now()}
	d.dashboard = &dashboard{
		logjam: d.logjam, store: d.logjam.store, base: &url.URL{Scheme: "https", Host: "logjam.example", Path: "/flyio"},
		secure: true, now: func() time.Time { return d.clock }, log: testLog(t),
	}
	c := config{clientID: "logjam", clientSecret: "client-secret"}
	signOn, err := flyext.NewSignOn(flyext.Config{BaseURL: d.base.String(), SSO: d.sso(c)})
	if err != nil {
		t.Fatal(err)
	}
	d.mux.HandleFunc("/flyio/extensions/{id}/sso", func(w http.ResponseWriter, r *http.Request) {
		signOn.Begin(w, r, flyext.Destination{ExtensionID: r.PathValue("id")})
	})
	d.serve(d.mux, signOn)
	for id, organization := range map[string]string{"alpha": collider, "a/b": collider, "gone": collider, "gamma": hadron} {
		secret := provision(t, d.logjam, &flyext.ProvisionRequest{
			ID: id, Name: id + hostile, OrganizationID: organization, OrganizationName: organization + hostile,
			UserID: nathan, UserEmail: hostile, PrimaryRegion: hostile, ReadRegions: []string{hostile},
		})
		u, err := url.Parse(secret)
		if err != nil {
			t.Fatal(err)
		}
		password, _ := u.User.Password()
		d.secrets = append(d.secrets, secret, password)
	}
	if err := d.logjam.Deprovision(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	return d
}

// in signs a user in and returns the session cookie.
func (d *dashboardTest) in(organizationID string) *http.Cookie {
	d.t.Helper()
	return d.inAgain(organizationID, nil)
}

// inAgain signs a user in with a browser that has the session before, if any.
func (d *dashboardTest) inAgain(organizationID string, before *http.Cookie) *http.Cookie {
	d.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/flyio/callback", nil)
	if before != nil {
		r.AddCookie(before)
	}
	w := httptest.NewRecorder()
	err := d.signIn(w, r, &flyext.Identity{UserID: nathan, Name: hostile, OrganizationID: organizationID, Role: "member"})
	if err != nil {
		d.t.Fatal(err)
	}
	if location := w.Header().Get("Location"); w.Code != http.StatusSeeOther || location != "/organizations/"+organizationID {
		d.t.Errorf("sign-in answered %d with location %s", w.Code, location)
	}
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		d.t.Fatalf("%d cookies, want one", len(cookies))
	}
	return cookies[0]
}

func (d *dashboardTest) get(path string, session *http.Cookie) *httptest.ResponseRecorder {
	d.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "https://logjam.example"+path, nil)
	if session != nil {
		r.AddCookie(session)
	}
	return d.do(r)
}

// do answers a request, and checks that the page shows no secret and escapes names.
func (d *dashboardTest) do(r *http.Request) *httptest.ResponseRecorder {
	d.t.Helper()
	w := httptest.NewRecorder()
	d.mux.ServeHTTP(w, r)
	body := w.Body.String()
	for _, secret := range d.secrets {
		if strings.Contains(body, secret) {
			d.t.Errorf("%s shows the value of a secret", r.URL.Path)
		}
	}
	if strings.Contains(body, "<script") || strings.Contains(body, hostile) {
		d.t.Errorf("%s shows a name without escaping it:\n%s", r.URL.Path, body)
	}
	return w
}

func TestDashboardShowsOneOrganization(t *testing.T) {
	t.Parallel()
	d := newDashboardTest(t)
	ofCollider, ofHadron := d.in(collider), d.in(hadron)
	for _, test := range []struct {
		name, path string
		session    *http.Cookie
		status     int
		shows      string
	}{
		{"own stream", "/streams/alpha", ofCollider, 200, "alpha"},
		{"own stream with an escaped id", "/streams/a%2Fb", ofCollider, 200, "<code>a/b</code>"},
		{"own organization", "/organizations/collider", ofCollider, 200, `href="/streams/a%2Fb"`},
		{"own stream of the other organization", "/streams/gamma", ofHadron, 200, "gamma"},
		{"deleted stream", "/streams/gone", ofCollider, 404, "There is no such log stream"},
		{"unknown stream", "/streams/none", ofCollider, 404, "There is no such log stream"},
		{"another's stream", "/streams/gamma", ofCollider, 404, "There is no such log stream"},
		{"the other way round", "/streams/alpha", ofHadron, 404, "There is no such log stream"},
		{"unknown organization", "/organizations/none", ofCollider, 404, "There is no such organization"},
		{"another organization", "/organizations/hadron", ofCollider, 404, "There is no such organization"},
		{"stream, without a session", "/streams/a%2Fb", nil, 403, `href="/flyio/extensions/a%2Fb/sso"`},
		{"unknown stream, without a session", "/streams/none", nil, 403, "You are not signed in"},
		{"organization, without a session", "/organizations/collider", nil, 403, `href="/flyio/organizations/collider/sso"`},
		{"unknown path", "/nothing", ofCollider, 404, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := d.get(test.path, test.session)
			if body := w.Body.String(); w.Code != test.status || !strings.Contains(body, test.shows) {
				t.Errorf("got %d %s, want %d with %q", w.Code, body, test.status, test.shows)
			}
		})
	}
	if own := d.get("/organizations/collider", ofCollider).Body.String(); strings.Contains(own, "gamma") || strings.Contains(own, hadron) {
		t.Error("an organization's page shows another organization or its stream")
	}
	foreign, missing := d.get("/streams/gamma", ofCollider).Body.String(), d.get("/streams/delta", ofCollider).Body.String()
	if foreign != strings.ReplaceAll(missing, "delta", "gamma") {
		t.Error("the page for another organization's stream differs from the page for an unknown stream")
	}
	page := d.get("/streams/alpha", ofCollider).Body.String()
	if !strings.Contains(page, html.EscapeString(hostile)) || !strings.Contains(page, "LOGJAM_URL") {
		t.Errorf("the page lacks the stream's name or the secret's name:\n%s", page)
	}
}

func TestDashboardHeaders(t *testing.T) {
	t.Parallel()
	d := newDashboardTest(t)
	in := d.in(collider)
	forged := httptest.NewRequest(http.MethodPost, "https://logjam.example/sign-out", nil)
	forged.Header.Set("Sec-Fetch-Site", "cross-site")
	for name, w := range map[string]*httptest.ResponseRecorder{
		"home": d.get("/", nil), "home, signed in": d.get("/", in), "stream": d.get("/streams/alpha", in), "missing": d.get("/streams/none", in),
		"not signed in": d.get("/streams/alpha", nil), "organization": d.get("/organizations/collider", in),
		"style sheet": d.get("/forget.css", nil), "forged sign-out": d.do(forged),
		"sign-out": d.do(httptest.NewRequest(http.MethodPost, "https://logjam.example/sign-out", nil)),
	} {
		for header, want := range map[string]string{
			"Cache-Control": "no-store", "Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": screenPolicy,
		} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
		_, style, found := strings.Cut(w.Body.String(), "<style>")
		if !found {
			continue
		}
		style, _, _ = strings.Cut(style, "</style>")
		sum := sha256.Sum256([]byte(style))
		if hash := base64.StdEncoding.EncodeToString(sum[:]); !strings.Contains(screenPolicy, "style-src 'sha256-"+hash+"'") {
			t.Errorf("%s: the Content-Security-Policy does not allow the style sheet", name)
		}
	}
	if !strings.HasPrefix(screenPolicy, "default-src 'none'; ") || strings.Contains(screenPolicy, "unsafe") {
		t.Errorf("the Content-Security-Policy is too weak: %s", screenPolicy)
	}
}

// TestDashboardFails checks that the page for an internal error does not reveal the
// error.
func TestDashboardFails(t *testing.T) {
	t.Parallel()
	d := newDashboardTest(t)
	in := d.in(collider)
	if err := d.store.close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/streams/alpha", "/organizations/collider", "/"} {
		w := d.get(path, in)
		if body := w.Body.String(); w.Code != http.StatusInternalServerError || strings.Contains(body, "sql") || !strings.Contains(body, "Try again") {
			t.Errorf("%s: got %d %s", path, w.Code, body)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "https://logjam.example/sign-out", nil)
	r.AddCookie(in)
	if w := d.do(r); w.Code != http.StatusInternalServerError || len(w.Result().Cookies()) > 0 {
		t.Errorf("sign-out: got %d", w.Code)
	}
}
