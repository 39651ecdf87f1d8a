package flytest_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// TestGate checks that the run ends if the provider refuses the first request, and
// that the report names the mistake: the variant that the provider accepts.
func TestGate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, fix string
		format    flytest.Format
		verifier  flyext.Verifier
	}{
		{
			"generation 1 instead of 2", "Your provider verifies the format rfc9421, of generation 1.", flytest.FormatXSignature,
			flyext.MessageSignature(flyext.Key{ID: flytest.DefaultKeyID, Secret: secret}),
		},
		{"generation 2 instead of 1", "Your provider verifies the format x-signature, of generation 2.", flytest.FormatRFC9421, flyext.XSignature(secret)},
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
					t.Fatalf("the run continued:\n%s", explain(report))
				}
				got := report.Results[0]
				if !strings.Contains(got.Fix, c.fix) || strings.Contains(got.String(), secret) {
					t.Errorf("got %s, want the fix %q and no secret", got, c.fix)
				}
				if n := len(got.Trials); n < 3 {
					t.Errorf("got %d trials, want 3 or more", n)
				}
			})
		})
	}
}

// TestLateRetry checks the requirement for a POST after the DELETE of its extension:
// a provider that creates a new extension gets a warning.
func TestLateRetry(t *testing.T) {
	t.Parallel()
	gone := func(s *logstore, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.deleted[req.ID] {
			return nil, flyext.Gone("The stream was deleted.")
		}
		return nil, nil
	}
	forgets := func(s *logstore, id string) error { s.deleted[id] = false; return nil }
	broken := func(s *logstore, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
		if x, err := gone(s, req); err == nil {
			return x, nil
		}
		return nil, errInternal
	}
	for _, c := range []struct {
		name    string
		service *logstore
		want    flytest.Verdict
	}{
		{"410", &logstore{provision: gone}, flytest.Passed},
		{"a new extension", &logstore{deprovision: forgets}, flytest.Warned},
		{"500", &logstore{provision: broken}, flytest.Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{format: flytest.FormatXSignature, service: c.service}
				w.testing = func(c *flytest.Conformance) { c.Only = []string{"late-retry"} }
				if got := w.run(t).Results[0]; got.Verdict != c.want {
					t.Errorf("got %v, want %s", got, c.want)
				}
			})
		})
	}
}

// TestRawBytesNamesTheLibrary checks that an unusual body reveals a provider that
// verifies re-serialized JSON.
func TestRawBytesNamesTheLibrary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{format: flytest.FormatXSignature}
		w.verifying = func(v flyext.Verifier) flyext.Verifier {
			return verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
				changed := *m
				if body := jsontext.Value(bytes.Clone(m.Body)); len(body) > 0 && body.Compact() == nil {
					changed.Body = body
				}
				return v.Verify(ctx, &changed)
			})
		}
		w.testing = func(c *flytest.Conformance) { c.Only = []string{"raw-bytes"} }
		got := w.run(t).Results[0]
		if !strings.Contains(got.Got, "Your provider verifies re-serialized JSON, as JavaScript's JSON.stringify") {
			t.Errorf("the result does not name the mistake: %v", got)
		}
	})
}

// TestTrialsDiffer checks that the run tries each other way once, and that the advice
// does not repeat itself.
func TestTrialsDiffer(t *testing.T) {
	t.Parallel()
	refusing := func(status int) func(http.Handler) http.Handler {
		return func(http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) })
		}
	}
	for _, c := range []struct {
		name, base string
		handling   func(http.Handler) http.Handler
		fix        string
	}{
		{"no path, and a provider at another", "https://provider.example", nil, "Your provider answers at https://provider.example/flyio/extensions. "},
		{"a slash, and a provider at another path", "https://provider.example/", nil, "Your provider answers at https://provider.example/flyio/extensions. "},
		{"no path, and no provider", "https://provider.example", refusing(404), "Serve POST {base}/extensions."},
		{"the usual path, and no provider", conformanceBase, refusing(404), "Serve POST {base}/extensions."},
		{"no path, and 401", "https://provider.example", refusing(401), "Compare the signing secret"},
		{"the usual path, and 401", conformanceBase, refusing(401), "Compare the signing secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{format: flytest.FormatXSignature, handling: c.handling}
				w.testing = func(conformance *flytest.Conformance) { conformance.BaseURL = c.base }
				got := w.run(t).Results[0]
				seen := map[string]bool{}
				for _, trial := range got.Trials {
					if seen[trial.Text] {
						t.Errorf("there are two trials %q", trial.Text)
					}
					seen[trial.Text] = true
				}
				if len(seen) == 0 || !strings.HasPrefix(got.Fix, c.fix) || strings.Contains(got.Fix, " Or: ") {
					t.Errorf("%d trials, and the fix %q, want %q once", len(seen), got.Fix, c.fix)
				}
			})
		})
	}
}
