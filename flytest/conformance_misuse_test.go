package flytest_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// TestNothingAdmitted checks that a provider that refuses every request passes no
// requirement, not even one that expects a refusal.
func TestNothingAdmitted(t *testing.T) {
	t.Parallel()
	for _, only := range [][]string{nil, {"unsigned", "replay"}} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{format: flytest.FormatXSignature}
			w.testing = func(c *flytest.Conformance) {
				c.Credentials.SigningSecret = "a-typing-error"
				c.Only = only
			}
			report := w.run(t)
			if report.Count(flytest.Passed) > 0 || report.Count(flytest.Failed) > 1 {
				t.Errorf("only %q:\n%s", only, explain(report))
			}
			if only != nil {
				return
			}
			if got := report.Results[0].String(); !strings.Contains(got, "Compare the signing secret: the one used here has 14 bytes.") {
				t.Errorf("the result does not give the length of the secret: %s", got)
			}
		})
	}
}

func TestConformanceMisuse(t *testing.T) {
	t.Parallel()
	right := flytest.Conformance{BaseURL: conformanceBase, Credentials: flytest.Credentials{SigningSecret: secret}}
	oauth := &flytest.OAuthServer{ClientID: "a", ClientSecret: "b", RedirectURLs: []string{conformanceBase + "/callback"}}
	for _, c := range []struct {
		name, want string
		change     func(c *flytest.Conformance)
	}{
		{"no base URL", `Platform.BaseURL "" must be an absolute http or https URL`, func(c *flytest.Conformance) { c.BaseURL = "" }},
		{"a parameter of the request's own", "Conformance.Params: ", func(c *flytest.Conformance) {
			c.Params = map[string]json.RawMessage{"organization_id": json.RawMessage(`"x"`)}
		}},
		{"a parameter of the signature", `the signature uses the name "nonce"`, func(c *flytest.Conformance) {
			c.Params = map[string]json.RawMessage{"nonce": json.RawMessage(`"x"`)}
		}},
		{"no secret", "Conformance.Credentials.SigningSecret is empty", func(c *flytest.Conformance) { c.Credentials = flytest.Credentials{} }},
		{"format", `unknown format "morse"`, func(c *flytest.Conformance) { c.Format = "morse" }},
		{"requirement", `unknown requirement "beauty"`, func(c *flytest.Conformance) { c.Only = []string{"beauty"} }},
		{"URL without server", "OAuthURL is set but OAuth is nil", func(c *flytest.Conformance) { c.OAuthURL = conformanceOAuth }},
		{"server without URL", `"" must be an absolute http or https URL`, func(c *flytest.Conformance) { c.OAuth = oauth }},
		{"two generations", "SSOGeneration differs from OAuth.Generation", func(c *flytest.Conformance) {
			c.OAuth, c.OAuthURL, c.SSOGeneration = oauth, conformanceOAuth, flyext.Generation1
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wrong := right
			wrong.Client = unreachable(t)
			c.change(&wrong)
			report, err := wrong.Run(t.Context())
			if report != nil || err == nil || !strings.HasPrefix(err.Error(), "flytest: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v, want the error %q", report, err, c.want)
			}
		})
	}
}

func TestConformanceUnreachable(t *testing.T) {
	t.Parallel()
	c := flytest.Conformance{
		BaseURL: conformanceBase, Credentials: flytest.Credentials{SigningSecret: secret},
		Client: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })},
	}
	report, err := c.Run(t.Context())
	if _, ok := errors.AsType[*flytest.UnreachableError](err); !ok || !errors.Is(err, io.ErrUnexpectedEOF) || len(report.Results) > 0 {
		t.Errorf("got %v, %v, want no results and an UnreachableError", report, err)
	}
}
