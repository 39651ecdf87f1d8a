package console

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flyext/flyext/cmd/flysim/internal/explain"
)

// debuggerPath is the page that explains a signature.
const debuggerPath = "/debugger"

// The limits of the form. A form is up to three times as large as its text, because
// of its escapes.
const (
	maxDebuggerForm  = 2 << 20   // bytes
	maxDebuggerField = 512 << 10 // bytes, with "\n" for each newline
)

// debuggerFields has every field of the form except the secret, which a page never
// repeats.
var debuggerFields = []field{
	{Name: "capture", Label: "Captured request", Hint: "The output of curl -v or flysim -v, raw HTTP, or a HAR file (its last request is used). At most 512 KiB.", Code: true, Rows: 10},
	{Name: "body", Label: "Body (optional)", Hint: "Needed if the capture has no body. curl -v, for example, does not show it.", Code: true, Rows: 3},
	{Name: "base_url", Label: "Base URL of the receiver", Hint: "The signed URL is compared with it. Leave it empty to skip that check.", Code: true},
	{Name: "at", Label: "Received at (optional)", Hint: "Such as 2026-01-31T12:00:00Z. The age of the signature is judged by this time, or by now.", Code: true},
	{Name: "pasted", Label: "Bytes that your code signs (optional)", Hint: "Log the bytes that your code computes the HMAC of, and paste them here. The page shows the first byte that differs.", Code: true, Rows: 4},
}

func debuggerFormOf(values url.Values) *form { return newForm(values, debuggerFields) }

// The secrets that flysim itself has, by their keys in the form.
const (
	secretOfSigning = "signing"
	secretOfWebhook = "webhook"
)

type secretChoice struct {
	Key, Label string
	Chosen     bool
}

type debuggerView struct {
	Form    *form
	Secrets []secretChoice
	From    int    // the request that the form was filled with, or 0
	Warning string // why the capture cannot be trusted, or ""
	Answer  *debuggerAnswer
}

// A debuggerAnswer is an explain.Answer on a page.
type debuggerAnswer struct {
	Request, Format, Reading string
	Verdict                  verdict
	Findings                 []string
	Base, Signed             *exactBytes
	Expected, Encoding       string
	Secret                   string // which one, in words
	Difference               *explain.Difference
}

// A verdict is an explain.Verdict on a page.
type verdict struct{ Class, Sign, Text string }

var verdicts = map[explain.Verdict]verdict{
	explain.Accepted: {"good", "✓", "The signature is right"},
	explain.Changed:  {"good", "✓", "The signature fits; the capture changed the body"},
	explain.Refused:  {"bad", "✕", "A receiver refuses this request"},
	explain.Unknown:  {"wait", "…", "Cannot be judged: the capture lacks the body"},
}

// exactBytes are bytes that a page shows.
type exactBytes struct {
	Text   string
	Length int
	Cut    bool
	Exact  bool // the text on the page is these bytes, so it can be copied
}

func newExactBytes(raw []byte) *exactBytes {
	if raw == nil {
		return nil
	}
	b := &exactBytes{Length: len(raw), Cut: len(raw) > maxShown}
	b.Text = printable(string(raw[:min(len(raw), maxShown)]))
	b.Exact = b.Text == string(raw) && !strings.Contains(b.Text, "\r") && len(raw) > 0
	return b
}

func (c *Console) serveDebuggerPage(w http.ResponseWriter, _ *http.Request) {
	c.debuggerPage(w, http.StatusOK, &debuggerView{Form: debuggerFormOf(url.Values{"base_url": {c.base}})}, secretOfSigning)
}

