package flytest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A handshake is a provider, a simulated Fly.io, each on its own server, and a
// browser.
type handshake struct {
	t        *testing.T
	fly      *flytest.OAuthServer
	base     string // of the provider
	flyURL   string
	client   *http.Client
	mu       sync.Mutex
	signedIn []flyext.Identity
}

func newHandshake(t *testing.T, generation flyext.Generation, change ...func(*flyext.SSOConfig)) *handshake {
	t.Helper()
	mux := http.NewServeMux()
	service := httptest.NewServer(mux)
	t.Cleanup(service.Close)
	h := &handshake{t: t, base: service.URL + "/flyio"}
	h.fly = &flytest.OAuthServer{
		ClientID: oauthClientID, ClientSecret: oauthSecret, RedirectURLs: []string{h.base + "/callback"}, Generation: generation,
	}
	h.fly.SetUsers(nathan, emmy, loner)
	fly := httptest.NewServer(h.fly)
	t.Cleanup(fly.Close)
	h.flyURL = fly.URL

	sso := &flyext.SSOConfig{
		ClientID: oauthClientID, ClientSecret: oauthSecret, StateKey: strings.Repeat("k", 32), OAuthURL: fly.URL,
		Generation: generation, HTTPClient: fly.Client(),
		OrganizationOf: func(_ context.Context, id string) (string, error) { return strings.TrimPrefix(id, "stream-of-"), nil },
		SignIn: func(w http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.signedIn = append(h.signedIn, *id)
			http.Redirect(w, r, "/dashboard", http.StatusSeeOther)
			return nil
		},
	}
	for _, c := range change {
		c(sso)
	}
	provider, err := flyext.New(newService(), flyext.Config{BaseURL: h.base, Verifier: flyext.XSignature(secret), SSO: sso})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/flyio/", provider)
	mux.HandleFunc("/dashboard", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the dashboard") })
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	h.client = &http.Client{Jar: jar, Transport: service.Client().Transport}
	return h
}

// An arrival is the page that a browser ends at.
type arrival struct {
	status int
	url    *url.URL
	body   string
}

func (h *handshake) arrive(answer *http.Response, err error) arrival {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return arrival{answer.StatusCode, answer.Request.URL, string(body)}
}

// open follows the link to an extension's dashboard.
func (h *handshake) open(extensionID string) arrival {
	h.t.Helper()
	return h.arrive(h.client.Get(h.base + "/extensions/" + extensionID + "/sso"))
}

// submit sends the form of the authorize page.
func (h *handshake) submit(page arrival, form url.Values) arrival {
	h.t.Helper()
	if page.status != http.StatusOK || !strings.HasPrefix(page.url.String(), h.flyURL+flytest.AuthorizeEndpoint+"?") {
		h.t.Fatalf("got %d at %s, want the authorize page", page.status, page.url)
	}
	return h.arrive(h.client.PostForm(page.url.String(), form))
}

func (h *handshake) identities() []flyext.Identity {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.signedIn)
}

// wantRefusal checks that the browser ends at the provider's error page and that no
// user is signed in.
func (h *handshake) wantRefusal(got arrival, status int, code string) {
	h.t.Helper()
	if got.status != status || !strings.Contains(got.body, "<code>"+code+"</code>") {
		h.t.Errorf("got %d at %s, want %d %s: %s", got.status, got.url.Path, status, code, got.body)
	}
	if all := h.identities(); len(all) > 0 {
		h.t.Errorf("signed in: %+v, want none", all)
	}
}

// asked returns the number of requests to an endpoint of the OAuthServer.
func (h *handshake) asked(endpoint string) int {
	n := 0
	for _, r := range h.fly.Requests() {
		if r.Path == endpoint {
			n++
		}
	}
	return n
}

