package service

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// TestConformance checks that Logjam meets every requirement of the protocol, with
// both generations of its signatures and of its sign-on.
func TestConformance(t *testing.T) {
	t.Parallel()
	skipped := map[flytest.Format][]string{ // requirements that do not apply to the format
		flytest.FormatXSignature: {"bearer-missing", "bearer-wrong", "coverage"},
		flytest.FormatRFC9421:    {"replay-as-delete", "timestamp-text"},
		flytest.FormatDraft05:    {"replay-as-delete", "timestamp-text"},
		flytest.FormatCavage:     {"changed-body", "changed-host", "replay-as-delete", "timestamp-text"},
	}
	events := []string{"event", "event-again", "event-signature", "event-type"} // only in generation 2
	for _, format := range flytest.Formats() {
		for _, generation := range []flyext.Generation{flyext.Generation1, flyext.Generation2} {
			t.Run(fmt.Sprintf("%s, sign-on of generation %d", format, generation), func(t *testing.T) {
				t.Parallel()
				report, err := conformanceOf(t, format, generation, dbPath(t)).Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				want := append(slices.Clone(skipped[format]), "kept-connection") // the client keeps no connections
				if format.Generation() == flyext.Generation1 {
					want = append(want, events...)
				}
				if generation == flyext.Generation1 { // its tokens do not name their application
					want = append(want, "sso-foreign-token")
				}
				var got []string
				for _, result := range report.Results {
					switch result.Verdict {
					case flytest.Failed:
						t.Error(result)
					case flytest.Skipped:
						got = append(got, result.ID)
					}
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("skipped %q, want %q", got, want)
				}
			})
		}
	}
}

// TestConformanceOnPostgreSQL checks that Logjam meets the requirements with
// PostgreSQL too.
func TestConformanceOnPostgreSQL(t *testing.T) {
	t.Parallel()
	report, err := conformanceOf(t, flytest.FormatXSignature, flyext.Generation2, newPostgreSQL(t)).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range report.Results {
		if result.Verdict == flytest.Failed {
			t.Error(result)
		}
	}
}

// conformanceOf starts Logjam and a Fly.io simulator, and returns the conformance
// test of Logjam.
func conformanceOf(t *testing.T, format flytest.Format, sso flyext.Generation, db string) *flytest.Conformance {
	t.Helper()
	fly := httptest.NewUnstartedServer(nil)
	c := databaseConfig(db)
	c.addr, c.signingSecrets, c.bearerTokens = "127.0.0.1:0", []string{testSecret}, []string{"bearer-token"}
	c.clientID, c.clientSecret, c.ssoGeneration = "logjam", "client-secret", int(sso)
	c.oauthURL = "http://" + fly.Listener.Addr().String()
	told := make(chan struct{}, 1)
	webhooks := &flytest.WebhookReceiver{Secret: webhookSecret, Observe: func(flytest.Webhook) {
		select {
		case told <- struct{}{}:
		default: // one is enough
		}
	}}
	receiver := httptest.NewServer(webhooks)
	t.Cleanup(receiver.Close)
	c.webhookSecret, c.webhookURL = webhookSecret, receiver.URL
	s, err := newServer(t.Context(), c, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.logjam.store.close() })
	t.Cleanup(func() { s.http.Close() })
	go s.http.Serve(s.listener) // until it is closed
	if err := s.logjam.webhooks.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.logjam.webhooks.stop(context.Background()) })
	// A customer makes a change on the dashboard, and Logjam sends a webhook.
	provision(t, s.logjam, &flyext.ProvisionRequest{ID: "told", Name: "told", OrganizationID: collider})
	if err := s.logjam.setStatus(t.Context(), &session{OrganizationID: collider}, "told", asleep); err != nil {
		t.Fatal(err)
	}
	<-told
	oauth := &flytest.OAuthServer{
		ClientID: c.clientID, ClientSecret: c.clientSecret, RedirectURLs: []string{s.baseURL + "/callback"}, Generation: sso,
	}
	fly.Config.Handler = oauth
	fly.Start()
	t.Cleanup(fly.Close)
	credentials := flytest.Credentials{SigningSecret: testSecret}
	if format.Generation() == flyext.Generation1 {
		credentials.BearerToken = c.bearerTokens[0]
	}
	return &flytest.Conformance{
		BaseURL: s.baseURL, Format: format, Credentials: credentials, OAuth: oauth, OAuthURL: fly.URL, Webhooks: webhooks,
	}
}

// TestSignOnOfGeneration1 checks that the dashboard shows only the organization's
// id for a user, because generation 1 does not identify the user.
func TestSignOnOfGeneration1(t *testing.T) {
	t.Parallel()
	conformance := conformanceOf(t, flytest.FormatXSignature, flyext.Generation1, dbPath(t))
	fly := flytest.Platform{BaseURL: conformance.BaseURL, Signer: flytest.XSignature(testSecret)}
	if _, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "alpha", Name: "collider-prod", OrganizationID: collider}); err != nil {
		t.Fatal(err)
	}
	conformance.OAuth.SetUsers(flytest.User{ID: nathan, Organizations: []flytest.UserOrganization{{OrganizationID: collider, Role: "admin"}}})
	conformance.OAuth.SetChoice(&flytest.Choice{UserID: nathan})
	visit, err := fly.OpenDashboard(t.Context(), "alpha", conformance.OAuthURL)
	if err != nil {
		t.Fatal(err)
	}
	page := string(visit.Last().ResponseBody)
	if visit.Last().Response.StatusCode != http.StatusOK || !strings.Contains(page, "collider-prod") ||
		!strings.Contains(page, "admin-of-"+collider) || strings.Contains(page, nathan) {
		_, _ = io.WriteString(t.Output(), page)
		t.Errorf("%s answered %s, want the dashboard with the user %q", visit.Last().Request.URL, visit.Last().Response.Status, "admin-of-"+collider)
	}
}
