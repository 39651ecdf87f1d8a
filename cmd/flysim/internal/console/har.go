package console

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A HAR is an HTTP Archive 1.2 (http://www.softwareishard.com/blog/har-12-spec/).
type harFile struct {
	Log harLog `json:"log"`
}

type harLog struct {
	Version string     `json:"version"`
	Creator harCreator `json:"creator"`
	Entries []harEntry `json:"entries"`
}

type harCreator struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type harEntry struct {
	Started  string             `json:"startedDateTime"`
	Time     float64            `json:"time"` // milliseconds
	Request  harRequest         `json:"request"`
	Response harResponse        `json:"response"`
	Cache    struct{}           `json:"cache"`
	Timings  map[string]float64 `json:"timings"`
	Comment  string             `json:"comment,omitempty"`
	Base     string             `json:"_signatureBase,omitempty"`
}

type harRequest struct {
	Method      string    `json:"method"`
	URL         string    `json:"url"`
	Version     string    `json:"httpVersion"`
	Cookies     []harPair `json:"cookies"`
	Headers     []harPair `json:"headers"`
	Query       []harPair `json:"queryString"`
	Body        *harBody  `json:"postData,omitempty"`
	HeadersSize int       `json:"headersSize"`
	BodySize    int       `json:"bodySize"`
}

type harResponse struct {
	Status      int        `json:"status"`
	Text        string     `json:"statusText"`
	Version     string     `json:"httpVersion"`
	Cookies     []harPair  `json:"cookies"`
	Headers     []harPair  `json:"headers"`
	Content     harContent `json:"content"`
	Redirect    string     `json:"redirectURL"`
	HeadersSize int        `json:"headersSize"`
	BodySize    int        `json:"bodySize"`
}

type harPair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type harBody struct {
	Type     string `json:"mimeType"`
	Text     string `json:"text"`
	Encoding string `json:"encoding,omitempty"`
}

type harContent struct {
	Size     int    `json:"size"`
	Type     string `json:"mimeType"`
	Text     string `json:"text,omitempty"`
	Encoding string `json:"encoding,omitempty"`
}

func newHAR(records []*record) harFile {
	file := harFile{harLog{Version: "1.2", Creator: harCreator{"flysim", "1"}, Entries: []harEntry{}}}
	for _, r := range slices.Backward(records) { // the oldest first
		if r.wire != nil {
			file.Log.Entries = append(file.Log.Entries, newHAREntry(r))
		}
	}
	return file
}

func newHAREntry(r *record) harEntry {
	w := r.wire
	took := float64(w.duration) / float64(time.Millisecond)
	started := r.at.Add(-w.duration).UTC().Format("2006-01-02T15:04:05.000Z07:00")
	body, encoding := textOf(w.requestBody)
	e := harEntry{
		Started: started, Time: took, Comment: string(r.what) + ": " + r.outcome.headline, Base: w.base,
		Timings: map[string]float64{"send": 0, "wait": took, "receive": 0},
		Request: harRequest{
			Method: w.method, URL: w.url, Version: "HTTP/1.1", Cookies: []harPair{}, Headers: pairs(w.request), Query: queryPairs(w.url),
			HeadersSize: -1, BodySize: len(w.requestBody),
		},
	}
	if len(w.requestBody) > 0 {
		e.Request.Body = &harBody{Type: valueOf(w.request, "Content-Type"), Text: body, Encoding: encoding}
	}
	content, encoding := textOf(w.answerBody)
	version, _, _ := strings.Cut(w.statusText, " ")
	e.Response = harResponse{
		Status: w.status, Text: http.StatusText(w.status), Version: version, Cookies: []harPair{}, Headers: pairs(w.answer),
		Content:  harContent{len(w.answerBody), valueOf(w.answer, "Content-Type"), content, encoding},
		Redirect: valueOf(w.answer, "Location"), HeadersSize: -1, BodySize: len(w.answerBody),
	}
	return e
}

// textOf returns bytes as text, or in base64 if they are not UTF-8.
func textOf(body []byte) (text, encoding string) {
	if utf8.Valid(body) {
		return string(body), ""
	}
	return base64.StdEncoding.EncodeToString(body), "base64"
}

func pairs(lines []headerLine) []harPair {
	all := make([]harPair, len(lines))
	for i, line := range lines {
		all[i] = harPair(line)
	}
	return all
}

func queryPairs(target string) []harPair {
	all := []harPair{}
	u, err := url.Parse(target)
	if err != nil {
		return all
	}
	for name, values := range u.Query() {
		for _, value := range values {
			all = append(all, harPair{name, value})
		}
	}
	slices.SortFunc(all, func(a, b harPair) int { return strings.Compare(a.Name+"="+a.Value, b.Name+"="+b.Value) })
	return all
}

func valueOf(lines []headerLine, name string) string {
	for _, line := range lines {
		if strings.EqualFold(line.Name, name) {
			return line.Value
		}
	}
	return ""
}

// serveHAR answers with the selected requests, as a file.
func (c *Console) serveHAR(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	file := newHAR(c.chosen(filterOf(r.URL.Query())))
	c.mu.Unlock()
	sendHAR(w, file)
}

// serveOneHAR answers with one request.
func (c *Console) serveOneHAR(w http.ResponseWriter, _ *http.Request, found *record) {
	c.mu.Lock()
	file := newHAR([]*record{found})
	c.mu.Unlock()
	sendHAR(w, file)
}

func sendHAR(w http.ResponseWriter, file harFile) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="flysim.har"`)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(file) // the browser may have gone
}
