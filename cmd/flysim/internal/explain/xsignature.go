package explain

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flyext/flyext/internal/readings"
)

// xSignature explains an X-Signature. The order of its steps is that of the
// findings: a capture is corrected before its bytes are compared.
func xSignature(q Question) *Answer {
	r := q.Request
	a := &Answer{Format: "x-signature", Base: r.Body}
	what := "the body"
	if signsQuery(r.Method) {
		_, query, _ := strings.Cut(r.Target, "?")
		a.Base, what = []byte(query), "the query"
	}
	p := parametersOf(a.Base)
	given := r.Header.Get("X-Signature")
	if a.expect(q.Secret); given == a.Expected {
		a.Right, a.Reading = true, "the raw bytes of "+what
		a.add("The signature is right: it is the HMAC-SHA256 of the raw bytes of %s.", what)
	} else {
		a.mismatch(q, given, p, what)
	}
	if n := len(r.Header.Values("X-Signature")); n > 1 {
		a.Right = false
		a.add("The request has %d X-Signature headers, and a provider accepts only one. The first one is explained here.", n)
	}
	switch kind := kindOf(r); {
	case kind == anEvent && (p.timestamp == "" || p.nonce == "" || p.url == ""):
		a.add("The event has no timestamp, nonce and url of its own. A provider accepts it, unless its policy requires the time of an event.")
	case kind == aWebhook && p.url == "":
		a.checkTime(q, p)
	default:
		a.checkURL(q, p)
		a.checkTime(q, p)
	}
	a.compare(q.Pasted)
	if a.Difference != nil && !a.Difference.Same {
		a.recognise(q, p)
	}
	return a
}

// A kind of request decides which parameters it may lack.
type kind int

const (
	aRequest kind = iota
	anEvent       // may lack all of them
	aWebhook      // may lack the nonce and the URL
)

func kindOf(r *Request) kind {
	var members struct {
		SpecVersion      *string // of CloudEvents
		Action, Resource json.RawMessage
	}
	_ = json.Unmarshal(r.Body, &members) // a body that is not a JSON object has no members
	switch {
	case r.Header.Get("Ce-Specversion") != "" || members.SpecVersion != nil:
		return anEvent
	case members.Action != nil && members.Resource != nil:
		return aWebhook
	}
	return aRequest
}

// expect computes the right signature.
func (a *Answer) expect(secret string) {
	a.Expected = readings.Right(readings.Request{Content: a.Base, Secret: secret})
}

// parameters are the parameters of the signature in the signed content.
type parameters struct{ timestamp, nonce, url string }

func parametersOf(content []byte) parameters {
	get := func(string) string { return "" }
	var members map[string]json.RawMessage
	if json.Unmarshal(content, &members) == nil {
		get = func(name string) string { return strings.Trim(string(members[name]), `"`) }
		var signed string
		if json.Unmarshal(members["url"], &signed) == nil {
			return parameters{get("timestamp"), get("nonce"), signed}
		}
	} else if values, err := url.ParseQuery(string(content)); err == nil {
		get = values.Get
	}
	return parameters{get("timestamp"), get("nonce"), get("url")}
}

// mismatch finds the reading that the signature fits. It changes Base only if the
// capture, not the sender, has changed the bytes.
func (a *Answer) mismatch(q Question, given string, p parameters, what string) {
	if len(a.Base) == 0 {
		a.add("The capture has no bytes of %s, and those are the signed bytes. curl -v does not show a body: give the body by itself.", what)
	}
	for _, c := range captures(a.Base) {
		if readings.Right(readings.Request{Content: c.base, Secret: q.Secret}) == given {
			a.Base, a.Expected, a.Reading = c.base, given, what+" "+c.text
			a.add("The signature fits %s %s.", what, c.text)
			return
		}
	}
	for _, reading := range allReadings(a.Base, q, p) {
		if reading.Signature == given {
			if a.Reading = "a program that " + reading.Text; !bytes.Equal(reading.Base, a.Base) {
				a.Signed = reading.Base
			}
			a.add("The signature fits a program that %s. %s", reading.Text, reading.Fix)
			return
		}
	}
	if strings.EqualFold(given, a.Expected) || strings.TrimSpace(given) == a.Expected {
		a.Reading = "the right bytes, in another notation"
		a.add("The signature is right, but its notation was changed: write it in lower-case hex.")
		return
	}
	a.add("No known reading of %s fits. Either the secret differs (the one used here has %d bytes), or %s or the header was changed on its way.", what, len(q.Secret), what)
}

