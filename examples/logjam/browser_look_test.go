package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/flyext/flyext"
)

// TestBrowserLooks is about a phone and a desk, in light and dark. Look at the
// pictures too: go test -run BrowserLooks -artifacts -outputdir some/directory
func TestBrowserLooks(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	provision(t, n.logjam, &flyext.ProvisionRequest{
		ID: "long", Name: strings.Repeat("a-very-long-name-", 8), OrganizationID: collider, UserID: nathan,
		ReadRegions: strings.Fields("ams arn bog bos cdg den dfw ewr fra gru hkg iad jnb lax lhr"),
	})
	screens := func(t *testing.T, scheme, size string, width, height int64, options ...chromedp.EmulateViewportOption) {
		t.Run(scheme+" "+size, func(t *testing.T) {
			t.Parallel()
			b := n.signedIn(t, nathan)
			do(b, chromedp.EmulateViewport(width, height, options...))
			ctx, cancel := b.patience()
			defer cancel()
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, screen := range []struct {
				name, target string
				status       int64
			}{
				{"stream", n.stream("alpha"), http.StatusOK},
				{"long", n.stream("long"), http.StatusOK},
				{"organization", n.origin + "/organizations/" + collider, http.StatusOK},
				{"missing", n.stream("missing"), http.StatusNotFound},
			} {
				b.open(screen.target, screen.status)
				b.wantLook(screen.name, scheme)
				picture := do(b, chromedp.FullScreenshot(100))
				if err := os.WriteFile(filepath.Join(t.ArtifactDir(), screen.name+".png"), picture, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	for _, scheme := range []string{"light", "dark"} {
		screens(t, scheme, "phone", 320, 640, chromedp.EmulateMobile, chromedp.EmulateScale(2))
		screens(t, scheme, "desk", 1280, 800)
	}
}

// wantLook checks what can be measured of a page's look.
func (b *tab) wantLook(name, scheme string) {
	b.t.Helper()
	var look struct {
		Overflow   float64
		Background string
		Contrasts  map[string]float64
		Small      []string
	}
	text := do(b, chromedp.EvaluateAsDevTools[string](`(() => {
		const parse = color => color.match(/[\d.]+/g).map(Number);
		const luminance = color => {
			const [r, g, b] = parse(color).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
			return 0.2126 * r + 0.7152 * g + 0.0722 * b;
		};
		const background = e => {
			const color = getComputedStyle(e).backgroundColor;
			return parse(color)[3] === 0 ? background(e.parentElement) : color;
		};
		const contrasts = {};
		for (const e of document.querySelectorAll("main *, header *")) {
			if (![...e.childNodes].some(c => c.nodeType === 3 && c.data.trim())) continue;
			const [a, b] = [luminance(getComputedStyle(e).color), luminance(background(e))];
			contrasts[e.tagName + " " + e.textContent] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		}
		return JSON.stringify({
			Overflow: document.documentElement.scrollWidth - innerWidth,
			Background: getComputedStyle(document.body).backgroundColor,
			Contrasts: contrasts,
			Small: [...document.querySelectorAll("header a, button, .button, .streams a")]
				.filter(e => e.getBoundingClientRect().height < 44).map(e => e.textContent),
		});
	})()`))
	if err := json.Unmarshal([]byte(text), &look); err != nil {
		b.t.Fatal(err)
	}
	if look.Overflow > 0 {
		b.t.Errorf("%s: it is %v pixels too wide", name, look.Overflow)
	}
	if want := map[string]string{"light": "rgb(246, 245, 249)", "dark": "rgb(20, 18, 26)"}[scheme]; look.Background != want {
		b.t.Errorf("%s: the background is %s, want %s", name, look.Background, want)
	}
	if len(look.Contrasts) < 5 {
		b.t.Errorf("%s: %d texts, want more", name, len(look.Contrasts))
	}
	for text, contrast := range look.Contrasts { // WCAG 2.2, success criterion 1.4.3
		if contrast < 4.5 {
			b.t.Errorf("%s: %q has a contrast of %.1f, want 4.5", name, text, contrast)
		}
	}
	for _, text := range look.Small { // 2.5.5
		b.t.Errorf("%s: %q is lower than a finger needs", name, text)
	}
}

// TestBrowserByKeyboard reaches everything with the Tab key, sees where it is,
// and signs out with Enter.
func TestBrowserByKeyboard(t *testing.T) {
	t.Parallel()
	n := newInternet(t, false)
	b := n.signedIn(t, nathan)
	b.open(n.stream("alpha"), http.StatusOK)
	for _, want := range []string{"Skip to content", "Logjam", "COLLIDER", "Sign out"} {
		do(b, chromedp.KeyEvent(kb.Tab))
		focus := do(b, chromedp.EvaluateAsDevTools[[]string](`(() => {
			const e = document.activeElement, box = e.getBoundingClientRect();
			return [e.textContent, getComputedStyle(e).outlineStyle, String(box.left >= 0 && box.top >= 0)];
		})()`))
		if focus[0] != want || focus[1] != "solid" || focus[2] != "true" {
			t.Errorf("the focus is on %q (outline %s, on the screen: %s), want it seen on %q", focus[0], focus[1], focus[2], want)
		}
	}
	b.navigate(chromedp.KeyEvent(kb.Enter), http.StatusOK)
	b.wantPage(n.origin+"/", "You are not signed in")
}
