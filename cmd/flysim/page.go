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

// A page writes text for the user.
type page struct {
	w         io.Writer
	colours   bool
	transient bool   // can erase a line
	terminal  bool   // w is a terminal
	width     int    // in columns; 0 means the usual width
	status    string // the line that clear erases
}

// The widths of pages, in columns. A page that does not go to a terminal has the
// usual width.
const (
	columns    = 80
	minColumns = 60
	maxColumns = 120
)

// widthOf returns the width of a page on a terminal.
func widthOf(terminal *os.File) int {
	width, _, err := term.GetSize(int(terminal.Fd()))
	if err != nil || width <= 0 {
		return columns
	}
	return min(max(width, minColumns), maxColumns)
}

// newPage returns a page with colours if w is a terminal and NO_COLOR is not set
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

// columns returns the width of the page.
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

// line writes a line without wrapping it.
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

// raw writes lines as they are, except for control characters.
func (p *page) raw(text string) {
	p.clear()
	io.WriteString(p.w, visible(text))
}

// show shows a line until the next output, on a terminal that can erase it.
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

// clear erases the line that show wrote.
func (p *page) clear() {
	if p.status != "" {
		p.status = ""
		io.WriteString(p.w, "\r\x1b[K")
	}
}

// isHidden reports whether a character controls a terminal or reorders the text.
func isHidden(c rune) bool { return unicode.IsControl(c) || unicode.Is(unicode.Cf, c) }

// visible escapes control characters other than newlines and tabs, so that an
// answer of the provider cannot control the terminal.
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
		panic("flysim: encoding JSON: " + err.Error()) // our own types can be encoded
	}
	p.out.clear()
	var text strings.Builder
	for _, c := range b.String() { // encoding/json leaves such characters only in strings
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
