package flytest_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// TestGate: a provider that refuses the first request ends the run, and what it
// accepts instead is its mistake.
func TestGate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, fix string
		format    flytest.Format
		verifier  flyext.Verifier
	}{
		{
			"the other generation", "Your provider verifies the format rfc9421, of generation 1.", flytest.FormatXSignature,
			flyext.MessageSignature(flyext.Key{ID: flytest.DefaultKeyID, Secret: secret}),
		},
		{"the other generation, the other way round", "Your provider verifies the format x-signature, of generation 2.", flytest.FormatRFC9421, flyext.XSignature(secret)},
		{"a newline at the end of the secret", "Your provider has a newline at the end of the secret.", flytest.FormatXSignature, flyext.XSignature(secret + "\n")},
		{"another secret", "Compare the signing secret: the one used here has ", flytest.FormatXSignature, flyext.XSignature("another secret")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{format: c.format}
				w.config.Verifier = c.verifier
				report := w.run(t)
				if len(report.Results) != 1 || report.Results[0].Verdict != flytest.Failed {
					t.Fatalf("the run goes on:\n%s", explain(report))
				}
				got := report.Results[0]
				if !strings.Contains(got.Fix, c.fix) || strings.Contains(got.String(), secret) {
					t.Errorf("%s", got)
				}
				if n := len(got.Trials); n < 3 {
					t.Errorf("%d trials", n)
				}
			})
		})
	}
}
