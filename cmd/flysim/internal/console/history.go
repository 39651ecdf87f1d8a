package console

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/flyext/flyext"
)

// The history is a file with one JSON document per line, and lines are only
// appended. A later line about a record or extension replaces an earlier line
// about it. At the start the file is read and written again, so that it has one
// line for each.
const (
	historyFile = "history.jsonl"
	maxLine     = 16 << 20 // bytes; longer ones are skipped
	maxHistoryB = 128 << 20
)

// A savedLine is a line of the history. One of its members is set.
type savedLine struct {
	Record    *savedRecord    `json:"record,omitempty"`
	Extension *savedExtension `json:"extension,omitempty"`
	Forgotten int             `json:"forgotten,omitempty"`
}

type savedRecord struct {
	N           int        `json:"n"`
	At          time.Time  `json:"at"`
	What        action     `json:"what"`
	Extension   int        `json:"extension,omitempty"`
	Title       string     `json:"title,omitempty"`
	Times       int        `json:"times"`
	OK          bool       `json:"ok"`
	Neutral     bool       `json:"neutral,omitempty"`
	Forgotten   bool       `json:"forgotten,omitempty"` // the bytes were dropped
	Headline    string     `json:"headline"`
	Explanation string     `json:"explanation,omitempty"`
	Wire        *savedWire `json:"wire,omitempty"`
}

type savedWire struct {
	Method      string        `json:"method"`
	URL         string        `json:"url"`
	Target      string        `json:"target"`
	Request     []headerLine  `json:"request"`
	RequestBody []byte        `json:"request_body,omitempty"`
	Base        string        `json:"base,omitempty"`
	Status      int           `json:"status,omitempty"`
	StatusText  string        `json:"status_text,omitempty"`
	Answer      []headerLine  `json:"answer,omitempty"`
	AnswerBody  []byte        `json:"answer_body,omitempty"`
	Duration    time.Duration `json:"duration,omitempty"`
	Incoming    bool          `json:"incoming,omitempty"`
	Masked      bool          `json:"masked,omitempty"`
}

type savedExtension struct {
	N        int               `json:"n"`
	Request  json.RawMessage   `json:"request"`
	Current  json.RawMessage   `json:"current"`
	ID       string            `json:"id"`
	Name     string            `json:"name,omitempty"`
	App      string            `json:"app,omitempty"`
	ForApp   string            `json:"for_app,omitempty"`
	State    state             `json:"state"`
	Said     flyext.Status     `json:"said,omitempty"`
	Secrets  map[string]string `json:"secrets,omitempty"`
	Masked   bool              `json:"masked,omitempty"`
	Terminal string            `json:"terminal,omitempty"`
}

// openHistory reads the history in a directory, and continues it. The console is
// not in use yet.
func (c *Console) openHistory(directory string) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return fmt.Errorf("console: the data directory: %w", err)
	}
	name := filepath.Join(directory, historyFile)
	switch old, err := os.Open(name); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("console: the history: %w", err)
	default:
		err = c.readHistory(old)
		old.Close()
		if err != nil {
			return fmt.Errorf("console: the history: %w", err)
		}
	}
	return c.rewriteHistory(name)
}

// rewriteHistory replaces the file with the current records and extensions. The
// console is locked, or not in use yet.
func (c *Console) rewriteHistory(name string) error {
	file, err := os.CreateTemp(filepath.Dir(name), historyFile+".*") // with mode 0600
	if err != nil {
		return fmt.Errorf("console: the history: %w", err)
	}
	previous := c.history
	c.history, c.historyBytes, c.historyName = file, 0, name
	for _, x := range c.extensions {
		c.saveExtension(x)
	}
	for _, r := range c.feed {
		c.saveRecord(r)
	}
	if c.history != nil { // otherwise a line could not be written
		if err = os.Rename(file.Name(), name); err == nil {
			if previous != nil {
				previous.Close()
			}
			return nil
		}
	} else {
		err = errors.New("it cannot be written")
	}
	file.Close()
	os.Remove(file.Name())
	c.history = previous
	return fmt.Errorf("console: the history: %w", err)
}

