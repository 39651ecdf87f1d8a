package console_test

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestPalette computes the contrast of the pairs of colours in the style sheet
// (WCAG 2.2, success criteria 1.4.3 and 1.4.11).
func TestPalette(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("screens/style.css")
	if err != nil {
		t.Fatal(err)
	}
	light, rest, _ := strings.Cut(string(source), "@media (prefers-color-scheme: dark)")
	dark, _, _ := strings.Cut(rest, "\n}")
	for name, css := range map[string]string{"light": light, "dark": dark} {
		colours := make(map[string]string)
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{3,6});`).FindAllStringSubmatch(css, -1) {
			colours[m[1]] = m[2]
		}
		for _, pair := range []struct {
			front, backs string
			want         float64
		}{
			{"text", "page card soft strong-back", 7},
			{"quiet", "page card", 4.5},
			{"strong", "page card soft", 4.5},
			{"on-strong", "strong", 4.5},
			{"good", "good-back card", 4.5},
			{"wait", "wait-back", 4.5},
			{"bad", "bad-back card page", 4.5},
			{"gone", "gone-back", 4.5},
			{"on-terminal", "terminal", 7},
			{"prompt", "terminal", 4.5},
			{"edge", "page card", 3}, // of fields and buttons
			{"strong", "strong-back", 3},
		} {
			for back := range strings.FieldsSeq(pair.backs) {
				a, b := colours[pair.front], colours[back]
				if a == "" || b == "" {
					t.Fatalf("%s: there is no colour %s or %s", name, pair.front, back)
				}
				if got := contrast(t, a, b); got < pair.want {
					t.Errorf("%s: %s on %s has a contrast of %.2f, want %.1f", name, pair.front, back, got, pair.want)
				}
			}
		}
	}
}

func contrast(t *testing.T, a, b string) float64 {
	x, y := luminance(t, a), luminance(t, b)
	return (math.Max(x, y) + 0.05) / (math.Min(x, y) + 0.05)
}

// luminance returns the relative luminance of WCAG 2.2.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	digits := hex[1:]
	if len(digits) == 3 {
		digits = strings.Repeat(digits[:1], 2) + strings.Repeat(digits[1:2], 2) + strings.Repeat(digits[2:], 2)
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(digits[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		v := float64(n) / 255
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}
