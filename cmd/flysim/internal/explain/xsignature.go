package explain

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/flyext/flyext/internal/mac"
	"github.com/flyext/flyext/internal/readings"
)

// xSignature explains an X-Signature. The order of its steps is that of the
// findings: a capture is corrected before its bytes are compared.
func xSignature(q Question) *Answer {
	r := q.Request
	a := &Answer{Format: "x-signature", Base: r.Body, Verdict: Accepted}
	what := "the body"
	if signsQuery(r.Method) {
		_, query, _ := strings.Cut(r.Target, "?")
		a.Base, what = []byte(query), "the query"
	}
	given := r.Header.Get("X-Signature")
	a.expect(q.Secret)
	sum, ok := mac.Parse(given)
	fits := ok && hex.EncodeToString(sum[:]) == a.Expected
	switch {
	case fits && given == a.Expected:
		a.Reading = "the raw bytes of " + what
		a.add("The signature is right: it is the HMAC-SHA256 of the raw bytes of %s.", what)
	case fits:
		a.Reading = "the raw bytes of " + what + ", in " + notation(given)
		a.add("The signature is right: it is the HMAC-SHA256 of the raw bytes of %s, in %s. flyext accepts it. Fly.io writes lower-case hex, and another program may refuse any other notation.", what, notation(given))
	case what == "the body" && len(r.Body) == 0 && r.length() != 0:
		a.Base, a.Expected = nil, ""
		a.incomplete(q)
		a.compare(q.Pasted)
		return a
	default:
		a.mismatch(q, given, parametersOf(a.Base), what)
	}
	p := parametersOf(a.Base)
	if a.Verdict != Unknown {
		a.judge(q, p, given)
	}
	a.compare(q.Pasted)
	if a.Difference != nil && !a.Difference.Same {
		a.recognize(q, p)
	}
	return a
}

// notation names the notation of a right signature that is not in lower-case hex.
func notation(signature string) string {
	if len(signature) == hex.EncodedLen(mac.Size) {
		return "upper-case hex digits"
	}
	return "base64"
}

// A kind of request decides which parameters it may lack.
type kind int

const (
	aRequest kind = iota
	anEvent       // may lack all of them
	aWebhook      // may lack the nonce and the URL
)

func kindOf(r *Request) kind {
	var members map[string]json.RawMessage
	if signsQuery(r.Method) || json.Unmarshal(r.Body, &members) != nil {
		return aRequest
	}
	switch {
	case r.Header.Get("Ce-Specversion") != "" || members["specversion"] != nil:
		return anEvent
	case members["action"] != nil && members["resource"] != nil:
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
	var members map[string]json.RawMessage
	if json.Unmarshal(content, &members) != nil {
		values, _ := url.ParseQuery(string(content)) // which returns the parameters that it could parse
		return parameters{values.Get("timestamp"), values.Get("nonce"), values.Get("url")}
	}
	text := func(name string) (text string) {
		_ = json.Unmarshal(members[name], &text) // only a string counts
		return text
	}
	p := parameters{text("timestamp"), text("nonce"), text("url")}
	if p.timestamp == "" {
		p.timestamp = string(members["timestamp"]) // a number
	}
	return p
}

// mismatch finds the reading that the signature fits. It changes Base only if the
// request, not the sender, has changed the bytes.
func (a *Answer) mismatch(q Question, given string, p parameters, what string) {
	for _, c := range captures(q.Request) {
		if readings.Right(readings.Request{Content: c.base, Secret: q.Secret}) != given {
			continue
		}
		a.Reading, a.Verdict = what+" "+c.text, Refused
		switch c.by {
		case theCapture:
			a.Verdict = Changed
			a.Base, a.Expected = c.base, given
		case theProxy:
			a.Base, a.Expected = c.base, given
		case theSender:
			a.Signed = c.base
		}
		a.add("The signature fits %s %s%s.", what, c.text, c.why)
		return
	}
	a.Verdict = Refused
	for _, reading := range allReadings(a.Base, q, p) {
		if reading.Signature == given {
			if a.Reading = "a program that " + reading.Text; !bytes.Equal(reading.Base, a.Base) {
				a.Signed = reading.Base
			}
			a.add("The signature fits a program that %s. %s", reading.Text, reading.Fix)
			return
		}
	}
	if strings.EqualFold(given, a.Expected) {
		a.Reading = "the right bytes, in another notation"
		a.add("The signature is right, but its notation was changed: write it in lower-case hex.")
		return
	}
	if what == "the body" && q.Request.length() > len(q.Request.Body) {
		a.Base, a.Expected = nil, ""
		a.incomplete(q)
		return
	}
	a.add("No known reading of %s fits. Either the secret differs (the one used here has %d bytes), or %s or the header was changed on its way.", what, len(q.Secret), what)
}

func allReadings(base []byte, q Question, p parameters) []readings.Reading {
	return readings.All(readings.Request{Content: base, URL: p.url, Timestamp: p.timestamp, Secret: q.Secret})
}

// recognize names the mistake that makes the pasted text out of the signed bytes.
func (a *Answer) recognize(q Question, p parameters) {
	for _, reading := range allReadings(a.Base, q, p) {
		if len(reading.Base) > 0 && !bytes.Equal(reading.Base, a.Base) && bytes.Equal(reading.Base, q.Pasted) {
			a.add("Your text is that of a program that %s. %s", reading.Text, reading.Fix)
			return
		}
	}
}
