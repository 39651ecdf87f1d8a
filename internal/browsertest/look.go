package browsertest

import (
	"os"
	"path/filepath"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// A Screen is the screen to emulate.
type Screen struct {
	Width, Height int  // in CSS pixels
	Phone         bool // touch input, and two device pixels per CSS pixel
	Dark          bool // whether the user prefers dark mode
}

// Phone is the narrowest screen that WCAG 2.2 requires pages to fit (success criterion
// 1.4.10). Desk is the screen of a desktop computer.
var (
	Phone = Screen{Width: 320, Height: 640, Phone: true}
	Desk  = Screen{Width: 1280, Height: 800}
)

// Show emulates a screen for the current page and all following ones. The default
// is Chromium's, in light mode.
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

// Screenshot saves a picture of the whole page as name.png in the test's artifacts:
// go test -artifacts -outputdir some/directory.
func (b *Tab) Screenshot(name string) {
	b.t.Helper()
	picture := do(b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(b.t.ArtifactDir(), name+".png"), picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// A Look has measurements of a page's appearance.
type Look struct {
	Overflow   float64            // width of the page minus that of the screen, in CSS pixels
	Background string             // computed color of the body
	Contrasts  map[string]float64 // by tag and text; WCAG 2.2 requires 4.5 (success criterion 1.4.3)
	Small      []string           // texts of targets less than 44 CSS pixels high (2.5.5)
}

// Look measures the page. The first selector matches the elements whose texts are
// measured, the second the touch targets. If a text occurs twice, the lower
// contrast counts. A color that is partly transparent or not sRGB ends the test.
// Look ignores opacity and overlapping elements.
func (b *Tab) Look(texts, targets string) Look {
	b.t.Helper()
	return Eval[Look](b, `(() => {
		const parse = color => {
			const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
			if (!color.startsWith("rgb") || a > 0 && a < 1) throw new Error("cannot measure the color " + color);
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
			// innerWidth is unsuitable because it grows with the content on phones.
			Overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
			Background: getComputedStyle(document.body).backgroundColor,
			Contrasts: contrasts,
			Small: [...document.querySelectorAll(`+quote(targets)+`)]
				.filter(e => e.getBoundingClientRect().height < 44).map(e => e.textContent),
		};
	})()`)
}
