package flytest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// TestConformanceOfSound checks that a correct provider passes each requirement of
// its format.
func TestConformanceOfSound(t *testing.T) {
	t.Parallel()
	events := []string{"event", "event-again", "event-signature", "event-type"} // of generation 2 only
	skipped := map[flytest.Format][]string{
		flytest.FormatXSignature: {"coverage", "bearer-missing", "bearer-wrong"},
		flytest.FormatRFC9421:    append([]string{"timestamp-text", "replay-as-delete", "sso-foreign-token"}, events...),
		flytest.FormatDraft05:    append([]string{"timestamp-text", "replay-as-delete", "sso-foreign-token"}, events...),
		flytest.FormatCavage:     append([]string{"changed-body", "changed-host", "timestamp-text", "replay-as-delete", "sso-foreign-token"}, events...),
	}
	for _, format := range flytest.Formats() {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{format: format, telling: func(*flyext.WebhookConfig) {}}
				report := w.run(t)
				want := append([]string{"kept-connection"}, skipped[format]...) // wires have no connections
				slices.Sort(want)
				if failed := ids(report, flytest.Failed); len(failed) > 0 {
					t.Errorf("failed:\n%s", explain(report))
				}
				if got := ids(report, flytest.Skipped); !slices.Equal(got, want) {
					t.Errorf("skipped %q, want %q:\n%s", got, want, explain(report))
				}
				if len(report.Results) != len(flytest.Requirements()) {
					t.Errorf("%d results of %d requirements", len(report.Results), len(flytest.Requirements()))
				}
				if left := w.service.left(); left > 0 {
					t.Errorf("%d extensions were left behind", left)
				}
			})
		})
	}
}

// bare hides the optional methods of a Provisioner.
func bare(p flyext.Provisioner) flyext.Provisioner { return struct{ flyext.Provisioner }{p} }

// TestConformanceSkips checks that requirements are skipped, with a reason, if the
// provider lacks a feature or the Conformance lacks a simulator.
func TestConformanceSkips(t *testing.T) {
	t.Parallel()
	signOn := []string{
		"sso-denied", "sso-fly-fails", "sso-foreign-token", "sso-forged-state", "sso-no-member", "sso-other-browser",
		"sso-organization", "sso-other-session", "sso-redirect", "sso-sign-in", "sso-state", "sso-token-type", "sso-unknown-id",
	}
	walked := slices.DeleteFunc(slices.Clone(signOn), func(id string) bool {
		return id == "sso-organization" || id == "sso-redirect" || id == "sso-state" || id == "sso-unknown-id"
	})
	always := []string{"kept-connection", "bearer-missing", "bearer-wrong", "coverage", "webhooks"}
	for _, c := range []struct {
		name    string
		world   func(w *world)
		skipped []string
		reason  string
	}{
		{
			name: "no sign-on", world: func(w *world) { w.noSignOn = true },
			skipped: signOn, reason: "single sign-on is not offered (501 Not Implemented)",
		},
		{
			name: "no simulated sign-on",
			world: func(w *world) {
				w.signingOn = func(sso *flyext.SSOConfig) { sso.OAuthURL = "" } // the real Fly.io, which tests must not call
				w.testing = func(c *flytest.Conformance) { c.OAuth, c.OAuthURL = nil, "" }
			},
			skipped: walked, reason: "no simulated OAuth server is configured",
		},
		{
			name: "no receiver of webhooks", world: func(*world) {},
			reason: "no webhook receiver is configured",
		},
		{
			name: "no webhooks", world: func(w *world) {
				w.testing = func(c *flytest.Conformance) { c.Webhooks = &flytest.WebhookReceiver{Secret: webhookSecret} }
			},
			reason: "the provider sent no webhook",
		},
		{
			name: "neither GET nor DELETE", world: func(w *world) { w.offered = bare(w.service) },
			skipped: []string{
				"changed-query", "deprovision", "deprovision-twice", "fetch", "fetch-after-deprovision", "fetch-after-update", "late-retry", "ready",
				"replay-as-delete", "status", "event", "event-again", "event-signature", "event-type",
			},
			reason: "GET is not offered (501 Not Implemented)",
		},
		{
			name: "only one route", world: func(w *world) {
				w.noSignOn = true
				w.handling = func(provider http.Handler) http.Handler {
					mux := http.NewServeMux()
					mux.Handle("/flyio/extensions", provider)
					return mux
				}
			},
			skipped: append([]string{
				"event", "event-again", "event-signature", "event-type", "changed-method", "changed-path", "changed-query", "deprovision", "deprovision-twice", "fetch", "fetch-after-deprovision",
				"fetch-after-update", "late-retry", "ready", "replay-as-delete", "status", "update", "update-absent", "update-empty-list",
			}, signOn...),
			reason: "PATCH is not offered (404 Not Found)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{format: flytest.FormatXSignature, service: &logstore{}}
				c.world(w)
				report := w.run(t)
				want := append(slices.Clone(always), c.skipped...)
				slices.Sort(want)
				if got := ids(report, flytest.Skipped); !slices.Equal(got, want) {
					t.Errorf("skipped %q, want %q", got, want)
				}
				if text := explain(report); !strings.Contains(text, c.reason) || len(ids(report, flytest.Failed)) > 0 {
					t.Errorf("got these verdicts, want only the reason %q:\n%s", c.reason, text)
				}
			})
		})
	}
}

func TestConformanceOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []string
		w := &world{format: flytest.FormatXSignature}
		w.testing = func(c *flytest.Conformance) {
			c.Only = []string{"replay", "secret-names"}
			c.Started = func(r flytest.Requirement) { told = append(told, "started "+r.ID) }
			c.Finished = func(r flytest.Result) { told = append(told, string(r.Verdict)+" "+r.ID) }
		}
		report := w.run(t)
		want := []string{"started secret-names", "passed secret-names", "started replay", "passed replay"}
		if !slices.Equal(told, want) || len(report.Results) != 2 {
			t.Errorf("got calls %q and %d results, want %q and 2", told, len(report.Results), want)
		}
		if n := len(report.Results[1].Exchanges); n < 2*4 { // four requests, each sent twice
			t.Errorf("got %d exchanges of replays, want 8 or more", n)
		}
	})
}

// TestConformanceRefusedWebhook checks that the report has the reason of a refused
// webhook, and no secret.
func TestConformanceRefusedWebhook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{format: flytest.FormatXSignature, telling: func(*flyext.WebhookConfig) {}}
		var receiver *flytest.WebhookReceiver
		w.testing = func(c *flytest.Conformance) {
			receiver = c.Webhooks
			c.Finished = func(r flytest.Result) {
				if r.ID == "event-signature" { // the last requirement before "webhooks"
					receive(receiver, hook(fmt.Sprintf(`{"timestamp":"%d","action":"resource.updated","resource":{"id":"x","config":{"A":"top secret"}}}`, time.Now().Unix())))
				}
			}
		}
		report := w.run(t)
		last := report.Results[len(report.Results)-1]
		if want := `; reason for the last: the resource has a "config", but a webhook must not contain secrets`; last.ID != "webhooks" || !strings.HasSuffix(last.Got, want) {
			t.Errorf("%s: got %s", last.ID, last.Got)
		}
		if strings.Contains(last.String(), "top secret") {
			t.Error("the report contains the secret")
		}
	})
}

// TestConformanceStops checks that an interrupted run ends and removes its
// extensions.
func TestConformanceStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{format: flytest.FormatXSignature}
		w.testing = func(c *flytest.Conformance) {
			c.Finished = func(r flytest.Result) {
				if r.ID == "concurrent" {
					cancel()
				}
			}
		}
		report, err := w.conformance(t).Run(ctx)
		if !errors.Is(err, context.Canceled) || len(report.Results) != 6 || w.service.left() > 0 {
			t.Errorf("%v after %d results, %d extensions left", err, len(report.Results), w.service.left())
		}
	})
}

// TestConformanceNoAnswer checks that a requirement fails if the provider closes the
// connection without an answer.
func TestConformanceNoAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{format: flytest.FormatXSignature}
		w.handling = func(provider http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPatch {
					panic(http.ErrAbortHandler)
				}
				provider.ServeHTTP(rw, r)
			})
		}
		report := w.run(t)
		i := slices.IndexFunc(report.Results, func(r flytest.Result) bool { return r.ID == "update" })
		got := report.Results[i]
		last := got.Exchanges[len(got.Exchanges)-1]
		if got.Verdict != flytest.Failed || got.Want != "an answer" || last.Response != nil || last.Request.Method != http.MethodPatch || last.SignatureBase == "" {
			t.Errorf("got %s with the last exchange %+v, want a failure without an answer", got, last)
		}
	})
}

