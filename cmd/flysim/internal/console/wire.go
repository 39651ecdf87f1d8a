package console

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/flyext/flyext/flytest"
)

// A wire is an exchange as it was on the wire. Its number is set before it is
// shared. After that it does not change.
type wire struct {
	n           int // the number of its record
	method      string
	url         string // the full URL
	target      string // as in the request line
	request     []headerLine
	requestBody []byte
	base        string // the signed bytes
	status      int
	statusText  string
	answer      []headerLine
	answerBody  []byte
	header      http.Header // of the answer, for a replay
	duration    time.Duration
	incoming    bool // the console received it
	masked      bool // secrets were removed from the request
}

// answered reports whether there is an answer.
func (w *wire) answered() bool { return w.status != 0 }

type headerLine struct{ Name, Value string }

func newWire(e flytest.Exchange) *wire {
	w := sentWire(e.Request, e.RequestBody, e.SignatureBase)
	w.status, w.statusText = e.Response.StatusCode, e.Response.Proto+" "+e.Response.Status
	w.answer, w.header = linesOf(e.Response.Header), e.Response.Header
	w.answerBody, w.duration = e.ResponseBody, e.Duration
	return w
}

// sentWire returns an exchange that has no answer yet.
func sentWire(r *http.Request, body []byte, base string) *wire {
	w := &wire{method: r.Method, url: r.URL.String(), target: r.URL.RequestURI(), requestBody: body, base: base}
	w.request = []headerLine{{"Host", orElse(r.Host, r.URL.Host)}}
	if len(body) > 0 { // Header does not have it, and draft-cavage signs it
		w.request = append(w.request, headerLine{"Content-Length", strconv.Itoa(len(body))})
	}
	w.request = append(w.request, linesOf(r.Header)...)
	return w
}

// A recorder is a transport that records each request, even if no answer comes.
type recorder struct {
	next http.RoundTripper
	sent func(*wire)
}

// RoundTrip implements [http.RoundTripper].
func (t recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	t.sent(sentWire(r, bodyBytes(r), flytest.SignatureBase(r)))
	return t.next.RoundTrip(r)
}

// recording returns the console's client with a recorder.
func (c *Console) recording(sent func(*wire)) *http.Client {
	client := http.Client{}
	if c.platform.Client != nil {
		client = *c.platform.Client
	}
	next := client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	client.Transport = recorder{next, sent}
	return &client
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

// size returns about how much memory a wire takes.
func (w *wire) size() int {
	size := 1024 + len(w.url) + len(w.target) + len(w.requestBody) + len(w.base) + len(w.answerBody)
	for _, lines := range [][]headerLine{w.request, w.answer} {
		for _, line := range lines {
			size += len(line.Name) + len(line.Value)
		}
	}
	return size
}

// serveWire answers with the exact bytes of a part of an exchange, as a file. A
// provider's answer is never a page of the console.
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
		c.failPage(w, http.StatusNotFound, "These bytes are no longer kept", "The console keeps only the bytes of the last requests.")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="`+part+"-"+strconv.Itoa(n)+`.txt"`)
	_, _ = w.Write(body) // the browser may have gone
}

// printable replaces what a page cannot show: invalid UTF-8, invisible
// characters, and characters that change the direction of the text around them.
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

// clip shortens a text to length characters, and makes it one line.
func clip(text string, length int) string {
	runes := []rune(strings.Join(strings.Fields(printable(text)), " "))
	if len(runes) > length {
		return string(runes[:length-1]) + "…"
	}
	return string(runes)
}
