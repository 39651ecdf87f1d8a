package flytest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const (
	oauthClientID = "elMJpuhA5bXb"
	oauthSecret   = "client-secret-2c1b"
	oauthRedirect = "https://logjam.io/flyio/callback"
	oauthState    = `a state/with "bytes"&= é+%`
	oauthScope1   = `{"organization_id":"collider","permission":"admin"}`
	oauthVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636, appendix B
	oauthStart    = 1686786353
)

var (
	nathan = flytest.User{ID: "k9d01lp82rky6vo2", Name: "Nathan", Organizations: []flytest.UserOrganization{
		{OrganizationID: "collider", OrganizationName: "Collider Inc", Role: "admin"},
		{OrganizationID: "hadron", Role: "member"},
	}}
	emmy = flytest.User{ID: "emmy", Email: "emmy@hadron.example", Organizations: []flytest.UserOrganization{
		{OrganizationID: "hadron", OrganizationName: "Hadron", Role: "auditor"},
	}}
	loner = flytest.User{ID: "loner", Name: "<b>Loner</b>"}
)

// An oauthTest is a server with its own clock and without a network.
type oauthTest struct {
	t   *testing.T
	fly *flytest.OAuthServer

	mu  sync.Mutex
	now time.Time
}

func newOAuthTest(t *testing.T, change ...func(*flytest.OAuthServer)) *oauthTest {
	t.Helper()
	o := &oauthTest{t: t, now: time.Unix(oauthStart, 0)}
	o.fly = &flytest.OAuthServer{
		ClientID: oauthClientID, ClientSecret: oauthSecret, RedirectURLs: []string{oauthRedirect, "https://logjam.io/other?a=b"},
		Now: func() time.Time {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.now
		},
	}
	for _, c := range change {
		c(o.fly)
	}
	o.fly.SetUsers(nathan, emmy, loner)
	return o
}

func generation1(fly *flytest.OAuthServer) { fly.Generation = flyext.Generation1 }

func (o *oauthTest) advance(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.Add(d)
}

func (o *oauthTest) do(r *http.Request) *httptest.ResponseRecorder {
	o.t.Helper()
	w := httptest.NewRecorder()
	o.fly.ServeHTTP(w, r)
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		o.t.Errorf("%s %s: Cache-Control is %q, want no-store", r.Method, r.URL.Path, got)
	}
	if strings.Contains(w.Body.String(), oauthSecret) {
		o.t.Errorf("%s %s shows the client secret: %s", r.Method, r.URL.Path, w.Body)
	}
	return w
}

// asked returns the parameters of a valid authorize URL after changes.
func asked(fly *flytest.OAuthServer, change ...func(url.Values)) url.Values {
	scope := "read"
	if fly.Generation == flyext.Generation1 {
		scope = oauthScope1
	}
	q := url.Values{
		"client_id": {oauthClientID}, "response_type": {"code"}, "redirect_uri": {oauthRedirect}, "scope": {scope},
		"state": {oauthState}, "code_challenge_method": {"S256"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(oauthVerifier)},
	}
	for _, c := range change {
		c(q)
	}
	return q
}

func set(name string, values ...string) func(url.Values) {
	return func(form url.Values) {
		form[name] = values
		if len(values) == 0 {
			delete(form, name)
		}
	}
}

func all(changes ...func(url.Values)) func(url.Values) {
	return func(form url.Values) {
		for _, c := range changes {
			c(form)
		}
	}
}

// choose submits the form of the page.
func (o *oauthTest) choose(query, form url.Values) *httptest.ResponseRecorder {
	o.t.Helper()
	return o.do(formRequest("/oauth/authorize?"+query.Encode(), form))
}

