package console

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/flyext/flyext/flytest"
)

// A wire is an exchange as it went over the wire. It does not change but for its
// number, before anybody sees it.
type wire struct {
	n           int // that of its record
	method      string
	target      string // as in the request line
	request     []headerLine
	requestBody []byte
	base        string // that was signed
	status      int
	statusText  string
	answer      []headerLine
	answerBody  []byte
	header      http.Header // of the answer, for a replay
	duration    time.Duration
	incoming    bool // the provider has sent it
}

type headerLine struct{ Name, Value string }

func newWire(e flytest.Exchange) *wire {
	w := &wire{
		method: e.Request.Method, target: e.Request.URL.RequestURI(), requestBody: e.RequestBody, base: e.SignatureBase,
		status: e.Response.StatusCode, statusText: e.Response.Proto + " " + e.Response.Status,
		answerBody: e.ResponseBody, header: e.Response.Header, duration: e.Duration,
	}
	host := e.Request.Host
	if host == "" {
		host = e.Request.URL.Host
	}
	w.request = []headerLine{{"Host", host}}
	if len(e.RequestBody) > 0 { // it is no member of Header, and draft-cavage signs it
		w.request = append(w.request, headerLine{"Content-Length", strconv.Itoa(len(e.RequestBody))})
	}
	w.request = append(w.request, linesOf(e.Request.Header)...)
	w.answer = linesOf(e.Response.Header)
	return w
}

func linesOf(h http.Header) []headerLine {
	var lines []headerLine
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			lines = append(lines, headerLine{name, value})
		}
	}
	return lines
}

// size is what a wire takes of memory, about.
func (w *wire) size() int {
	size := 1024 + len(w.target) + len(w.requestBody) + len(w.base) + len(w.answerBody)
	for _, lines := range [][]headerLine{w.request, w.answer} {
		for _, line := range lines {
			size += len(line.Name) + len(line.Value)
		}
	}
	return size
}

// serveWire answers with the exact bytes of a part of an exchange, as a file:
// whatever a provider answers, it is no page of the console's.
func (c *Console) serveWire(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.PathValue("n"))
	var found *wire
	c.mu.Lock()
	if i := slices.IndexFunc(c.kept, func(r *record) bool { return r.n == n }); err == nil && i >= 0 {
		found = c.kept[i].wire
	}
	c.mu.Unlock()
	part := r.PathValue("part")
	var body []byte
	switch {
	case found == nil:
	case part == "request":
		body = found.requestBody
	case part == "answer":
		body = found.answerBody
	case part == "signature-base":
		body = []byte(found.base)
	default:
		found = nil
	}
	if found == nil {
		c.failPage(w, http.StatusNotFound, "These bytes are not kept", "The console keeps those of the last exchanges alone.")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="`+part+"-"+strconv.Itoa(n)+`.txt"`)
	_, _ = w.Write(body) // whoever left before the answer cannot be told so
}

// maxShown bounds what a page shows of one body, in bytes.
const maxShown = 32 << 10

// A bodyView is a body on a page.
type bodyView struct {
	Empty  bool
	JSON   [][]jsonToken // the lines of it, indented; nil where it is not JSON
	Raw    string
	Length int
	Cut    bool // there is more than is shown
}

// A jsonToken is a piece of a line.
type jsonToken struct{ Class, Text string }

func newBodyView(body []byte) bodyView {
	v := bodyView{Empty: len(body) == 0, Length: len(body)}
	raw, cut := body, false
	if len(raw) > maxShown {
		raw, cut = raw[:maxShown], true
	}
	v.Raw, v.Cut = printable(string(raw)), cut
	var indented bytes.Buffer
	if cut || depth(body) > maxDepth || json.Indent(&indented, body, "", "  ") != nil || indented.Len() > 4*maxShown {
		return v
	}
	for line := range strings.SplitSeq(printable(indented.String()), "\n") {
		v.JSON = append(v.JSON, tokens(line))
	}
	return v
}

// maxDepth bounds what is indented: that of very deep JSON takes its square.
const maxDepth = 40

// depth is how deep the arrays and objects of a JSON text are nested.
func depth(text []byte) int {
	deepest, now, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			now++
			deepest = max(deepest, now)
		case c == ']' || c == '}':
			now--
		}
	}
	return deepest
}

// tokens splits a line of indented JSON into the member's name and the rest.
func tokens(line string) []jsonToken {
	rest := strings.TrimLeft(line, " ")
	if !strings.HasPrefix(rest, `"`) {
		return []jsonToken{{"", line}}
	}
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '"':
			if !strings.HasPrefix(rest[i+1:], ": ") {
				return []jsonToken{{"", line}}
			}
			indent := line[:len(line)-len(rest)]
			return []jsonToken{{"", indent}, {"key", rest[:i+1]}, {"", rest[i+1:]}}
		}
	}
	return []jsonToken{{"", line}}
}

// printable shows what a page cannot: bytes that are no UTF-8, and characters
// that a person does not see or that turn the direction of those around them.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// clip shortens a text to so many characters, and makes it one line.
func clip(text string, length int) string {
	runes := []rune(strings.Join(strings.Fields(printable(text)), " "))
	if len(runes) > length {
		return string(runes[:length-1]) + "…"
	}
	return string(runes)
}
