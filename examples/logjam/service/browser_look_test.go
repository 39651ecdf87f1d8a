package service

import (
	"net/http"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/browsertest"
)

// TestBrowserLooks checks the pages on a phone and on a desktop, in light and dark.
// To look at screenshots of them, run:
//
//	go test -run BrowserLooks -artifacts -outputdir some/directory
func TestBrowserLooks(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	provision(t, n.logjam, &flyext.ProvisionRequest{
		ID: "long", Name: strings.Repeat("a-very-long-name-", 8), OrganizationID: collider, UserID: nathan,
		ReadRegions: strings.Fields("ams arn bog bos cdg den dfw ewr fra gru hkg iad jnb lax lhr"),
	})
	for name, screen := range map[string]browsertest.Screen{"phone": browsertest.Phone, "desktop": browsertest.Desk} {
		for scheme, dark := range map[string]bool{"light": false, "dark": true} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				t.Parallel()
				b := n.signedIn(t, nathan)
				screen := screen
				screen.Dark = dark
				b.Show(screen)
				for _, page := range []struct {
					name, target string
					status       int
				}{
					{"stream", n.stream("alpha"), http.StatusOK},
					{"long", n.stream("long"), http.StatusOK},
					{"delete", n.stream("long") + "/delete", http.StatusOK},
					{"organization", n.origin + "/organizations/" + collider, http.StatusOK},
					{"missing", n.stream("missing"), http.StatusNotFound},
				} {
					b.Open(page.target, page.status)
					b.wantLook(page.name, scheme)
					b.Screenshot(page.name)
				}
			})
		}
	}
}

// wantLook checks the layout, colours, contrasts and sizes of a page.
func (b *tab) wantLook(name, scheme string) {
	b.t.Helper()
	look := b.Look("main *, header *", "header a, button, .button, .streams a")
	if look.Overflow > 0 {
		b.t.Errorf("%s: the page is %v pixels too wide", name, look.Overflow)
	}
	if want := map[string]string{"light": "rgb(246, 245, 249)", "dark": "rgb(20, 18, 26)"}[scheme]; look.Background != want {
		b.t.Errorf("%s: the background is %s, want %s", name, look.Background, want)
	}
	if len(look.Contrasts) < 5 {
		b.t.Errorf("%s: contrast measured for %d texts, want at least 5", name, len(look.Contrasts))
	}
	for text, contrast := range look.Contrasts { // WCAG 2.2, success criterion 1.4.3
		if contrast < 4.5 {
			b.t.Errorf("%s: %q has a contrast of %.1f, want at least 4.5", name, text, contrast)
		}
	}
	for _, text := range look.Small { // 2.5.5
		b.t.Errorf("%s: the target %q is too low for a finger", name, text)
	}
}

// TestBrowserByKeyboard moves through the header with the Tab key, checks that the
// focus is visible, and signs out with Enter.
func TestBrowserByKeyboard(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	b := n.signedIn(t, nathan)
	b.Open(n.stream("alpha"), http.StatusOK)
	for _, want := range []string{"Skip to content", "Logjam", "COLLIDER", "Sign out"} {
		b.Press(browsertest.KeyTab)
		if focus := b.Focused(); focus.Text != want || focus.Outline != "solid" || !focus.OnScreen {
			t.Errorf("the focus is on %+v, want it visible on %q", focus, want)
		}
	}
	b.Navigate(func() { b.Press(browsertest.KeyEnter) }, http.StatusOK)
	b.WantPage(n.origin+"/", "You are not signed in")
}
