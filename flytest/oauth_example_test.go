package flytest_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A customer opens the dashboard of a stream and signs in with Fly.io. A second
// customer cancels.
func ExampleOAuthServer() {
	mux := http.NewServeMux()
	service := httptest.NewServer(mux)
	defer service.Close()

	fly := &flytest.OAuthServer{
		ClientID: "logjam", ClientSecret: "client-secret",
		RedirectURLs: []string{service.URL + "/flyio/callback"},
	}
	fly.SetUsers(flytest.User{ID: "k9d01lp82rky6vo2", Name: "Nathan", Organizations: []flytest.UserOrganization{
		{OrganizationID: "g1lx9my4pzemqwk7", Role: "admin"},
	}})
	fly.SetChoice(&flytest.Choice{UserID: "k9d01lp82rky6vo2"})
	flyServer := httptest.NewServer(fly)
	defer flyServer.Close()

	provider, err := flyext.New(logjam{}, flyext.Config{
		BaseURL:  service.URL + "/flyio",
		Verifier: flyext.XSignature("signing-secret"),
		SSO: &flyext.SSOConfig{
			ClientID: "logjam", ClientSecret: "client-secret", OAuthURL: flyServer.URL,
			StateKey: "32 random bytes, or more of them",
			OrganizationOf: func(_ context.Context, extensionID string) (string, error) {
				return "g1lx9my4pzemqwk7", nil
			},
			SignIn: func(w http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
				fmt.Fprintf(w, "%s, %s of %s, sees %s", id.Name, id.Role, id.OrganizationID, id.ExtensionID)
				return nil
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle("/flyio/", provider)

	open := func() {
		jar, err := cookiejar.New(nil)
		if err != nil {
			log.Fatal(err)
		}
		browser := http.Client{Jar: jar}
		page, err := browser.Get(service.URL + "/flyio/extensions/stream-1/sso")
		if err != nil {
			log.Fatal(err)
		}
		defer page.Body.Close()
		if page.StatusCode != http.StatusOK {
			fmt.Println(page.Status)
			return
		}
		text, err := io.ReadAll(page.Body)
		fmt.Println(string(text), err)
	}
	open()
	fly.SetChoice(&flytest.Choice{Error: "access_denied"}) // cancels
	open()
	for _, r := range fly.Requests() {
		fmt.Println(r.Method, r.Path)
	}
	// Output:
	// Nathan, admin of g1lx9my4pzemqwk7, sees stream-1 <nil>
	// 403 Forbidden
	// GET /oauth/authorize
	// POST /oauth/token
	// GET /oauth/token/info
	// GET /oauth/authorize
}

// Faults change the answers of endpoints. ForeignApplication simulates a token of
// another application, which a provider must refuse.
func ExampleOAuthServer_SetFault() {
	fly := &flytest.OAuthServer{
		ClientID: "logjam", ClientSecret: "client-secret",
		RedirectURLs: []string{"https://logjam.io/flyio/callback"},
	}
	fly.SetFault(flytest.TokenInfoEndpoint, flytest.ForeignApplication())
	fly.SetFault(flytest.TokenEndpoint, flytest.ErrorAnswer("temporarily_unavailable"))

	answer := httptest.NewRecorder()
	fly.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, flytest.TokenEndpoint, nil))
	fmt.Println(answer.Code, answer.Body)
	// Output:
	// 400 {"error":"temporarily_unavailable","error_description":"simulated error"}
}
