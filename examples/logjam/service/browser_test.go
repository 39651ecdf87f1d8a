package service

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/browsertest"
)

// A tab is a browser tab that visits Logjam.
type tab struct {
	*browsertest.Tab
	t *testing.T
}

// newBrowser opens a browser without cookies.
func newBrowser(t *testing.T) *tab {
	t.Helper()
	return &tab{browsertest.New(t), t}
}

// session returns the session cookie, or nil.
func (b *tab) session() *http.Cookie {
	b.t.Helper()
	cookies := b.Cookies()
	i := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return strings.HasSuffix(c.Name, "logjam-session") })
	if i < 0 {
		return nil
	}
	return cookies[i]
}

// signIn chooses a user on the simulated sign-on page of Fly.io.
func (b *tab) signIn(userID string, status int) {
	b.t.Helper()
	b.ClickHere(`input[value="` + userID + `"]`)
	b.Click("#sign-in", status)
}

// An internet is Logjam and the simulated sign-on of Fly.io, on two sites:
// 127.0.0.1 and localhost.
type internet struct {
	logjam *Logjam
	fly    *flytest.OAuthServer
	base   string // Logjam's base URL
	origin string // of Logjam

	mu        sync.Mutex
	callbacks []string // URLs of the callbacks that reached Logjam
}

// Users of the simulated sign-on, and their organizations.
const (
	nathan, emmy, stranger = "nathan", "emmy", "stranger"
	collider, hadron       = "collider", "hadron"
)

// newInternet starts both servers. If withTLS is set, a proxy in front of Logjam
// terminates TLS.
func newInternet(t *testing.T, withTLS bool) *internet {
	t.Helper()
	fly := httptest.NewUnstartedServer(nil)
	_, port, _ := strings.Cut(fly.Listener.Addr().String(), ":")
	c := config{
		addr: "127.0.0.1:0", db: dbPath(t), signingSecrets: []string{testSecret},
		clientID: "logjam", clientSecret: "client-secret", oauthURL: "http://localhost:" + port,
	}
	proxy := httptest.NewUnstartedServer(nil)
	t.Cleanup(proxy.Close)
	if withTLS {
		c.baseURL = "https://" + proxy.Listener.Addr().String() + "/flyio"
	}
	s, err := newServer(t.Context(), c, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.logjam.store.close() })
	t.Cleanup(func() { s.http.Close() })
	if withTLS {
		proxy.Config.Handler = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: s.listener.Addr().String()})
			r.Out.Host = r.In.Host
		}}
		proxy.StartTLS()
	}

	n := &internet{logjam: s.logjam, base: s.baseURL, origin: strings.TrimSuffix(s.baseURL, "/flyio")}
	handler := s.http.Handler
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/flyio/callback" {
			n.mu.Lock()
			n.callbacks = append(n.callbacks, n.origin+r.RequestURI)
			n.mu.Unlock()
		}
		handler.ServeHTTP(w, r)
	})
	go s.http.Serve(s.listener) // until it is closed

	n.fly = &flytest.OAuthServer{ClientID: c.clientID, ClientSecret: c.clientSecret, RedirectURLs: []string{n.base + "/callback"}}
	n.fly.SetUsers(
		flytest.User{ID: nathan, Name: "Nathan", Organizations: []flytest.UserOrganization{
			{OrganizationID: collider, Role: "admin"}, {OrganizationID: hadron, Role: "member"},
		}},
		flytest.User{ID: emmy, Name: "Emmy", Organizations: []flytest.UserOrganization{{OrganizationID: collider, Role: "member"}}},
		flytest.User{ID: stranger, Name: "Stranger", Organizations: []flytest.UserOrganization{{OrganizationID: hadron, Role: "admin"}}},
	)
	fly.Config.Handler = n.fly
	fly.Start()
	t.Cleanup(fly.Close)

	for _, x := range []struct{ id, name, organization string }{
		{"alpha", "collider-prod", collider}, {"beta", "collider-staging", collider}, {"gamma", "hadron-prod", hadron},
	} {
		provision(t, n.logjam, &flyext.ProvisionRequest{
			ID: x.id, Name: x.name, OrganizationID: x.organization, OrganizationName: strings.ToUpper(x.organization),
			UserID: nathan, UserEmail: "nathan@customer.fly.io", PrimaryRegion: "mad", ReadRegions: []string{"fra", "syd"},
		})
	}
	return n
}

func (n *internet) sso(id string) string    { return n.base + "/extensions/" + id + "/sso" }
func (n *internet) stream(id string) string { return n.origin + "/streams/" + id }

// signedIn returns a browser that is signed in and shows the stream alpha.
func (n *internet) signedIn(t *testing.T, userID string) *tab {
	t.Helper()
	b := newBrowser(t)
	b.Open(n.sso("alpha"), http.StatusOK)
	b.signIn(userID, http.StatusOK)
	b.WantPage(n.stream("alpha"), "collider-prod")
	return b
}

// lastCallback returns the URL of the last callback.
func (n *internet) lastCallback(t *testing.T) string {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.callbacks) == 0 {
		t.Fatal("no callback reached Logjam")
	}
	return n.callbacks[len(n.callbacks)-1]
}

// asked counts the handshakes that reached Fly.io.
func (n *internet) asked() int {
	count := 0
	for _, r := range n.fly.Requests() {
		if r.Method == http.MethodGet && r.Path == flytest.AuthorizeEndpoint {
			count++
		}
	}
	return count
}
