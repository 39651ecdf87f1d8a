package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestVisible(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"größe 🎈\tand\n": "größe 🎈\tand\n",
		"\x1b[31mred":    `\x1b[31mred`,
		"a\rb\x00\a":     `a\rb\x00\a`,
		"\u202eabc":      `\u202eabc`,
		"\u0085":         `\u0085`,
		"\xff\xfe":       `\xff\xfe`,
		"\uFFFD":         "\uFFFD",
	} {
		if got := visible(text); got != want {
			t.Errorf("visible(%q) is %q, want %q", text, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := &page{w: &b}
	p.wrap(plain, "  ", strings.Repeat("word ", 30)+strings.Repeat("ä", 200))
	p.hang(plain, "label  ", strings.Repeat("ö ", 100))
	p.hang(plain, "empty  ", "")
	narrow(t, b.String())
	if strings.Contains(b.String(), " \n") {
		t.Error("a line ends with a space")
	}
	if got := strings.Join(strings.Fields(b.String()), ""); strings.Count(got, "ä") != 200 || strings.Count(got, "ö") != 100 || strings.Count(got, "word") != 30 {
		t.Errorf("the text has lost characters:\n%s", b.String())
	}
}

// TestTransientIsVisible: a line of progress cannot control the terminal.
func TestTransientIsVisible(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	(&page{w: &b, transient: true}).show("Waiting for \x1b[2Jx\u202e")
	if got, want := b.String(), `Waiting for \x1b[2Jx\u202e`; got != want {
		t.Errorf("the page shows %q, want %q", got, want)
	}
}

// TestNoTerminal: output that does not go to a terminal has no colours and no
// transient line, in any environment.
func TestNoTerminal(t *testing.T) {
	t.Parallel()
	p := newPage(&bytes.Buffer{}, func(string) (string, bool) { return "", false })
	if p.colours || p.transient {
		t.Errorf("a buffer has colours: %v, and a transient line: %v", p.colours, p.transient)
	}
	p.show("progress")
	if n := p.w.(*bytes.Buffer).Len(); n != 0 {
		t.Errorf("the page wrote %d bytes of progress, want 0", n)
	}
}
