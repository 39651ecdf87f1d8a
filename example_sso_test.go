package flyext_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/flyext/flyext"
)

func ExampleSSOConfig() {
	sso := &flyext.SSOConfig{
		ClientID:     "elMJpuhA5bXb",
		ClientSecret: "from Fly.io",
		StateKey:     "32 random bytes, from your own secrets",
		OrganizationOf: func(ctx context.Context, extensionID string) (string, error) {
			if extensionID != "30bqn49y2jh" { // look up the extension in your database
				return "", flyext.NotFound("There is no such log stream.")
			}
			return "g1lx9my4pzemqwk7", nil
		},
		SignIn: func(w http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
			// Find or make the user by id.UserID, then start your own session.
			http.SetCookie(w, &http.Cookie{
				Name: "__Host-session", Value: "a new random id", Path: "/",
				Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
			})
			http.Redirect(w, r, "/streams/"+url.PathEscape(id.ExtensionID), http.StatusSeeOther)
			return nil
		},
	}
	provider, err := flyext.New(logjam{}, flyext.Config{
		BaseURL: "https://logjam.io/flyio", Verifier: flyext.XSignature("signing secret"), SSO: sso,
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	w := httptest.NewRecorder()
	provider.ServeHTTP(w, httptest.NewRequest("GET", "/flyio/extensions/30bqn49y2jh/sso", nil))
	to, _ := url.Parse(w.Header().Get("Location"))
	fmt.Println(w.Code, to.Host+to.Path, to.Query().Get("redirect_uri"))
	// Output: 302 api.fly.io/oauth/authorize https://logjam.io/flyio/callback
}

func ExampleSignOn_Begin() {
	signOn, err := flyext.NewSignOn(flyext.Config{BaseURL: "https://logjam.io/flyio", SSO: &flyext.SSOConfig{
		ClientID: "elMJpuhA5bXb", ClientSecret: "from Fly.io", StateKey: "32 random bytes, from your own secrets",
		OrganizationOf: func(context.Context, string) (string, error) { return "g1lx9my4pzemqwk7", nil },
		SignIn: func(w http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
			http.Redirect(w, r, "/organizations/"+id.OrganizationID, http.StatusSeeOther)
			return nil
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/flyio/organizations/{id}", func(w http.ResponseWriter, r *http.Request) {
		signOn.Begin(w, r, flyext.Destination{OrganizationID: r.PathValue("id")})
	})
	mux.HandleFunc("/flyio/callback", signOn.Callback)

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/flyio/organizations/g1lx9my4pzemqwk7", nil))
	fmt.Println(w.Code, strings.HasPrefix(w.Header().Get("Location"), "https://api.fly.io/oauth/authorize?"))
	// Output: 302 true
}
