package service

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/browsertest"
)

// TestCustomerChanges checks which session may make which change, and from which
// site.
func TestCustomerChanges(t *testing.T) {
	t.Parallel()
	own := map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "https://logjam.example"}
	foreign := map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
	tests := []struct {
		name, method, path string
		organization       string // of the session; "" means no session
		header             map[string]string
		status             int
		location           string
		of                 string        // stream id
		want               flyext.Status // of that stream afterwards; "" means deleted or missing
	}{
		{"put to sleep", "POST", "/streams/alpha/sleep", collider, own, 303, "/streams/alpha?done", "alpha", asleep},
		{"escaped id", "POST", "/streams/a%2Fb/sleep", collider, own, 303, "/streams/a%2Fb?done", "a/b", asleep},
		{"awake already", "POST", "/streams/alpha/wake", collider, own, 303, "/streams/alpha?done", "alpha", flyext.Ready},
		{"deleted", "POST", "/streams/alpha/delete", collider, own, 303, "/organizations/collider?done", "alpha", ""},
		{"confirmation", "GET", "/streams/alpha/delete", collider, own, 200, "", "alpha", flyext.Ready},

		{"by another organization", "POST", "/streams/alpha/sleep", hadron, own, 404, "", "alpha", flyext.Ready},
		{"deleted by another organization", "POST", "/streams/alpha/delete", hadron, own, 404, "", "alpha", flyext.Ready},
		{"confirmation for another organization", "GET", "/streams/alpha/delete", hadron, own, 404, "", "alpha", flyext.Ready},
		{"not signed in", "POST", "/streams/alpha/sleep", "", own, 403, "", "alpha", flyext.Ready},
		{"deleted, not signed in", "POST", "/streams/alpha/delete", "", own, 403, "", "alpha", flyext.Ready},
		{"confirmation, not signed in", "GET", "/streams/alpha/delete", "", own, 403, "", "alpha", flyext.Ready},
		{"from another site", "POST", "/streams/alpha/sleep", collider, foreign, 403, "", "alpha", flyext.Ready},
		{"woken from another site", "POST", "/streams/alpha/wake", collider, foreign, 403, "", "alpha", flyext.Ready},
		{"deleted from another site", "POST", "/streams/alpha/delete", collider, foreign, 403, "", "alpha", flyext.Ready},
		{"by a link", "GET", "/streams/alpha/sleep", collider, foreign, 405, "", "alpha", flyext.Ready},
		{"deleted stream", "POST", "/streams/gone/sleep", collider, own, 404, "", "gone", ""},
		{"unknown stream", "POST", "/streams/none/delete", collider, own, 404, "", "none", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDashboardTest(t)
			r := httptest.NewRequest(test.method, "https://logjam.example"+test.path, nil)
			for name, value := range test.header {
				r.Header.Set(name, value)
			}
			if test.organization != "" {
				r.AddCookie(d.in(test.organization))
			}
			w := d.do(r)
			if location := w.Header().Get("Location"); w.Code != test.status || location != test.location {
				t.Errorf("got %d with location %q, want %d with %q", w.Code, location, test.status, test.location)
			}
			got := flyext.Status("")
			if x, err := d.logjam.Fetch(t.Context(), test.of); err == nil {
				got = x.Status
			}
			if got != test.want {
				t.Errorf("stream %s is %q, want %q", test.of, got, test.want)
			}
		})
	}
}

// TestBrowserChangesStream presses every button of a stream's page.
func TestBrowserChangesStream(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	b := n.signedIn(t, emmy)
	press := func(selector, location, status string) {
		t.Helper()
		b.Click(selector, http.StatusOK)
		b.WantPage(location, "collider-prod")
		if status == "" {
			return
		}
		if got := b.Text("#status"); got != status {
			t.Errorf("after %s the status is %q, want %q", selector, got, status)
		}
		x, err := n.logjam.Fetch(t.Context(), "alpha")
		if err != nil || string(x.Status) != status {
			t.Errorf("after %s, Fetch returns %+v, %v; want status %q", selector, x, err, status)
		}
	}
	confirmed := func(want string) {
		t.Helper()
		if got := b.Text("#done"); got != want {
			t.Errorf("the page confirms %q, want %q", got, want)
		}
	}
	press("#sleep", n.stream("alpha")+"?done", "asleep")
	confirmed("collider-prod is asleep.")
	colour := func() string {
		return browsertest.Eval[string](b.Tab, `getComputedStyle(document.getElementById("status")).backgroundColor`)
	}
	asleep := colour()
	press("#wake", n.stream("alpha")+"?done", "ready")
	confirmed("collider-prod is awake.")
	if colour() == asleep {
		t.Error("the statuses asleep and ready have the same colour")
	}
	press("#delete", n.stream("alpha")+"/delete", "")
	press("#keep", n.stream("alpha"), "ready")
	press("#delete", n.stream("alpha")+"/delete", "")
	if primary := browsertest.Eval[[]string](b.Tab, `[...document.querySelectorAll("main .button")].map(e => e.id)`); !slices.Equal(primary, []string{"keep"}) {
		t.Errorf("the primary actions are %q, want only keep", primary)
	}
	press("#delete", n.origin+"/organizations/"+collider+"?done", "") // the activities there still name the stream
	confirmed("collider-prod was deleted.")
	if text := b.Text(".activities"); !strings.Contains(text, "Deleted · collider-prod") || !strings.Contains(text, "Emmy") {
		t.Errorf("the activities do not have the deletion:\n%s", text)
	}
	_, err := n.logjam.Fetch(t.Context(), "alpha")
	wantError(t, err, errDeleted)
}
