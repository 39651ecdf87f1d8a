package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// TestPageShowsThisCode ensures that the code in docs/sso.md compiles: it is the
// sso literal of handler.
func TestPageShowsThisCode(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../docs/sso.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(program), "\n\tsso := ")
	shown, _, found := strings.Cut("\tsso := "+shown, "\n\tverifier := ")
	if !found {
		t.Fatal("main.go has no sso literal")
	}
	shown = strings.ReplaceAll("\n"+shown, "\n\t", "\n") // one level less indented
	if !strings.Contains(string(readme), "```go"+shown+"\n```\n") {
		t.Errorf("docs/sso.md does not contain this code:\n```go%s\n```", shown)
	}
}

// TestSignIn signs in a member of the organization and refuses another user.
func TestSignIn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		user   string
		status int
		text   string
	}{
		{"nathan", http.StatusOK, `This is stream "a/b".`},
		{"stranger", http.StatusForbidden, "You are not a member of the organization"},
	} {
		t.Run(test.user, func(t *testing.T) {
			t.Parallel()
			mux := http.NewServeMux()
			server := httptest.NewTLSServer(mux)
			t.Cleanup(server.Close)
			fly := &flytest.OAuthServer{
				ClientID: "logjam", ClientSecret: "client-secret", RedirectURLs: []string{server.URL + "/flyio/callback"},
			}
			fly.SetUsers(
				flytest.User{ID: "nathan", Organizations: []flytest.UserOrganization{{OrganizationID: "collider", Role: "member"}}},
				flytest.User{ID: "stranger", Organizations: []flytest.UserOrganization{{OrganizationID: "hadron", Role: "admin"}}},
			)
			fly.SetChoice(&flytest.Choice{UserID: test.user})
			flyServer := httptest.NewServer(fly)
			t.Cleanup(flyServer.Close)
			env := map[string]string{
				"FLYIO_CLIENT_ID": fly.ClientID, "FLYIO_CLIENT_SECRET": fly.ClientSecret, "FLYIO_OAUTH_URL": flyServer.URL,
				"STATE_KEY": strings.Repeat("k", 32), "FLYIO_SIGNING_SECRET": "signing-secret",
			}
			handler, err := newService().handler(server.URL+"/flyio", func(name string) string { return env[name] })
			if err != nil {
				t.Fatal(err)
			}
			mux.Handle("/", handler)
			platform := flytest.Platform{BaseURL: server.URL + "/flyio", Signer: flytest.XSignature("signing-secret"), Client: server.Client()}
			if _, err := platform.Provision(t.Context(), flyext.ProvisionRequest{ID: "a/b", OrganizationID: "collider"}); err != nil {
				t.Fatal(err)
			}

			browser := server.Client()
			if browser.Jar, err = cookiejar.New(nil); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second visit finds the session
				page, err := browser.Get(server.URL + "/flyio/extensions/a%2Fb/sso")
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(page.Body)
				page.Body.Close()
				if err != nil || page.StatusCode != test.status || !strings.Contains(string(text), test.text) {
					t.Errorf("got %s %s, %v", page.Status, text, err)
				}
			}
			asked := map[int]int{http.StatusOK: 1, http.StatusForbidden: 2}[test.status]
			count := 0
			for _, r := range fly.Requests() {
				if r.Path == flytest.AuthorizeEndpoint {
					count++
				}
			}
			if count != asked {
				t.Errorf("got %d authorization requests, want %d", count, asked)
			}
			direct, err := browser.Get(server.URL + "/streams/a%2Fb")
			if err != nil {
				t.Fatal(err)
			}
			direct.Body.Close()
			if in := direct.StatusCode == http.StatusOK; in != (test.status == http.StatusOK) {
				t.Errorf("the stream's page returned %s", direct.Status)
			}
		})
	}
}
