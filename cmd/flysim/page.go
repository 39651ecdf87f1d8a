package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// A page is text for a person at a terminal.
type page struct {
	w         io.Writer
	colours   bool
	transient bool   // can take a line back
	terminal  bool   // a person's
	width     int    // in columns; 0 means the usual width
	status    string // the line to be taken back
}

// The widths of pages, in columns. A page that goes elsewhere than to a terminal
// has the usual width.
const (
	columns    = 80
	minColumns = 60
	maxColumns = 120
)

// widthOf returns how wide a page is on a terminal.
func widthOf(terminal *os.File) int {
	width, _, err := term.GetSize(int(terminal.Fd()))
	if err != nil || width <= 0 {
		return columns
	}
	return min(max(width, minColumns), maxColumns)
}

// newPage uses colours on a terminal whose user wants them
// (https://no-color.org).
func newPage(w io.Writer, lookupEnv func(string) (string, bool)) *page {
	file, ok := w.(*os.File)
	isTerminal := ok && term.IsTerminal(int(file.Fd()))
	noColour, _ := lookupEnv("NO_COLOR")
	kind, _ := lookupEnv("TERM")
	clever := isTerminal && kind != "dumb"
	width := columns
	if isTerminal {
		width = widthOf(file)
	}
	return &page{w: w, colours: clever && noColour == "", transient: clever, terminal: isTerminal, width: width}
}

// columns returns the width.
func (p *page) columns() int { return cmp.Or(p.width, columns) }

// A style is a terminal's code for how text looks (ECMA-48, section 8.3.117).
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// styled returns a text in a style.
func (p *page) styled(s style, text string) string {
	if !p.colours || s == plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// line writes a line that is short enough.
func (p *page) line(s style, indent, text string) {
	p.clear()
	text = strings.TrimRight(visible(text), " ")
	fmt.Fprintln(p.w, strings.TrimRight(indent+p.styled(s, text), " "))
}

func (p *page) blank() { p.line(plain, "", "") }

// say writes a paragraph, wrapped between words.
func (p *page) say(format string, args ...any) { p.wrap(plain, "", fmt.Sprintf(format, args...)) }

func (p *page) wrap(s style, indent, text string) {
	for _, line := range wrapped(text, p.columns()-utf8.RuneCountInString(indent)) {
		p.line(s, indent, line)
	}
}

// hang writes a label and, to its right, a text. The text is wrapped with a
// hanging indent.
func (p *page) hang(s style, label, text string) { p.hangAs(plain, label, s, text) }

// hangAs is hang with a label in a style.
func (p *page) hangAs(of style, label string, s style, text string) {
	name := strings.TrimSpace(label)
	before, after, _ := strings.Cut(label, name)
	indent := before + p.styled(of, name) + after
	width := utf8.RuneCountInString(label)
	for _, line := range wrapped(text, p.columns()-width) {
		p.line(s, indent, line)
		indent = strings.Repeat(" ", width)
	}
}

// wrapped returns the lines of a text that are at most width long, broken
// between words where there are words.
func wrapped(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(visible(text)) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
		for runes := []rune(line); len(runes) > width; runes = []rune(line) {
			lines = append(lines, string(runes[:width]))
			line = string(runes[width:])
		}
	}
	return append(lines, line)
}

// raw writes a text of lines as it is, but for what a terminal would obey.
func (p *page) raw(text string) {
	p.clear()
	io.WriteString(p.w, visible(text))
}

// show shows a line until something else is written, where that can be done.
func (p *page) show(text string) {
	if !p.transient {
		return
	}
	p.clear()
	text = visible(text)
	if runes := []rune(text); len(runes) >= p.columns() {
		text = string(runes[:p.columns()-2]) + "…"
	}
	p.status = text
	io.WriteString(p.w, p.styled(dim, text))
}

// clear takes back what show wrote.
func (p *page) clear() {
	if p.status != "" {
		p.status = ""
		io.WriteString(p.w, "\r\x1b[K")
	}
}

// isHidden says whether a character is one that a terminal obeys, or that
// reorders the text.
func isHidden(c rune) bool { return unicode.IsControl(c) || unicode.Is(unicode.Cf, c) }

// visible writes control characters out, except the ends of lines: what a
// provider answers goes to a terminal, which must not obey it.
func visible(text string) string {
	hidden := func(c rune) bool { return c != '\n' && c != '\t' && isHidden(c) }
	if !strings.ContainsFunc(text, hidden) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for i, c := range text {
		switch {
		case hidden(c):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(c), "'"))
		case c == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// writeJSON writes one JSON document to standard output.
func (p *program) writeJSON(document any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(document); err != nil {
		panic("flysim: encoding JSON: " + err.Error()) // of our own types
	}
	p.out.clear()
	var text strings.Builder
	for _, c := range b.String() { // what encoding/json leaves is in strings alone
		if c != '\n' && isHidden(c) {
			for _, unit := range utf16.AppendRune(nil, c) {
				fmt.Fprintf(&text, `\u%04x`, unit)
			}
			continue
		}
		text.WriteRune(c)
	}
	io.WriteString(p.out.w, text.String())
}
