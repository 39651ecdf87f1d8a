package main

import (
	"log"
	"net/http"
	"net/url"
	"os"

	"github.com/flyext/flyext"
)

func main() {
	handler, err := newService().handler("https://logjam.io/flyio", os.Getenv)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("localhost:8080", handler))
}

// handler serves Fly.io and the service's users. Every sign-in is for a stream, so
// ExtensionID is never empty. To sign users in for an organization, add a route
// that calls [flyext.SignOn.Begin] and a page to redirect to.
func (s *service) handler(baseURL string, getenv func(string) string) (http.Handler, error) {
	sso := &flyext.SSOConfig{ // {baseURL}/callback is the redirect URL to register with Fly.io
		ClientID:       getenv("FLYIO_CLIENT_ID"),
		ClientSecret:   getenv("FLYIO_CLIENT_SECRET"),
		StateKey:       getenv("STATE_KEY"),       // openssl rand -hex 32
		OAuthURL:       getenv("FLYIO_OAUTH_URL"), // "" means Fly.io
		OrganizationOf: s.organizationOf,
		SignIn: func(w http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
			s.start(w, id.UserID, id.OrganizationID) // the service's own session, under a new id
			http.Redirect(w, r, "/streams/"+url.PathEscape(id.ExtensionID), http.StatusSeeOther)
			return nil
		},
		SignedIn: func(r *http.Request, to flyext.Destination) (location string) {
			if !s.maySee(r, to.OrganizationID) {
				return ""
			}
			return "/streams/" + url.PathEscape(to.ExtensionID)
		},
	}
	verifier := flyext.XSignature(getenv("FLYIO_SIGNING_SECRET"))
	provider, err := flyext.New(s, flyext.Config{BaseURL: baseURL, Verifier: verifier, SSO: sso})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/flyio/", provider)
	mux.HandleFunc("GET /streams/{id}", s.showStream)
	return mux, nil
}
