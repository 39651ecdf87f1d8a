package flyext_test

import (
	"net/http/httptest"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// The signed components reach the verifier unchanged over HTTP/1.1 and HTTP/2. In
// HTTP/2 the host and the request line are pseudo-headers.
func TestEveryFormatOverBothVersionsOfHTTP(t *testing.T) {
	t.Parallel()
	key := flyext.Key{ID: "flyio-signing-secret", Secret: testSecret}
	formats := map[string]flytest.Signer{
		"X-Signature":             flytest.XSignature(testSecret),
		"RFC 9421":                flytest.RFC9421(key),
		"draft-05":                flytest.Draft05(key),
		"draft-cavage":            flytest.Cavage(key),
		"draft-cavage and digest": flytest.CavageOptions{CoverDigest: true}.Cavage(key),
		"zntrio":                  flytest.Zntrio(key),
	}
	for version, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		for format, signer := range formats {
			t.Run(version+" "+format, func(t *testing.T) {
				t.Parallel()
				server := httptest.NewUnstartedServer(newProvider(t, &testProvisioner{}, func(c *flyext.Config) {
					c.BaseURL = "https://example.com/flyio"
					c.Verifier = flyext.AnyOf(
						flyext.XSignature(testSecret),
						flyext.Policy{ZntrioDialect: true}.MessageSignature(key),
					)
				}))
				server.EnableHTTP2 = http2
				server.StartTLS()
				defer server.Close()
				fly := flytest.Platform{
					BaseURL: "https://example.com/flyio", Signer: signer, Client: server.Client(),
					Observe: func(e flytest.Exchange) {
						if e.Response.Proto != version {
							t.Errorf("the answer came over %s, want %s", e.Response.Proto, version)
						}
					},
				}
				if _, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "a/b", OrganizationID: "o1"}); err != nil {
					t.Error(err)
				}
				if _, err := fly.Update(t.Context(), "a/b", flyext.UpdateRequest{Name: flyext.OptionalOf("n")}); err != nil {
					t.Error(err)
				}
				if _, err := fly.Fetch(t.Context(), "a/b"); err != nil {
					t.Error(err)
				}
				if err := fly.Deprovision(t.Context(), "a/b"); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