// TestConformanceTest runs itself in a second process against a provider with two
// defects, because a test that must fail cannot run in this process.
func TestConformanceTest(t *testing.T) {
	t.Parallel()
	const variable = "FLYTEST_DEFECTIVE"
	if os.Getenv(variable) != "" {
		w := &world{format: flytest.FormatXSignature, noSignOn: true}
		w.config.Verifier = flyext.Policy{MaxAge: 24 * time.Hour}.XSignature(secret)
		fetching(func(x *stream) *flyext.Extension { return &flyext.Extension{Status: "active"} })(w)
		w.conformance(t).Test(t)
		return
	}
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestConformanceTest$", "-test.v")
	command.Env = append(os.Environ(), variable+"=1")
	output, err := command.CombinedOutput()
	text := string(output)
	for _, want := range []string{
		"--- PASS: TestConformanceTest/provision", "--- SKIP: TestConformanceTest/sso-redirect",
		"--- FAIL: TestConformanceTest/stale", "--- FAIL: TestConformanceTest/status",
		"failed stale: A request that is two hours old is refused (docs/protocol.md#decisions)", "  sent: POST /flyio/extensions\n",
		`   got: "active", which means "still working" to flyctl` + "\n", "   fix: Answer exactly ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the output lacks %q:\n%s", want, text)
		}
	}
	if n := strings.Count(text, "--- FAIL: TestConformanceTest/"); err == nil || n != 2 || strings.Contains(text, secret) {
		t.Errorf("%v, %d failures, or a secret:\n%s", err, n, text)
	}
}

// ids returns the sorted ids of the requirements with a verdict.
func ids(report *flytest.Report, v flytest.Verdict) []string {
	found := []string{}
	for _, result := range report.Results {
		if result.Verdict == v {
			found = append(found, result.ID)
		}
	}
	slices.Sort(found)
	return found
}

func explain(report *flytest.Report) string {
	var b strings.Builder
	for _, r := range report.Results {
		if r.Verdict != flytest.Passed {
			fmt.Fprintf(&b, "%s %s: want %s, got %s%s\n", r.Verdict, r.ID, r.Want, r.Got, r.Reason)
		}
	}
	return b.String()
}

func TestRequirements(t *testing.T) {
	t.Parallel()
	protocol, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(protocol), -1) {
		headings["docs/protocol.md#"+strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-")] = true
	}
	seen := map[string]bool{}
	for _, r := range flytest.Requirements() {
		if !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(r.ID) || seen[r.ID] {
			t.Errorf("%q is not a valid id, or is a duplicate", r.ID)
		}
		seen[r.ID] = true
		if !headings[r.Source] {
			t.Errorf("%s: the source %s does not exist", r.ID, r.Source)
		}
		if len(r.Text)+len(strings.TrimPrefix(r.Source, "docs/protocol.md")) > 68 || // fits on a line of a terminal with the verdict
			strings.HasSuffix(r.Text, ".") {
			t.Errorf("%s: %q is %d characters, or ends with a full stop", r.ID, r.Text, len(r.Text))
		}
		if r.Group == "" || !strings.HasSuffix(r.Fix, ".") {
			t.Errorf("%s: group %q, fix %q", r.ID, r.Group, r.Fix)
		}
	}
}

// TestConformanceTellsNoSecret checks that a result contains no part of a secret, even
// if the quoted answer is cut within the secret.
func TestConformanceTellsNoSecret(t *testing.T) {
	t.Parallel()
	for n := 120; n < 200; n += 4 {
		synctest.Test(t, func(t *testing.T) {
			w := &world{format: flytest.FormatXSignature}
			w.spoil = func(_ *world, r *http.Request, a *answered) {
				if r.Method == http.MethodPatch {
					a.status, a.body = http.StatusInternalServerError, []byte(strings.Repeat("x", n)+secret)
				}
			}
			w.testing = func(c *flytest.Conformance) { c.Only = []string{"update"} }
			report := w.run(t)
			if got := report.Results[0].String(); report.Count(flytest.Failed) != 1 || strings.Contains(got, secret[:8]) {
				t.Errorf("after %d characters: %s", n, got)
			}
		})
	}
}
