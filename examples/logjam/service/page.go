package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/flyext/flyext/flytest"
)

// A page writes text for a terminal that is 80 columns wide.
type page struct {
	w       io.Writer
	colours bool
}

const (
	columns = 80
	margin  = "  "
)

// newPage returns a page that writes to w. It uses colours if w is a terminal,
// unless the user has set NO_COLOR (https://no-color.org).
func newPage(w io.Writer, lookupEnv func(string) (string, bool)) *page {
	noColour, _ := lookupEnv("NO_COLOR")
	kind, _ := lookupEnv("TERM")
	return &page{w, isTerminal(w) && noColour == "" && kind != "dumb"}
}

// isTerminal reports whether w is a character device, as a terminal is.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// A style is a terminal's code for a colour or weight of text (ECMA-48, section
// 8.3.117).
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	cyan   style = "36"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

func (p *page) line(s style, indent, text string) {
	if p.colours && s != plain && text != "" {
		text = "\x1b[" + string(s) + "m" + text + "\x1b[0m"
	}
	fmt.Fprintln(p.w, strings.TrimRight(indent+text, " "))
}

func (p *page) heading(text string) {
	p.line(bold, "", text)
	p.line(plain, "", "")
}

// say writes a paragraph, wrapped between words.
func (p *page) say(format string, args ...any) {
	p.wrap(plain, "", fmt.Sprintf(format, args...))
	p.line(plain, "", "")
}

func (p *page) wrap(s style, indent, text string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch length := utf8.RuneCountInString; {
		case line == "":
			line = word
		case length(indent)+length(line)+1+length(word) <= columns:
			line += " " + word
		default:
			p.exactly(s, indent, line)
			line = word
		}
	}
	p.exactly(s, indent, line)
}

// exactly writes text with its spaces. It breaks text that is longer than a line.
func (p *page) exactly(s style, indent, text string) {
	runes := []rune(text)
	for room := columns - utf8.RuneCountInString(indent); len(runes) > room; runes = runes[room:] {
		p.line(s, indent, string(runes[:room]))
	}
	p.line(s, indent, string(runes))
}

// show writes lines without wrapping between words, and then an empty line.
func (p *page) show(s style, lines ...string) {
	for _, line := range lines {
		p.exactly(s, margin, line)
	}
	p.line(plain, "", "")
}

// request shows a request. For reading, it splits the query into lines and indents
// the body.
func (p *page) request(e flytest.Exchange) {
	r := e.Request
	p.exactly(cyan, margin, r.Method+" "+r.URL.EscapedPath())
	for i, parameter := range strings.Split(r.URL.RawQuery, "&") {
		if parameter != "" {
			p.exactly(plain, margin+"    ", string("?&"[min(i, 1)])+parameter)
		}
	}
	for _, name := range []string{"Authorization", "X-Signature", "Signature-Input", "Signature", "Content-Digest"} {
		if value := r.Header.Get(name); value != "" {
			p.exactly(yellow, margin, name+": "+value)
		}
	}
	p.show(plain, indentJSON(e.RequestBody)...)
}

// answer shows the status and the body of an answer.
func (p *page) answer(e flytest.Exchange) {
	s := green
	if e.Response.StatusCode >= 400 {
		s = red
	}
	p.exactly(s, margin, e.Response.Status)
	p.show(plain, indentJSON(e.ResponseBody)...)
}

// redirect shows the status and the location of a redirect.
func (p *page) redirect(status string, to *url.URL) {
	p.exactly(green, margin, status)
	p.exactly(plain, margin, "Location: "+to.Scheme+"://"+to.Host+to.Path)
	query := to.Query()
	for i, name := range slices.Sorted(maps.Keys(query)) {
		value := query.Get(name)
		if room := columns - len(margin) - 4 - len(name) - 2; len(value) > room {
			value = value[:room-1] + "…"
		}
		p.exactly(plain, margin+"    ", string("?&"[min(i, 1)])+name+"="+value)
	}
	p.line(plain, "", "")
}

// indentJSON returns the lines of an indented JSON text. It returns any other text
// as one line.
func indentJSON(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	var indented bytes.Buffer
	if json.Indent(&indented, text, "", "  ") != nil {
		return []string{string(text)}
	}
	return strings.Split(indented.String(), "\n")
}