// debuggerPage shows the form and the answer of v. chosen is the key of the selected
// secret.
func (c *Console) debuggerPage(w http.ResponseWriter, status int, v *debuggerView, chosen string) {
	v.Secrets = append(v.Secrets, secretChoice{secretOfSigning, "Signing secret of flysim", chosen != secretOfWebhook})
	if c.webhookSecret != "" {
		v.Secrets = append(v.Secrets, secretChoice{secretOfWebhook, "Webhook secret of flysim", chosen == secretOfWebhook})
	}
	c.write(w, status, debuggerTemplate, page{Title: "Signature debugger", Self: debuggerPath, Nav: "debugger", Class: "wide", Content: v})
}

// The warnings of the page.
const (
	warnMasked = "Secrets are masked in this request, because it was read from the history. Its bytes are not those that were signed, so its signature cannot be verified. " +
		"Send the request again, or start flysim serve with --data-secrets before you record it."
	warnMaskedText = "The text contains " + masked + ", so the signature cannot be verified."
	warnBytes      = "The body has bytes that a form changes: it is not UTF-8, or has carriage returns. Export the request as HAR, and run flysim explain with that file."
	warnLarge      = "The request is larger than 512 KiB, so this form cannot be sent. Export the request as HAR, and run flysim explain with that file."
)

// serveExplainPage fills the form with a request of the feed.
func (c *Console) serveExplainPage(w http.ResponseWriter, _ *http.Request, r *record) {
	c.mu.Lock()
	found, at := r.wire, r.at
	c.mu.Unlock()
	if found == nil {
		c.failPage(w, http.StatusConflict, "This request cannot be explained", "Its bytes are no longer kept.")
		return
	}
	v := &debuggerView{From: r.n}
	base, chosen := c.baseOf(found.url), secretOfSigning
	if found.incoming {
		base, chosen = c.url, secretOfWebhook
	}
	capture := found.rawHTTP()
	v.Form = debuggerFormOf(url.Values{"capture": {capture}, "base_url": {base}, "at": {at.UTC().Format(time.RFC3339)}})
	switch body := string(found.requestBody); {
	case found.masked:
		v.Warning = warnMasked
	case len(capture) > maxDebuggerField:
		v.Warning = warnLarge
	case !utf8.ValidString(body) || strings.ContainsAny(body, "\r\x00"):
		v.Warning = warnBytes
	}
	c.debuggerPage(w, http.StatusOK, v, chosen)
}

// baseOf returns the base URL of a request that this console or another command sent.
// The base URL of another command is the URL up to the last element "extensions". If
// the URL has no such element, only scheme and host are known.
func (c *Console) baseOf(target string) string {
	if target == c.base || strings.HasPrefix(target, c.base+"/") || strings.HasPrefix(target, c.base+"?") {
		return c.base
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		return c.base
	}
	path := u.EscapedPath()
	end := strings.LastIndex(path+"/", "/extensions/")
	return u.Scheme + "://" + u.Host + path[:max(end, 0)]
}

// rawHTTP returns the request as text.
func (w *wire) rawHTTP() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\n", w.method, w.target)
	for _, line := range w.request {
		fmt.Fprintf(&text, "%s: %s\n", line.Name, line.Value)
	}
	text.WriteString("\n")
	text.Write(w.requestBody)
	return text.String()
}

// serveDebugger explains a captured request. protect has refused the forms of
// other sites, which would otherwise get MACs under the secrets of flysim.
func (c *Console) serveDebugger(w http.ResponseWriter, r *http.Request) {
	v := &debuggerView{Form: debuggerFormOf(r.PostForm)}
	chosen := r.PostForm.Get("secret_of")
	q := c.question(v.Form, chosen, r.PostForm.Get("secret"))
	if len(v.Form.Errors) > 0 {
		c.debuggerPage(w, http.StatusUnprocessableEntity, v, chosen)
		return
	}
	answer := explain.Explain(*q)
	if hasMasked(q.Request) && !answer.Right() {
		v.Warning = warnMaskedText
	} else {
		v.Answer = newDebuggerAnswer(q.Request, answer)
		v.Answer.Secret = "the secret from the form"
		if r.PostForm.Get("secret") == "" {
			v.Answer.Secret = map[bool]string{false: "the signing secret of flysim", true: "the webhook secret of flysim"}[chosen == secretOfWebhook]
		}
	}
	c.debuggerPage(w, http.StatusOK, v, chosen)
}

