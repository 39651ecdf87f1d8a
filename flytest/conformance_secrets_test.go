package flytest_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// TestEscapedSecrets checks that a secret is found and redacted in any spelling that
// encoders of JSON, HTML and URLs have for it.
func TestEscapedSecrets(t *testing.T) {
	t.Parallel()
	const own = "ab/cd+ef&gh <\"ü🎈\\12"
	for _, c := range []struct {
		name, spelled string
		leaks         bool
	}{
		{"PHP's JSON", `ab\/cd+ef&gh <\"\u00fc\ud83c\udf88\\12`, true},
		{"Go's JSON", `ab/cd+ef\u0026gh \u003c\"ü🎈\\12`, true},
		{"JSON with upper-case digits", `ab\u002Fcd\u002Bef\u0026gh\u0020\u003C\u0022\u00FC\uD83C\uDF88\u005C12`, true},
		{"JSON in JSON", `ab\\/cd+ef\\u0026gh <\\\"ü🎈\\\\12`, true},
		{"HTML", `ab/cd+ef&amp;gh &lt;&quot;ü🎈\\12`, true},
		{"HTML with numbers", `ab&#x2F;cd&#43;ef&#038;gh &#60;&#34;&#xfc;&#127880;&#92;12`, true},
		{"a query", `ab%2Fcd%2Bef%26gh+%3C%22%C3%BC%F0%9F%8E%88%5C12`, true},
		{"a path", `ab%2fcd%2bef%26gh%20%3c%22%c3%bc%f0%9f%8e%88%5c12`, true},
		{"another text", `ab\/cd+ef&gh <\"\u00fc\ud83c\udf88\\13`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{format: flytest.FormatXSignature}
				spoilingCode(flyext.CodeInvalidField, func(a *answered) {
					a.status, a.body = 500, []byte(`{"error":"invalid","message":"under `+c.spelled+`"}`)
				})(w)
				w.testing = func(conformance *flytest.Conformance) {
					conformance.Only = []string{"missing-id", "no-secret"}
					conformance.Credentials.BearerToken = own
				}
				report := w.run(t)
				missing, secret := report.Results[0], report.Results[1]
				if c.leaks != (secret.Verdict == flytest.Failed) {
					t.Errorf("got %v", secret)
				}
				if c.leaks && (strings.Contains(missing.Got, c.spelled) || !strings.Contains(missing.Got, `"message":"under [redacted]"`)) {
					t.Errorf("the report shows the secret: %s", missing.Got)
				}
				if !c.leaks && !strings.Contains(missing.Got, c.spelled) {
					t.Errorf("the report redacts a text that is no secret: %s", missing.Got)
				}
			})
		})
	}
}