func formRequest(target string, form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func signIn(userID string) url.Values {
	return url.Values{"action": {"sign-in"}, "user": {userID}, "organization": {""}, "role": {""}}
}

// code returns the code of a sign-in that must succeed.
func (o *oauthTest) code(query, form url.Values) string {
	o.t.Helper()
	back := location(o.t, o.choose(query, form))
	if back.Get("code") == "" || back.Has("error") {
		o.t.Fatalf("redirected with %v, want a code only", back)
	}
	return back.Get("code")
}

func (o *oauthTest) aCode() string {
	o.t.Helper()
	return o.code(asked(o.fly), signIn(nathan.ID))
}

// location returns the parameters of a redirect to the provider.
func location(t *testing.T, w *httptest.ResponseRecorder) url.Values {
	t.Helper()
	target, query, _ := strings.Cut(w.Header().Get("Location"), "?")
	if w.Code != http.StatusSeeOther || target != oauthRedirect {
		t.Fatalf("got %d to %q, want a redirect to %s: %s", w.Code, w.Header().Get("Location"), oauthRedirect, w.Body)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func tokenForm(code string, change ...func(url.Values)) url.Values {
	form := url.Values{
		"client_id": {oauthClientID}, "client_secret": {oauthSecret}, "grant_type": {"authorization_code"},
		"code": {code}, "redirect_uri": {oauthRedirect}, "code_verifier": {oauthVerifier},
	}
	for _, c := range change {
		c(form)
	}
	return form
}

func (o *oauthTest) redeem(form url.Values) *httptest.ResponseRecorder {
	o.t.Helper()
	return o.do(formRequest("/oauth/token", form))
}

// accessToken exchanges a code for an access token, which must succeed.
func (o *oauthTest) accessToken(code string) string {
	o.t.Helper()
	w := o.redeem(tokenForm(code))
	text, _ := decodeObject(o.t, w)["access_token"].(string)
	if w.Code != http.StatusOK || text == "" {
		o.t.Fatalf("got %d %s, want an access token", w.Code, w.Body)
	}
	return text
}

func (o *oauthTest) info(accessToken string) *httptest.ResponseRecorder {
	o.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/oauth/token/info", nil)
	r.Header.Set("Authorization", "Bearer "+accessToken)
	return o.do(r)
}

func decodeObject(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &object); err != nil {
		t.Fatalf("%v in %q", err, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("Content-Type is %q", got)
	}
	return object
}

func wantError(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	object := decodeObject(t, w)
	if w.Code != status || object["error"] != code || object["error_description"] == "" {
		t.Errorf("got %d %s, want %d %s", w.Code, w.Body, status, code)
	}
}

func TestOAuthMisuse(t *testing.T) {
	t.Parallel()
	good := func(fly *flytest.OAuthServer) {
		fly.ClientID, fly.ClientSecret, fly.RedirectURLs = oauthClientID, oauthSecret, []string{oauthRedirect}
	}
	use := func(fly *flytest.OAuthServer) { fly.Requests() }
	for _, test := range []struct {
		name   string
		change func(*flytest.OAuthServer)
		use    func(*flytest.OAuthServer)
		want   string
	}{
		{"nothing set", func(fly *flytest.OAuthServer) { *fly = flytest.OAuthServer{} }, use, "ClientID"},
		{"no client id", func(fly *flytest.OAuthServer) { fly.ClientID = "" }, use, "ClientID"},
		{"no client secret", func(fly *flytest.OAuthServer) { fly.ClientSecret = "" }, use, "ClientSecret"},
		{"no redirect URL", func(fly *flytest.OAuthServer) { fly.RedirectURLs = nil }, use, "RedirectURLs"},
		{"relative redirect URL", func(fly *flytest.OAuthServer) { fly.RedirectURLs[0] = "/callback" }, use, "RedirectURLs"},
		{"redirect URL without host", func(fly *flytest.OAuthServer) { fly.RedirectURLs[0] = "https:///callback" }, use, "RedirectURLs"},
		{"redirect URL of a script", func(fly *flytest.OAuthServer) { fly.RedirectURLs[0] = "javascript://logjam.io/%0a" }, use, "RedirectURLs"},
		{"redirect URL with fragment", func(fly *flytest.OAuthServer) { fly.RedirectURLs[0] += "#x" }, use, "RedirectURLs"},
		{"unknown generation", func(fly *flytest.OAuthServer) { fly.Generation = 3 }, use, "Generation"},
		{"negative code lifetime", func(fly *flytest.OAuthServer) { fly.CodeLifetime = -1 }, use, "CodeLifetime"},
		{"negative token lifetime", func(fly *flytest.OAuthServer) { fly.TokenLifetime = -1 }, use, "TokenLifetime"},
		{"a request", func(fly *flytest.OAuthServer) { fly.ClientID = "" }, func(fly *flytest.OAuthServer) {
			fly.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		}, "ClientID"},
		{"user without id", nil, func(fly *flytest.OAuthServer) { fly.SetUsers(flytest.User{Name: "Nathan"}) }, "user"},
		{"two users of one id", nil, func(fly *flytest.OAuthServer) { fly.SetUsers(nathan, nathan) }, "user"},
		{"membership without organization", nil, func(fly *flytest.OAuthServer) {
			fly.SetUsers(flytest.User{ID: "u", Organizations: []flytest.UserOrganization{{Role: "admin"}}})
		}, "membership"},
		{"membership without role", nil, func(fly *flytest.OAuthServer) {
			fly.SetUsers(flytest.User{ID: "u", Organizations: []flytest.UserOrganization{{OrganizationID: "o"}}})
		}, "membership"},
		{"choice of an unknown user", nil, func(fly *flytest.OAuthServer) { fly.SetChoice(&flytest.Choice{UserID: "u9"}) }, "u9"},
		{"fault of an unknown endpoint", nil, func(fly *flytest.OAuthServer) { fly.SetFault("/oauth", flytest.HTMLAnswer()) }, "endpoint"},
		{"fault with a value that JSON lacks", nil, func(*flytest.OAuthServer) { flytest.WithMember("x", func() {}) }, `"x"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			fly := &flytest.OAuthServer{}
			good(fly)
			fly.Requests() // checks that the configuration is valid before the misuse
			if test.change != nil {
				test.change(fly)
			}
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, "flytest: ") || !strings.Contains(text, test.want) {
					t.Errorf("panicked with %q, want %q in it", text, test.want)
				}
			}()
			test.use(fly)
		})
	}
}

func TestOAuthRoutes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method, path string
		generation   flyext.Generation
		status       int
		allow        []string
		contentType  string // "" means any
	}{
		{method: "PUT", path: "/oauth/authorize", status: 405, allow: []string{"GET", "POST"}},
		{method: "GET", path: "/oauth/token", status: 405, allow: []string{"POST"}},
		{method: "POST", path: "/oauth/token/info", status: 405, allow: []string{"GET"}},
		{method: "GET", path: "/oauth/token/info", status: 401},
		{method: "GET", path: "/oauth/token/info", generation: flyext.Generation1, status: 404},
		{method: "GET", path: "/oauth/token/", status: 404},
		{method: "GET", path: "/", status: 404},
		{method: "GET", path: "/oauth/authorize?a=%zz", status: 400, contentType: "text/html; charset=utf-8"},
		{method: "POST", path: "/oauth/token?a=%zz", status: 400, contentType: "application/json; charset=utf-8"},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			t.Parallel()
			o := newOAuthTest(t, func(fly *flytest.OAuthServer) { fly.Generation = test.generation })
			w := o.do(httptest.NewRequest(test.method, test.path, nil))
			if w.Code != test.status || !slices.Equal(w.Header().Values("Allow"), test.allow) {
				t.Errorf("got %d, Allow %q; want %d, %q", w.Code, w.Header().Values("Allow"), test.status, test.allow)
			}
			if got := w.Header().Get("Content-Type"); test.contentType != "" && got != test.contentType {
				t.Errorf("Content-Type is %q, want %q", got, test.contentType)
			}
		})
	}
}

// printed returns the texts with which a value appears in output and logs.
func printed(v any) []string {
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("", "v", v)
	_, logged, _ := strings.Cut(strings.TrimSpace(log.String()), " v=")
	return []string{fmt.Sprintf("%v", v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), logged}
}

func TestOAuthRedacts(t *testing.T) {
	t.Parallel()
	fly := newOAuthTest(t).fly
	for _, got := range printed(fly) {
		if got != "OAuthServer([redacted])" {
			t.Errorf("printed as %q", got)
		}
	}
}

// TestOAuthConcurrentUse changes the server during sign-ons. Run it with -race.
func TestOAuthConcurrentUse(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { o.info(o.accessToken(o.aCode())) })
		wg.Go(func() { o.fly.SetUsers(nathan, emmy) })
		wg.Go(func() { o.fly.SetChoice(&flytest.Choice{UserID: nathan.ID}) })
		wg.Go(func() { o.fly.SetFault(flytest.TokenInfoEndpoint, flytest.HTMLAnswer()) })
		wg.Go(func() { o.fly.Requests() })
	}
	wg.Wait()
}