// question reads the form. Faults are in f.Errors. secret is the secret from the
// form. If it is "", the chosen secret of flysim is used.
func (c *Console) question(f *form, chosen, secret string) *explain.Question {
	q := &explain.Question{Secret: secret, BaseURL: f.text("base_url"), Now: c.now(), GiveBody: "paste it into the field Body"}
	if secret == "" {
		q.Secret = c.signingSecret
		if chosen == secretOfWebhook && c.webhookSecret != "" {
			q.Secret = c.webhookSecret
		}
	}
	for _, name := range []string{"capture", "body", "pasted"} {
		if len(f.lines(name)) > maxDebuggerField {
			f.fail(name, "It is larger than 512 KiB. Run flysim explain with a file.")
		}
	}
	var err error
	if f.text("capture") == "" {
		f.fail("capture", "Paste a request.")
	} else if q.Request, err = explain.Parse([]byte(f.lines("capture"))); err != nil {
		f.fail("capture", capitalised(err.Error())+".")
	} else if body := f.lines("body"); body != "" {
		q.Request.Body = []byte(body)
	}
	if base, err := url.Parse(q.BaseURL); q.BaseURL != "" && (err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "") {
		f.fail("base_url", "Start it with http:// or https://, followed by the host.")
	}
	if at := f.text("at"); at != "" {
		if q.Now, err = time.Parse(time.RFC3339, at); err != nil {
			f.fail("at", "Write a time such as 2026-01-31T12:00:00Z.")
		}
	}
	if pasted := f.lines("pasted"); pasted != "" {
		q.Pasted = []byte(pasted)
	}
	return q
}

// lines returns the value of a field with more than one line. A browser sends each
// newline of such a field as "\r\n".
func (f *form) lines(name string) string {
	return strings.ReplaceAll(f.Fields[name].Value, "\r\n", "\n")
}

func capitalised(text string) string {
	if text == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(text)
	return strings.ToUpper(string(first)) + text[size:]
}

// hasMasked reports whether a request has the word that stands for a secret in the
// history.
func hasMasked(r *explain.Request) bool {
	text := r.Target + string(r.Body)
	for _, line := range linesOf(r.Header) {
		text += "\n" + line.Value
	}
	return strings.Contains(text, masked) || strings.Contains(text, url.QueryEscape(masked))
}

// formats has the names of the formats, and how their signatures are written.
var formats = map[string]struct{ name, encoding string }{
	"x-signature": {"X-Signature", "X-Signature, in hex"},
	"rfc9421":     {"HTTP message signature, RFC 9421", "Signature, in base64"},
	"cavage":      {"HTTP message signature, draft-cavage", "Parameter “signature”, in base64"},
	"none":        {"No signature", ""},
}

func newDebuggerAnswer(r *explain.Request, a *explain.Answer) *debuggerAnswer {
	path, _, _ := strings.Cut(r.Target, "?")
	v := &debuggerAnswer{
		Request: clip(r.Method+" "+path, 200), Format: formats[a.Format].name, Encoding: formats[a.Format].encoding,
		Verdict: verdicts[a.Verdict], Reading: capitalised(printable(a.Reading)), Base: newExactBytes(a.Base), Signed: newExactBytes(a.Signed),
		Expected: a.Expected, Difference: a.Difference,
	}
	if a.Verdict == explain.Unknown && v.Reading == "" {
		v.Reading = "Unknown without the body"
	}
	for _, finding := range a.Findings {
		if a.Difference == nil || finding != a.Difference.String() { // which the page shows as a table
			v.Findings = append(v.Findings, printable(finding))
		}
	}
	return v
}
