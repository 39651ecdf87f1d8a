package console_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/browsertest"
)

// TestBrowserLooks measures the pages on phones and desks, in light and dark.
// Look at the pictures too: go test -run BrowserLooks -artifacts -outputdir
// some/directory
func TestBrowserLooks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	wantLook := func(name string, screen browsertest.Screen) {
		t.Helper()
		s.Show(screen)
		suffix := map[bool]string{false: "-light", true: "-dark"}[screen.Dark]
		size := map[int]string{320: "-tiny", 390: "-phone", 1280: "-desk"}[screen.Width]
		s.Screenshot(name + size + suffix)
		look := s.Look("main *, header *, nav *, .skip", ".bar a, .feed a, .actions > .button, .actions > .plain-button, .actions > form > button, .confirm > summary, #provision, #customer")
		if look.Overflow > 0 {
			t.Errorf("%s%s: the page is %v pixels too wide", name, size, look.Overflow)
		}
		if want := map[bool]string{false: "rgb(246, 245, 249)", true: "rgb(20, 18, 26)"}[screen.Dark]; look.Background != want {
			t.Errorf("%s%s: the background is %s, want %s", name, suffix, look.Background, want)
		}
		for text, contrast := range look.Contrasts { // WCAG 2.2, success criterion 1.4.3
			if contrast < 4.5 {
				t.Errorf("%s%s: %q has a contrast of %.2f, want 4.5", name, suffix, text, contrast)
			}
		}
		for _, text := range look.Small { // 2.5.5
			t.Errorf("%s%s: %q is too low for a finger", name, size, text)
		}
	}
	all := func(name string) {
		t.Helper()
		for _, dark := range []bool{false, true} {
			for _, width := range []int{320, 390, 1280} {
				wantLook(name, browsertest.Screen{Width: width, Height: 800, Phone: width < 1000, Dark: dark})
			}
		}
	}
	s.Open(s.url+"/", http.StatusOK)
	all("empty")

	first := s.provision("30bqn49y2jh", "collider-prod")
	s.post(first+"/update", url.Values{"name": {"collider-live"}, "mode_read_regions": {"set"}})
	s.provision("9d3kkk2lla0", "collider-taken")
	s.logjam.set(func(l *logjam) { l.slow = true })
	slow := s.provision("0vogzmzoj1k", strings.Repeat("a-very-long-name-", 8))
	gone := s.provision("5lgmabb3y30", "collider-staging")
	s.post(gone+"/deprovision", nil)
	s.Open(s.url+slow, http.StatusOK)
	s.WaitFor(".times")
	all("provisioning")
	s.logjam.set(func(l *logjam) { l.finished = flyext.Failed })
	s.WaitForText("#head .badge", "error")
	all("failed")
	s.Open(s.url+first, http.StatusOK)
	s.ClickHere("#secret1-show")
	s.ClickHere("#history > li:first-child .exchange > summary")
	all("extension")
	s.ClickHere("#update")
	s.ClickHere("#event")
	s.ClickHere("#deprovision")
	all("update")
	s.Open(s.url+"/users", http.StatusOK)
	s.ClickHere("#user-0-edit")
	all("users")
	s.Open(s.url+"/webhooks", http.StatusOK)
	all("no-webhooks")
	_ = s.tell("another secret", "lj-9d3kkk2lla0", "")
	if err := errors.Join(s.tell(webhookSecret, "lj-30bqn49y2jh", "asleep"), s.tell(webhookSecret, strings.Repeat("unknown", 40), "ready")); err != nil {
		t.Fatal(err)
	}
	s.WaitForText("#webhooks", "Refused")
	s.WaitForText("#webhooks", "which flysim does not know")
	s.ClickHere("#webhooks > li:last-child .exchange > summary")
	all("webhooks")
	s.Open(s.url+"/", http.StatusOK)
	s.ClickHere("#customer-more")
	all("home")
	s.Open(s.url+"/requests", http.StatusOK)
	all("requests")
	s.Open(s.url+"/requests?q=PATCH", http.StatusOK)
	s.Click("#feed > li:first-child a", http.StatusOK)
	all("request")
	s.Click("#edit", http.StatusOK)
	all("edit")
	s.Open(s.url+"/debugger", http.StatusOK)
	all("debugger")
	s.Open(s.url+"/requests/2/explain", http.StatusOK)
	s.Click("#explain", http.StatusOK)
	all("debugger-right")
	s.Fill("#pasted", strings.Replace(s.sentBody(), `":"`, `": "`, 1))
	s.Fill("#secret", "another-secret")
	s.Click("#explain", http.StatusOK)
	all("debugger-wrong")
	s.Fill("#capture", "nonsense")
	s.Fill("#base_url", "logjam.io")
	s.Click("#explain", http.StatusUnprocessableEntity)
	s.WantComplaint("422")
	all("debugger-mistakes")
	s.Open(s.url+first, http.StatusOK)
	s.post(first+"/fetch", nil)
	s.post(first+"/fetch", nil)
	s.WaitForText("#last", "Fetch")
	s.Click("#last-open", http.StatusOK)
	s.Click("#replay", http.StatusOK)
	all("replay")
}
