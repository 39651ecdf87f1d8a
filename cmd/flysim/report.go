package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flyext/flyext/flytest"
)

// A report writes results as they arrive.
type report struct {
	*program
	total, tested int
	group         string
	reason        string // of the previous result, if it was skipped
}

// protocol is the file with the sources of the requirements. Each source is a
// heading.
const protocol = "docs/protocol.md"

func newReport(p *program, total int) *report { return &report{program: p, total: total} }

// started shows the current requirement on a terminal.
func (r *report) started(requirement flytest.Requirement) {
	if r.tested == 0 { // the head comes only after the provider has answered
		r.begin()
	}
	r.err.show(fmt.Sprintf("%d/%d  %s", r.tested+1, r.total, requirement.Text))
}

func (r *report) finished(result flytest.Result) {
	r.err.clear()
	r.tested++
	if !r.json {
		r.result(result)
	}
}

// group writes the heading of a group unless it is the current one.
func (p *page) group(current *string, next string) {
	if *current == next {
		return
	}
	if *current != "" {
		p.blank()
	}
	*current = next
	p.line(bold, "", next)
}

// The widths of the columns of verdicts and of labels.
const (
	verdictWidth = len("  skipped  ")
	labelWidth   = len("tried  ")
)

func (r *report) result(result flytest.Result) {
	out := r.out
	out.group(&r.group, result.Group)
	verdict, s := "passed", green
	switch result.Verdict {
	case flytest.Failed:
		verdict, s = "FAILED", red
	case flytest.Warned:
		verdict, s = "WARNING", yellow
	case flytest.Skipped:
		verdict, s = "skipped", yellow
	}
	out.row(s, fmt.Sprintf("%-*s", verdictWidth, "  "+verdict), result.Text, strings.TrimPrefix(result.Source, protocol))
	indent := strings.Repeat(" ", verdictWidth)
	if result.Verdict == flytest.Skipped && result.Reason != r.reason { // otherwise the line above has it
		out.wrap(dim, indent, result.Reason)
	}
	r.reason = result.Reason
	if result.Verdict == flytest.Failed || result.Verdict == flytest.Warned {
		r.failure(result, indent)
	}
}

// row writes a label, a text and, at the right, its source. It uses one line if
// there is room.
func (p *page) row(of style, label, text, source string) {
	room := p.columns() - utf8.RuneCountInString(label) - utf8.RuneCountInString(source) - 1
	if utf8.RuneCountInString(text) > room {
		p.hangAs(of, label, plain, text)
		p.wrap(dim, strings.Repeat(" ", verdictWidth), source)
		return
	}
	name := strings.TrimSpace(label)
	before, after, _ := strings.Cut(label, name)
	p.line(dim, before+p.styled(of, name)+after+fmt.Sprintf("%-*s ", room, visible(text)), source)
}

// begin writes the head of the report.
func (r *report) begin() {
	if r.json {
		return
	}
	r.out.say("Testing %s: %s, generation %d. Each line ends with its source, a heading of %s.",
		r.baseURL, r.format, r.format.Generation(), protocol)
	r.out.blank()
}

// failure writes the request, the expected and the actual answer, and the fix.
func (r *report) failure(result flytest.Result, indent string) {
	label := func(text string) string { return fmt.Sprintf("%s%-*s", indent, labelWidth, text) }
	r.out.hangAs(dim, label("id"), plain, result.ID)
	if sent, details := sentOf(result); sent != "" {
		r.out.hangAs(dim, label("sent"), plain, sent)
		for _, detail := range details {
			r.out.hang(plain, label(""), detail)
		}
	}
	r.out.hangAs(dim, label("want"), plain, result.Want)
	r.out.hangAs(dim, label("got"), red, result.Got)
	if n := len(result.Trials); n > 0 {
		r.out.hangAs(dim, label("tried"), plain, triedOf(result.Trials))
	}
	r.out.hangAs(dim, label("fix"), plain, result.Fix)
	if !r.verbose {
		return
	}
	for _, e := range result.Exchanges {
		r.out.blank()
		r.showRequest(r.out, e.Request, e.RequestBody)
		if e.Response == nil {
			r.out.line(red, "", "< no answer")
			continue
		}
		r.showAnswerOn(r.out, e)
	}
}

// maxSent bounds the shown part of a body, in bytes. --verbose shows all.
const maxSent = 100

// triedOf describes how many variants of the request the provider accepted.
func triedOf(trials []flytest.Trial) string {
	accepted := 0
	for _, t := range trials {
		if t.Accepted {
			accepted++
		}
	}
	return fmt.Sprintf("%d variants of the request; the provider accepted %d", len(trials), accepted)
}

// sentOf describes the last request of a result: its method and path, the
// parameters of its signature, and its body. --verbose shows all requests.
func sentOf(result flytest.Result) (request string, details []string) {
	n := len(result.Exchanges)
	if n == 0 {
		return "", nil
	}
	e := result.Exchanges[n-1]
	request = e.Request.Method + " " + e.Request.URL.EscapedPath()
	if n > 1 {
		request += fmt.Sprintf(" (the last of %d requests)", n)
	}
	if text := signedParameters(e); text != "" {
		details = append(details, text)
	}
	shown := bytes.TrimRight(e.RequestBody, " ") // draft-cavage has spaces at the end; see flytest
	if json.Valid(shown) {
		shown = bytes.ReplaceAll(shown, []byte(`,"`), []byte(`, "`)) // so that lines can break there
	}
	body := string(shown[:min(len(shown), maxSent)])
	if len(shown) > maxSent {
		body = strings.ToValidUTF8(body, "") + fmt.Sprintf(" … (%d bytes)", len(e.RequestBody))
	}
	if body != "" {
		details = append(details, body)
	}
	return request, details
}

