package console

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// requestsPath is the page of the feed.
const requestsPath = "/requests"

// maxListed bounds the rows on the page of the feed.
const maxListed = 200

// A filter selects records of the feed.
type filter struct {
	Text      string // somewhere in the request or the answer
	Kind      string // one of kinds, or ""
	Status    string // "ok", "failed", "none", a class such as "4xx", a status such as "404", or ""
	Extension int    // a number, or 0
}

func filterOf(query url.Values) filter {
	n, _ := strconv.Atoi(query.Get("extension")) // an invalid number selects every extension
	return filter{strings.TrimSpace(query.Get("q")), query.Get("kind"), strings.TrimSpace(query.Get("status")), n}
}

// query returns the query that filterOf reads.
func (f filter) query() string {
	q := url.Values{}
	for name, value := range map[string]string{"q": f.Text, "kind": f.Kind, "status": f.Status} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Extension != 0 {
		q.Set("extension", strconv.Itoa(f.Extension))
	}
	return q.Encode()
}

// matches reports whether the filter selects a record. The console is locked.
func (f filter) matches(r *record) bool {
	return (f.Kind == "" || f.Kind == r.what.kind()) && (f.Extension == 0 || f.Extension == r.extension) &&
		f.matchesStatus(r) && (f.Text == "" || r.contains(strings.ToLower(f.Text)))
}

func (f filter) matchesStatus(r *record) bool {
	status := 0
	if r.wire != nil {
		status = r.wire.status
	}
	switch f.Status {
	case "":
		return true
	case "ok":
		return r.outcome.ok
	case "failed":
		return !r.outcome.ok && !r.neutral
	case "none":
		return status == 0
	}
	text := strconv.Itoa(status)
	return status != 0 && (f.Status == text || strings.EqualFold(f.Status, text[:1]+"xx"))
}

// contains reports whether the visible text of a record contains a text, which is
// in lower case.
func (r *record) contains(text string) bool {
	in := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	if in(string(r.what)) || in(r.title) || in(r.outcome.headline) || in(r.outcome.explanation) {
		return true
	}
	if r.wire == nil {
		return false
	}
	if in(r.wire.method+" "+r.wire.target) || in(r.wire.statusText) ||
		bytes.Contains(bytes.ToLower(r.wire.requestBody), []byte(text)) || bytes.Contains(bytes.ToLower(r.wire.answerBody), []byte(text)) {
		return true
	}
	return slices.ContainsFunc(slices.Concat(r.wire.request, r.wire.answer), func(line headerLine) bool { return in(line.Name + ": " + line.Value) })
}

// chosen returns the selected records, the newest first. The console is locked.
func (c *Console) chosen(f filter) []*record {
	var chosen []*record
	for _, r := range slices.Backward(c.feed) {
		if f.matches(r) {
			chosen = append(chosen, r)
		}
	}
	return chosen
}

type requestsView struct {
	Filter     filter
	Kinds      []string
	Statuses   []string
	Extensions []listItem
	Rows       []rowView
	Count      int // of the selected records
	Total      int
	Query      string
	Export     string // the URL of the HAR file
}

// A rowView is a record in the list.
type rowView struct {
	N                  int
	Kind, What         string
	Times              int
	At                 time.Time
	Class, Sign        string
	Method, Path       string
	Status             int
	Took               string
	Title              string
	Headline           string
	Incoming, Answered bool
}

func newRowView(r *record) rowView {
	v := rowView{N: r.n, Kind: r.what.kind(), What: string(r.what), Times: r.times, At: r.at, Title: r.title, Headline: r.outcome.headline}
	v.Class, v.Sign = r.look()
	if w := r.wire; w != nil {
		path, _, _ := strings.Cut(w.target, "?")
		v.Method, v.Path, v.Status, v.Took = w.method, clip(path, 200), w.status, took(w.duration)
		v.Incoming, v.Answered = w.incoming, w.answered()
	}
	return v
}

func (c *Console) serveRequestsPage(w http.ResponseWriter, r *http.Request) {
	f := filterOf(r.URL.Query())
	v := requestsView{Filter: f, Kinds: kinds, Statuses: []string{"ok", "failed", "none", "2xx", "3xx", "4xx", "5xx"}, Query: f.query()}
	c.mu.Lock()
	version := c.version
	for _, x := range slices.Backward(c.extensions) {
		v.Extensions = append(v.Extensions, listItem{x.n, x.title(), clip(x.id, 60), x.badge()})
	}
	chosen := c.chosen(f)
	v.Count, v.Total = len(chosen), len(c.feed)
	for _, r := range chosen[:min(len(chosen), maxListed)] {
		v.Rows = append(v.Rows, newRowView(r))
	}
	c.mu.Unlock()
	self := requestsPath
	v.Export = requestsPath + ".har"
	if v.Query != "" {
		self += "?" + v.Query
		v.Export += "?" + v.Query
	}
	c.write(w, http.StatusOK, requestsTemplate, page{Title: "Requests", Self: self, Nav: "requests", Class: "broad", Version: version, Content: v})
}

type requestView struct {
	recordView
	Kind      string
	Extension int
	About     string
	MAC       *macView
	Curl      bool // it can be sent again
	Exact     bool // with the same bytes
	Diff      *diffView
	Newer     int // the next record of the feed, or 0
	Older     int
}

// A macView is the HMAC-SHA256 of a signature base.
type macView struct{ Hex, Base64, Secret string }

// withRecord looks a record up by its number.
func (c *Console) withRecord(serve func(http.ResponseWriter, *http.Request, *record)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		c.mu.Lock()
		found := c.recordOf(n)
		c.mu.Unlock()
		if err != nil || found == nil {
			c.failPage(w, http.StatusNotFound, "There is no such request", "The console keeps the last "+strconv.Itoa(maxFeed)+" requests.")
			return
		}
		serve(w, r, found)
	}
}

func (c *Console) serveRequestPage(w http.ResponseWriter, _ *http.Request, r *record) {
	c.mu.Lock()
	version := c.version
	v := requestView{recordView: newRecordView(r), Kind: r.what.kind(), Extension: r.extension, About: r.title}
	if x := c.findLocked(func(x *extension) bool { return x.n == r.extension }); x == nil {
		v.Extension = 0
	}
	if r.wire != nil {
		v.Curl, v.Exact = !r.wire.incoming, !r.wire.incoming && !r.wire.masked
		v.MAC = c.macOf(r.wire)
		v.Diff = c.diffOf(r)
	}
	if i := slices.Index(c.feed, r); i >= 0 {
		if i > 0 {
			v.Older = c.feed[i-1].n
		}
		if i+1 < len(c.feed) {
			v.Newer = c.feed[i+1].n
		}
	}
	c.mu.Unlock()
	c.write(w, http.StatusOK, requestTemplate, page{
		Title: string(r.what) + " " + strconv.Itoa(r.n), Self: requestsPath + "/" + strconv.Itoa(r.n), Nav: "requests", Class: "broad", Version: version, Content: v,
	})
}
