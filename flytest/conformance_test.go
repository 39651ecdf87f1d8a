package flytest_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/flyext/flyext/flytest"
)

// TestConformanceOfSound: a provider as it should be passes everything that its
// format has.
func TestConformanceOfSound(t *testing.T) {
	t.Parallel()
	skipped := map[flytest.Format][]string{
		flytest.FormatXSignature: {"coverage", "bearer-missing", "bearer-wrong"},
		flytest.FormatRFC9421:    {"timestamp-text", "replay-as-delete", "sso-foreign-token"},
		flytest.FormatDraft05:    {"timestamp-text", "replay-as-delete", "sso-foreign-token"},
		flytest.FormatCavage:     {"changed-body", "changed-host", "timestamp-text", "replay-as-delete", "sso-foreign-token"},
	}
	for _, format := range flytest.Formats() {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{format: format}
				report := w.run(t)
				want := skipped[format]
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
				if left := len(w.service.streams); left > 0 {
					t.Errorf("%d extensions were left behind", left)
				}
			})
		})
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
			t.Errorf("%q is no id, or not the only one", r.ID)
		}
		seen[r.ID] = true
		if !headings[r.Source] {
			t.Errorf("%s: there is no %s", r.ID, r.Source)
		}
		if len(r.Text) > 72 || strings.HasSuffix(r.Text, ".") {
			t.Errorf("%s: %q is %d characters, or ends with a full stop", r.ID, r.Text, len(r.Text))
		}
		if r.Group == "" || !strings.HasSuffix(r.Fix, ".") {
			t.Errorf("%s: group %q, fix %q", r.ID, r.Group, r.Fix)
		}
	}
}