func TestHandshake(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		generation flyext.Generation
		want       string
	}{
		{"generation 2", 0, "{UserID:k9d01lp82rky6vo2 Name:Nathan Email:k9d01lp82rky6vo2@customer.fly.io ExtensionID:stream-of-hadron " +
			"OrganizationID:hadron Role:member Organizations:[{OrganizationID:collider Role:admin} {OrganizationID:hadron Role:member}] Generation:2 Grant:<nil>}"},
		{"generation 1", flyext.Generation1, "{UserID: Name: Email: ExtensionID:stream-of-collider OrganizationID:collider Role:admin Organizations:[] Generation:1 Grant:<nil>}"},
	} {
		extension := "stream-of-hadron"
		if test.generation == flyext.Generation1 {
			extension = "stream-of-collider"
		}
		check := func(t *testing.T, h *handshake, got arrival) {
			t.Helper()
			if got.status != http.StatusOK || got.url.Path != "/dashboard" {
				t.Fatalf("got %d at %s, want the dashboard: %s", got.status, got.url, got.body)
			}
			if all := h.identities(); len(all) != 1 || fmt.Sprintf("%+v", all[0]) != test.want {
				t.Errorf("signed in:\n%+v\nwant\n%s", all, test.want)
			}
			if got := h.asked(flytest.TokenEndpoint); got != 1 {
				t.Errorf("%d exchanges, want 1", got)
			}
		}
		t.Run(test.name+" with the page", func(t *testing.T) {
			t.Parallel()
			h := newHandshake(t, test.generation)
			check(t, h, h.submit(h.open(extension), signIn(nathan.ID)))
		})
		t.Run(test.name+" without the page", func(t *testing.T) {
			t.Parallel()
			h := newHandshake(t, test.generation)
			h.fly.SetChoice(&flytest.Choice{UserID: nathan.ID})
			check(t, h, h.open(extension))
		})
	}
}

func TestHandshakeRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		generation flyext.Generation
		form       url.Values
		status     int
		code       string
	}{
		{"cancelled", 0, url.Values{"action": {"cancel"}}, 403, flyext.CodeAccessDenied},
		{"of another organization", 0, signIn(emmy.ID), 403, flyext.CodeNotAMember},
		{"without organizations", 0, signIn(loner.ID), 403, flyext.CodeNotAMember},
		{"limited to another organization", 0, edited(signIn(nathan.ID), set("organization", "hadron")), 403, flyext.CodeNotAMember},
		{"in another role", 0, edited(signIn(nathan.ID), set("role", "auditor")), 403, flyext.CodeRoleNotAccepted},
		{"not an admin", flyext.Generation1, edited(signIn(nathan.ID), set("role", "member")), 403, flyext.CodeAccessDenied},
		{"admin of another", flyext.Generation1, edited(signIn(emmy.ID), set("role", "admin")), 403, flyext.CodeAccessDenied},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHandshake(t, test.generation)
			h.wantRefusal(h.submit(h.open("stream-of-collider"), test.form), test.status, test.code)
		})
	}
}

func TestHandshakeFaults(t *testing.T) {
	t.Parallel()
	const oneMiB = 1 << 20
	for _, test := range []struct {
		name     string
		endpoint string
		fault    flytest.Fault
		status   int
		code     string
	}{
		{"token: 500", flytest.TokenEndpoint, flytest.StatusAnswer(500), 502, flyext.CodeFlyUnavailable},
		{"token: HTML", flytest.TokenEndpoint, flytest.HTMLAnswer(), 502, flyext.CodeFlyUnavailable},
		{"token: no object", flytest.TokenEndpoint, flytest.JSONAnswer(200, `[]`), 502, flyext.CodeFlyUnavailable},
		{"token: cut off", flytest.TokenEndpoint, flytest.JSONAnswer(200, `{"access_token":"fo1_`), 502, flyext.CodeFlyUnavailable},
		{"token: wrong type", flytest.TokenEndpoint, flytest.WithMember("access_token", 1), 502, flyext.CodeFlyUnavailable},
		{"token: missing", flytest.TokenEndpoint, flytest.WithoutMember("access_token"), 502, flyext.CodeFlyUnavailable},
		{"token: huge", flytest.TokenEndpoint, flytest.HugeAnswer(oneMiB), 502, flyext.CodeFlyUnavailable},
		{"token: redirect loop", flytest.TokenEndpoint, flytest.RedirectLoop(), 502, flyext.CodeFlyUnavailable},
		{"token: invalid_grant", flytest.TokenEndpoint, flytest.ErrorAnswer("invalid_grant"), 403, flyext.CodeInvalidGrant},
		{"token: invalid_client", flytest.TokenEndpoint, flytest.ErrorAnswer("invalid_client"), 502, flyext.CodeFlyUnavailable},
		{"info: 500", flytest.TokenInfoEndpoint, flytest.StatusAnswer(500), 502, flyext.CodeFlyUnavailable},
		{"info: HTML", flytest.TokenInfoEndpoint, flytest.HTMLAnswer(), 502, flyext.CodeFlyUnavailable},
		{"info: wrong type", flytest.TokenInfoEndpoint, flytest.WithMember("organizations", "collider"), 502, flyext.CodeFlyUnavailable},
		{"info: no user", flytest.TokenInfoEndpoint, flytest.WithMember("user_id", 7), 502, flyext.CodeFlyUnavailable},
		{"info: huge", flytest.TokenInfoEndpoint, flytest.HugeAnswer(oneMiB), 502, flyext.CodeFlyUnavailable},
		{"info: redirect loop", flytest.TokenInfoEndpoint, flytest.RedirectLoop(), 502, flyext.CodeFlyUnavailable},
		{"info: foreign application", flytest.TokenInfoEndpoint, flytest.ForeignApplication(), 403, flyext.CodeForeignToken},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHandshake(t, 0)
			h.fly.SetChoice(&flytest.Choice{UserID: nathan.ID})
			h.fly.SetFault(test.endpoint, test.fault)
			h.wantRefusal(h.open("stream-of-collider"), test.status, test.code)
			if got := h.asked(test.endpoint); got != 1 {
				t.Errorf("got %d requests, want 1", got)
			}
			h.fly.SetFault(test.endpoint, nil)
			if got := h.open("stream-of-collider"); got.url.Path != "/dashboard" {
				t.Errorf("without the fault, got %d at %s, want the dashboard", got.status, got.url.Path)
			}
		})
	}
}