// signedParameters returns the timestamp, the nonce and the URL that X-Signature
// signs in a request, or "".
func signedParameters(e flytest.Exchange) string {
	values := e.Request.URL.Query()
	if len(e.RequestBody) > 0 {
		var members map[string]json.RawMessage
		if json.Unmarshal(e.RequestBody, &members) != nil {
			return ""
		}
		values = url.Values{}
		for name, value := range members {
			values.Set(name, strings.Trim(string(value), `"`))
		}
	}
	if !values.Has("timestamp") && !values.Has("nonce") && !values.Has("url") {
		return ""
	}
	return fmt.Sprintf("timestamp %s, nonce %s, url %s", values.Get("timestamp"), values.Get("nonce"), values.Get("url"))
}

// summary writes the end of a report.
func (r *report) summary(results *flytest.Report) {
	r.out.blank()
	failed := results.Count(flytest.Failed)
	s := green
	if failed > 0 {
		s = red
	}
	rest := r.total - len(results.Results)
	closed := rest > 0 && len(results.Results) == 1 // the first requirement failed, and the others depend on it
	if ids := failedIDs(results); len(ids) > 0 && !closed {
		r.out.say("To repeat the failed tests: flysim check --only '%s'", strings.Join(ids, " "))
		if !r.verbose {
			r.out.wrap(plain, "", "Add --verbose to see all requests and answers of a failure.")
		}
		r.out.blank()
	}
	if closed && !r.verbose {
		r.out.wrap(plain, "", "Add --verbose to see the request and the answer.")
	}
	if r.withoutSignOn(results) {
		r.out.say("To test the sign-on, set FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET to the values that the provider has, and start the provider with the OAuth URL http://%s.", defaultOAuthAddr)
		r.out.blank()
	}
	if rest > 0 {
		r.out.line(yellow, "", fmt.Sprintf("not tested: %d", rest))
	}
	warned := ""
	if n := results.Count(flytest.Warned); n > 0 {
		warned = fmt.Sprintf("%d with a warning, ", n)
	}
	r.out.line(s, "", fmt.Sprintf("%d passed, %s%d failed, %d skipped in %.1f s",
		results.Count(flytest.Passed), warned, failed, results.Count(flytest.Skipped), results.Duration.Seconds()))
}

// withoutSignOn reports whether the sign-on was skipped because flysim has no OAuth
// client, although the provider may offer the sign-on.
func (r *report) withoutSignOn(results *flytest.Report) bool {
	return r.clientID == "" && slices.ContainsFunc(results.Results, func(result flytest.Result) bool {
		return strings.HasPrefix(result.ID, "sso-") && result.Verdict == flytest.Skipped && !strings.Contains(result.Reason, "not offered")
	})
}

// A jsonReport is the output of check --json. It contains no secrets.
type jsonReport struct {
	BaseURL string       `json:"base_url"`
	Format  string       `json:"format"`
	Passed  int          `json:"passed"`
	Failed  int          `json:"failed"`
	Warned  int          `json:"warned"`
	Skipped int          `json:"skipped"`
	Seconds float64      `json:"seconds"`
	Results []jsonResult `json:"results"`
	Error   *jsonError   `json:"error,omitempty"` // that ended the run early
}

type jsonResult struct {
	ID       string        `json:"id"`
	Group    string        `json:"group"`
	Text     string        `json:"text"`
	Source   string        `json:"source"`
	Verdict  string        `json:"verdict"`
	Want     string        `json:"want,omitempty"`
	Got      string        `json:"got,omitempty"`
	Fix      string        `json:"fix,omitempty"` // only of failures and warnings
	Reason   string        `json:"reason,omitempty"`
	Seconds  float64       `json:"seconds"`
	Requests []jsonRequest `json:"requests"`
}

// A jsonRequest is a request that flysim sent. The body is only in failures and
// warnings.
type jsonRequest struct {
	Method  string  `json:"method"`
	URL     string  `json:"url"`
	Body    string  `json:"body,omitempty"`
	Status  int     `json:"status,omitempty"` // absent if there was no answer
	Seconds float64 `json:"seconds"`
}

func (p *program) newJSONReport(results *flytest.Report, err error) *jsonReport {
	doc := &jsonReport{
		BaseURL: p.baseURL, Format: string(p.format), Seconds: seconds(results.Duration), Results: []jsonResult{},
		Passed: results.Count(flytest.Passed), Failed: results.Count(flytest.Failed), Warned: results.Count(flytest.Warned), Skipped: results.Count(flytest.Skipped),
	}
	if err != nil {
		doc.Error = p.newJSONError(err)
	}
	for _, result := range results.Results {
		one := jsonResult{
			ID: result.ID, Group: result.Group, Text: result.Text, Source: result.Source, Verdict: string(result.Verdict),
			Want: result.Want, Got: p.redact(result.Got), Reason: result.Reason, Seconds: seconds(result.Duration), Requests: []jsonRequest{},
		}
		failed := result.Verdict == flytest.Failed || result.Verdict == flytest.Warned
		if failed {
			one.Fix = result.Fix
		}
		for _, e := range result.Exchanges {
			request := jsonRequest{Method: e.Request.Method, URL: e.Request.URL.Redacted(), Seconds: seconds(e.Duration)}
			if failed && len(e.RequestBody) <= maxJSONBody {
				request.Body = p.redact(string(e.RequestBody))
			}
			if e.Response != nil {
				request.Status = e.Response.StatusCode
			}
			one.Requests = append(one.Requests, request)
		}
		doc.Results = append(doc.Results, one)
	}
	return doc
}

// maxJSONBody is the size in bytes up to which a report contains a body. Only the
// requests that test the limits of a provider are larger.
const maxJSONBody = 16 << 10

func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
