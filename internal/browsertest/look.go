package browsertest

import (
	"os"
	"path/filepath"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// A Screen is what a page is looked at on.
type Screen struct {
	Width, Height int  // in CSS pixels
	Phone         bool // a finger, and two device pixels for one
	Dark          bool // whether the user prefers dark colours
}

// The narrowest screen that WCAG 2.2 has pages fit (success criterion 1.4.10),
// and a desk's.
var (
	Phone = Screen{Width: 320, Height: 640, Phone: true}
	Desk  = Screen{Width: 1280, Height: 800}
)

// Show puts the tab, with the page that it has and all that follow, on a screen.
// Until then it is on a light desk of Chromium's choice.
func (b *Tab) Show(s Screen) {
	b.t.Helper()
	var options []chromedp.EmulateViewportOption
	if s.Phone {
		options = append(options, chromedp.EmulateMobile, chromedp.EmulateScale(2))
	}
	do(b, chromedp.EmulateViewport(int64(s.Width), int64(s.Height), options...))
	scheme := "light"
	if s.Dark {
		scheme = "dark"
	}
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// Screenshot takes a picture of the whole page, for a person to look at, and
// keeps it as name.png in the test's artifacts:
// go test -artifacts -outputdir some/directory.
func (b *Tab) Screenshot(name string) {
	b.t.Helper()
	picture := do(b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(b.t.ArtifactDir(), name+".png"), picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// A Look is what can be measured of how a page looks.
type Look struct {
	Overflow   float64            // CSS pixels that the page is wider than the screen; 0 or less fits
	Background string             // the body's computed colour
	Contrasts  map[string]float64 // by tag and text; WCAG 2.2 wants 4.5 (success criterion 1.4.3)
	Small      []string           // texts of targets that are less than 44 CSS pixels high (2.5.5)
}

// Look measures the page. The first selector matches the elements whose own
// texts are measured, the second the targets of fingers. Where a text is there
// twice, the worse contrast counts. Colours that are partly transparent, or not
// sRGB, cannot be measured and end the test; what lies over an element, and the
// opacity of one, are not seen.
func (b *Tab) Look(texts, targets string) Look {
	b.t.Helper()
	return Eval[Look](b, `(() => {
		const parse = color => {
			const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
			if (!color.startsWith("rgb") || a > 0 && a < 1) throw new Error("cannot measure the colour " + color);
			return [r, g, b, a];
		};
		const luminance = color => {
			const [r, g, b] = parse(color).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
			return 0.2126 * r + 0.7152 * g + 0.0722 * b;
		};
		const background = e => {
			if (!e) throw new Error("the page has no background");
			const color = getComputedStyle(e).backgroundColor;
			return parse(color)[3] === 0 ? background(e.parentElement) : color;
		};
		const contrasts = {};
		for (const e of document.querySelectorAll(`+quote(texts)+`)) {
			if (![...e.childNodes].some(c => c.nodeType === 3 && c.data.trim())) continue;
			const [a, b] = [luminance(getComputedStyle(e).color), luminance(background(e))];
			const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text = e.tagName + " " + e.textContent;
			contrasts[text] = Math.min(contrast, contrasts[text] ?? contrast);
		}
		return {
			// A phone's innerWidth grows with what is on it.
			Overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
			Background: getComputedStyle(document.body).backgroundColor,
			Contrasts: contrasts,
			Small: [...document.querySelectorAll(`+quote(targets)+`)]
				.filter(e => e.getBoundingClientRect().height < 44).map(e => e.textContent),
		};
	})()`)
}