// readHistory loads a file. It skips a line that cannot be read: the last line is
// incomplete if the machine stopped while it was written.
func (c *Console) readHistory(file io.Reader) error {
	in := bufio.NewReader(file)
	records, extensions := make(map[int]*savedRecord), make(map[int]*savedExtension)
	skipped := 0
	for {
		text, err := in.ReadBytes('\n')
		if len(text) > 0 {
			var line savedLine
			if len(text) > maxLine || json.Unmarshal(bytes.TrimSpace(text), &line) != nil {
				skipped++
			}
			switch {
			case line.Record != nil:
				records[line.Record.N] = line.Record
			case line.Extension != nil:
				extensions[line.Extension.N] = line.Extension
			case line.Forgotten != 0:
				delete(extensions, line.Forgotten)
				for n, r := range records {
					if r.Extension == line.Forgotten {
						delete(records, n)
					}
				}
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if skipped > 0 {
		c.log.Warn("skipped lines of the history", "lines", skipped)
	}
	c.restore(records, extensions)
	return nil
}

// restore stores the records and extensions of a file.
func (c *Console) restore(records map[int]*savedRecord, extensions map[int]*savedExtension) {
	for _, saved := range sortedByNumber(extensions) {
		if x := saved.extension(); x != nil && len(c.extensions) < maxExtensions {
			c.extensions = append(c.extensions, x)
			c.counter = max(c.counter, x.n)
		}
	}
	for _, saved := range sortedByNumber(records) {
		r := saved.record()
		c.counter = max(c.counter, r.n)
		c.feed = append(c.feed, r)
		if len(c.feed) > maxFeed {
			c.drop(c.feed[0])
			c.feed = slices.Delete(c.feed, 0, 1)
		}
		if x := c.findLocked(func(x *extension) bool { return x.n == r.extension }); x != nil {
			x.history = append(x.history, r)
			c.trim(x)
		}
		if r.what == actionWebhook {
			c.webhooks = append(c.webhooks, webhook{r, ""})
			if len(c.webhooks) > maxWebhooks {
				c.webhooks = slices.Delete(c.webhooks, 0, 1)
			}
		}
		at, forgotten := r.at, r.forgotten
		c.keep(r, r.wire, r.outcome)
		r.at, r.forgotten = at, forgotten
	}
	for _, x := range c.extensions {
		if x.state == stateProvisioning {
			c.startWaiting(x, nil)
		}
	}
}

func sortedByNumber[T any](all map[int]T) []T {
	numbers := make([]int, 0, len(all))
	for n := range all {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	sorted := make([]T, 0, len(all))
	for _, n := range numbers {
		sorted = append(sorted, all[n])
	}
	return sorted
}

// save appends a record and its extension to the history. The console is locked.
func (c *Console) save(r *record, x *extension) {
	if c.history == nil {
		return
	}
	c.saveRecord(r)
	if x != nil {
		c.saveExtension(x)
	}
	if c.historyBytes > maxHistoryB {
		if err := c.rewriteHistory(c.historyName); err != nil {
			c.log.Error("cannot rewrite the history", "error", err)
		}
	}
}

func (c *Console) saveRecord(r *record) {
	saved := savedRecord{
		N: r.n, At: r.at, What: r.what, Extension: r.extension, Title: r.title, Times: r.times,
		OK: r.outcome.ok, Neutral: r.neutral, Forgotten: r.forgotten, Headline: c.masker.text(r.outcome.headline), Explanation: c.masker.text(r.outcome.explanation),
	}
	if r.wire != nil {
		saved.Wire = c.masker.wire(r.wire)
	}
	c.saveLine(savedLine{Record: &saved})
}

func (c *Console) saveExtension(x *extension) {
	request, err := json.Marshal(x.request)
	current, err2 := json.Marshal(x.current)
	if err != nil || err2 != nil {
		return // it was sent as JSON before
	}
	saved := savedExtension{
		N: x.n, Request: c.masker.body(request), Current: c.masker.body(current), ID: x.id, Name: x.name, App: x.app, ForApp: x.forApp, State: x.state, Said: x.said,
		Secrets: make(map[string]string, len(x.secrets)), Masked: x.masked || !c.masker.keep && len(x.secrets) > 0,
	}
	terminal := x.terminal
	for name, value := range x.secrets {
		saved.Secrets[name] = c.masker.secret(value)
	}
	if !c.masker.keep {
		terminal, _ = mask(terminal, x.secrets)
	}
	saved.Terminal = c.masker.text(terminal)
	c.saveLine(savedLine{Extension: &saved})
}

func (c *Console) saveForgotten(n int) { c.saveLine(savedLine{Forgotten: n}) }

// saveLine writes a line at once. If that fails, it logs the error and ends the
// history.
func (c *Console) saveLine(line savedLine) {
	if c.history == nil {
		return
	}
	text, err := json.Marshal(line)
	if err == nil {
		_, err = c.history.Write(append(text, '\n'))
		c.historyBytes += len(text) + 1
	}
	if err != nil {
		c.log.Error("cannot write the history: nothing more is saved", "error", err)
		c.history.Close()
		c.history = nil
	}
}

func (s *savedExtension) extension() *extension {
	x := &extension{n: s.N, id: s.ID, name: s.Name, app: s.App, forApp: s.ForApp, state: s.State, said: s.Said, masked: s.Masked, terminal: s.Terminal}
	if json.Unmarshal(s.Request, &x.request) != nil || json.Unmarshal(s.Current, &x.current) != nil {
		return nil
	}
	if len(s.Secrets) > 0 {
		x.secrets = s.Secrets
	}
	return x
}

func (s *savedRecord) record() *record {
	r := &record{
		n: s.N, at: s.At, what: s.What, extension: s.Extension, title: s.Title, times: max(s.Times, 1),
		outcome: outcome{s.OK, s.Headline, s.Explanation}, forgotten: s.Forgotten, neutral: s.Neutral,
	}
	if w := s.Wire; w != nil {
		header := make(http.Header)
		for _, line := range w.Answer {
			header.Add(line.Name, line.Value)
		}
		r.wire = &wire{
			n: s.N, method: w.Method, url: w.URL, target: w.Target, request: w.Request, requestBody: w.RequestBody, base: w.Base,
			status: w.Status, statusText: w.StatusText, answer: w.Answer, answerBody: w.AnswerBody, header: header,
			duration: w.Duration, incoming: w.Incoming, masked: w.Masked,
		}
	}
	return r
}
