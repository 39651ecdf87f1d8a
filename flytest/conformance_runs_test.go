package flytest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext/flytest"
)

// TestTwoRuns checks that a correct provider passes a second run at the same time of
// the clock: the second run repeats no signature of the first.
func TestTwoRuns(t *testing.T) {
	t.Parallel()
	for _, format := range flytest.Formats() {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				w := &world{format: format}
				w.config.Now = func() time.Time { return start }
				w.testing = func(c *flytest.Conformance) { c.Now = w.config.Now }
				c := w.conformance(t)
				for range 2 {
					report, err := c.Run(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if failed := ids(report, flytest.Failed); len(failed) > 0 {
						t.Fatalf("failed:\n%s", explain(report))
					}
				}
			})
		})
	}
}