func allReadings(base []byte, q Question, p parameters) []readings.Reading {
	return readings.All(readings.Request{Content: base, URL: p.url, Timestamp: p.timestamp, Secret: q.Secret})
}

// recognise names the mistake that makes the pasted text out of the signed bytes.
func (a *Answer) recognise(q Question, p parameters) {
	for _, reading := range allReadings(a.Base, q, p) {
		if len(reading.Base) > 0 && !bytes.Equal(reading.Base, a.Base) && bytes.Equal(reading.Base, q.Pasted) {
			a.add("Your text is that of a program that %s. %s", reading.Text, reading.Fix)
			return
		}
	}
}

// A capture is a text that a proxy or a tool makes of the bytes that were sent.
type capture struct {
	text string
	base []byte
}

func captures(base []byte) []capture {
	all := newlines(base)
	if values, err := url.ParseQuery(string(base)); err == nil && len(values) > 0 && !bytes.HasPrefix(base, []byte("{")) {
		all = append(all, capture{"with its parameters sorted and escaped anew, which a proxy or a framework has changed", []byte(values.Encode())})
		spaces := strings.ReplaceAll(string(base), "+", "%20")
		all = append(all, capture{`with %20 for each "+", which a proxy or a framework has changed`, []byte(spaces)})
	}
	return all
}

// newlines are the texts from which a capture has base by a change of newlines.
func newlines(base []byte) []capture {
	return []capture{
		{"without the newline at its end, which the capture has added", bytes.TrimRight(base, "\r\n")},
		{`with "\r\n" for each newline, which the capture has changed`, bytes.ReplaceAll(base, []byte("\n"), []byte("\r\n"))},
		{`with "\n" for each "\r\n", which the capture has changed`, bytes.ReplaceAll(base, []byte("\r\n"), []byte("\n"))},
	}
}

// checkURL compares the signed URL with the request.
func (a *Answer) checkURL(q Question, p parameters) {
	signed, err := url.Parse(p.url)
	if p.url == "" || err != nil {
		a.Right = false
		a.add(`The signed content has no parameter "url".`)
		return
	}
	path, _, _ := strings.Cut(q.Request.Target, "?")
	if signed.EscapedPath() != path {
		a.Right = false
		a.add("A proxy changed the path, or the provider sees it below a mount point: %s is signed, and %s arrived.", signed.EscapedPath(), path)
	}
	if base, err := url.Parse(q.BaseURL); q.BaseURL != "" && err == nil && (signed.Scheme != base.Scheme || !strings.EqualFold(signed.Host, base.Host)) {
		a.Right = false
		a.add("The signed URL is for %s://%s, and the base URL is for %s://%s.", signed.Scheme, signed.Host, base.Scheme, base.Host)
	}
	if host := q.Request.Host; host != "" && !strings.EqualFold(host, signed.Host) {
		a.add("The Host header is %s, and %s is signed: a proxy rewrites Host. Compare the signed URL with the base URL, not with Host.", host, signed.Host)
	}
}

// checkTime compares the signed time with the clock.
func (a *Answer) checkTime(q Question, p parameters) {
	seconds, err := strconv.ParseInt(p.timestamp, 10, 64)
	if err != nil {
		a.Right = false
		a.add(`The signed content has no parameter "timestamp".`)
		return
	}
	age := q.Now.Sub(time.Unix(seconds, 0)).Round(time.Second)
	switch {
	case age > 5*time.Minute:
		a.Right = false
		a.add("The request was signed %v ago, and a provider accepts 5 minutes. It is an old capture or a replay, or one of the clocks is wrong.", age)
	case age < -time.Minute:
		a.Right = false
		a.add("The request was signed %v ahead of this clock. One of the clocks is wrong.", -age)
	}
}