// TestHandshakeSlow checks that the provider's timeout ends a request to Fly.io.
func TestHandshakeSlow(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{flytest.TokenEndpoint, flytest.TokenInfoEndpoint} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			h := newHandshake(t, 0, func(sso *flyext.SSOConfig) { sso.Timeout = time.Second })
			h.fly.SetChoice(&flytest.Choice{UserID: nathan.ID})
			h.fly.SetFault(endpoint, flytest.SlowAnswer(nil))
			h.wantRefusal(h.open("stream-of-collider"), http.StatusGatewayTimeout, flyext.CodeFlyTimeout)
			if got := h.asked(endpoint); got != 1 {
				t.Errorf("got %d requests, want 1", got)
			}
		})
	}
}

// TestHandshakeTolerates checks that the provider accepts known deviations of Fly.io
// and possible future members.
func TestHandshakeTolerates(t *testing.T) {
	t.Parallel()
	released := make(chan struct{})
	close(released)
	for _, test := range []struct {
		name     string
		endpoint string
		fault    flytest.Fault
	}{
		{"no token_type", flytest.TokenEndpoint, flytest.WithoutMember("token_type")},
		{"new member of the token answer", flytest.TokenEndpoint, flytest.WithMember("new", []int{1})},
		{"new member of the info", flytest.TokenInfoEndpoint, flytest.WithMember("new", true)},
		{"no application", flytest.TokenInfoEndpoint, flytest.WithoutMember("application")},
		{"a slow answer", flytest.TokenEndpoint, flytest.SlowAnswer(released)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHandshake(t, 0)
			h.fly.SetChoice(&flytest.Choice{UserID: nathan.ID})
			h.fly.SetFault(test.endpoint, test.fault)
			if got := h.open("stream-of-collider"); got.url.Path != "/dashboard" {
				t.Errorf("got %d at %s, want the dashboard: %s", got.status, got.url.Path, got.body)
			}
		})
	}
}

// TestHandshakeReplay checks that a callback URL works once, and that the provider does
// not send its code a second time.
func TestHandshakeReplay(t *testing.T) {
	t.Parallel()
	h := newHandshake(t, 0)
	h.fly.SetChoice(&flytest.Choice{UserID: nathan.ID})
	var callback string
	h.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == "/flyio/callback" {
			callback = r.URL.String()
		}
		return nil
	}
	if got := h.open("stream-of-collider"); got.url.Path != "/dashboard" {
		t.Fatalf("got %d at %s, want the dashboard: %s", got.status, got.url.Path, got.body)
	}
	got := h.arrive(h.client.Get(callback))
	if got.status != http.StatusForbidden || !strings.Contains(got.body, flyext.CodeUnknownHandshake) {
		t.Errorf("the replay got %d %s", got.status, got.body)
	}
	if got := h.asked(flytest.TokenEndpoint); got != 1 {
		t.Errorf("%d exchanges, want 1", got)
	}
	if got := len(h.identities()); got != 1 {
		t.Errorf("signed in %d times, want 1", got)
	}
}
