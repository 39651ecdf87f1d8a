package service

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

// TestCustomerChanges is who may press which button, and from where.
func TestCustomerChanges(t *testing.T) {
	t.Parallel()
	own := map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "https://logjam.example"}
	foreign := map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
	tests := []struct {
		name, method, path string
		organization       string // signed in for; "" means not at all
		header             map[string]string
		status             int
		location           string
		of                 string // a stream
		want               flyext.Status
	}{
		{"put to sleep", "POST", "/streams/alpha/sleep", collider, own, 303, "/streams/alpha", "alpha", asleep},
		{"escaped id", "POST", "/streams/a%2Fb/sleep", collider, own, 303, "/streams/a%2Fb", "a/b", asleep},
		{"awake already", "POST", "/streams/alpha/wake", collider, own, 303, "/streams/alpha", "alpha", flyext.Ready},
		{"removed", "POST", "/streams/alpha/remove", collider, own, 303, "/organizations/collider", "alpha", ""},
		{"asked whether to remove", "GET", "/streams/alpha/remove", collider, own, 200, "", "alpha", flyext.Ready},

		{"by another organization", "POST", "/streams/alpha/sleep", hadron, own, 404, "", "alpha", flyext.Ready},
		{"removed by another organization", "POST", "/streams/alpha/remove", hadron, own, 404, "", "alpha", flyext.Ready},
		{"asked by another organization", "GET", "/streams/alpha/remove", hadron, own, 404, "", "alpha", flyext.Ready},
		{"not signed in", "POST", "/streams/alpha/sleep", "", own, 403, "", "alpha", flyext.Ready},
		{"removed, not signed in", "POST", "/streams/alpha/remove", "", own, 403, "", "alpha", flyext.Ready},
		{"asked, not signed in", "GET", "/streams/alpha/remove", "", own, 403, "", "alpha", flyext.Ready},
		{"from another site", "POST", "/streams/alpha/sleep", collider, foreign, 403, "", "alpha", flyext.Ready},
		{"woken from another site", "POST", "/streams/alpha/wake", collider, foreign, 403, "", "alpha", flyext.Ready},
		{"removed from another site", "POST", "/streams/alpha/remove", collider, foreign, 403, "", "alpha", flyext.Ready},
		{"by a link", "GET", "/streams/alpha/sleep", collider, foreign, 405, "", "alpha", flyext.Ready},
		{"deleted stream", "POST", "/streams/gone/sleep", collider, own, 404, "", "gone", ""},
		{"no stream", "POST", "/streams/none/remove", collider, own, 404, "", "none", ""},
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
				t.Errorf("got %d to %s, want %d to %s", w.Code, location, test.status, test.location)
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

// TestBrowserChangesStream presses all of the buttons.
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
			t.Errorf("Fly.io would be answered %v, %v", x, err)
		}
	}
	press("#sleep", n.stream("alpha"), "asleep")
	press("#wake", n.stream("alpha"), "ready")
	press("#remove", n.stream("alpha")+"/remove", "")
	press("#keep", n.stream("alpha"), "ready")
	press("#remove", n.stream("alpha")+"/remove", "")
	press("#remove", n.origin+"/organizations/"+collider, "") // where its name is in the activities
	if text := b.Text(".activities"); !strings.Contains(text, "Deleted · collider-prod") || !strings.Contains(text, "Emmy") {
		t.Errorf("the activities are %s", text)
	}
	_, err := n.logjam.Fetch(t.Context(), "alpha")
	wantError(t, err, errDeleted)
}
