package explain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/readings"
)

// A Question is a captured request, and what is known of it.
type Question struct {
	Request *Request
	Secret  string
	// BaseURL is the provider's, such as https://logjam.io/flyio; "" leaves the URL
	// unchecked.
	BaseURL string
	// Now is the time to judge freshness by.
	Now time.Time
	// Pasted is the text that the provider signs, to be compared; nil compares
	// nothing.
	Pasted []byte
}

// An Answer explains a signature.
type Answer struct {
	// Format is "x-signature", "rfc9421", "cavage" or "none".
	Format string
	// Right reports whether a provider accepts the request, its nonce apart.
	Right bool
	// Findings say what is right and what is wrong, one sentence each.
	Findings []string
	// Base is the exact bytes that are signed; it is there for x-signature.
	Base []byte
	// Expected is the right value of X-Signature.
	Expected string
}

func (a *Answer) add(format string, args ...any) {
	a.Findings = append(a.Findings, fmt.Sprintf(format, args...))
}

// Explain says which format a request is signed in, and what is wrong with its
// signature. It is a pure function.
func Explain(q Question) *Answer {
	switch h := q.Request.Header; {
	case h.Get("X-Signature") != "":
		return xSignature(q)
	case h.Get("Signature-Input") != "":
		return messageSignature(q, "rfc9421")
	case h.Get("Signature") != "" || strings.HasPrefix(h.Get("Authorization"), "Signature "):
		return messageSignature(q, "cavage")
	}
	a := &Answer{Format: "none"}
	a.add("The request has neither X-Signature nor Signature-Input nor Signature. A proxy may have removed the header.")
	return a
}

func xSignature(q Question) *Answer {
	r := q.Request
	_, query, _ := strings.Cut(r.Target, "?")
	a := &Answer{Format: "x-signature", Base: r.Body}
	what := "the body"
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete {
		a.Base, what = []byte(query), "the query"
	}
	a.Expected = readings.Right(readings.Request{Content: a.Base, Secret: q.Secret})
	p := parametersOf(a.Base)
	given := r.Header.Get("X-Signature")
	if a.Right = given == a.Expected && len(r.Header.Values("X-Signature")) == 1; a.Right {
		a.add("The signature is right: the HMAC-SHA256 of the raw bytes of %s.", what)
	} else {
		a.mismatch(q, given, p, what)
	}
	a.checkURL(q, p)
	a.checkTime(q, p)
	if q.Pasted != nil {
		a.add("%s", Difference(a.Base, q.Pasted))
	}
	return a
}

// parameters are those of the signature.
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

// mismatch finds the reading that the signature fits.
func (a *Answer) mismatch(q Question, given string, p parameters, what string) {
	if len(a.Base) == 0 {
		a.add("The capture has no bytes of %s, which is what is signed. curl -v does not show a body: give it with --body.", what)
	}
	for _, c := range captures(a.Base) {
		if c.base != nil && readings.Right(readings.Request{Content: c.base, Secret: q.Secret}) == given {
			a.Base = c.base
			a.add("The signature fits %s %s.", what, c.text)
			return
		}
	}
	for _, reading := range readings.All(readings.Request{Content: a.Base, URL: p.url, Timestamp: p.timestamp, Secret: q.Secret}) {
		if reading.Signature == given {
			a.Base = reading.Base
			a.add("The sender %s. %s", reading.Text, reading.Fix)
			return
		}
	}
	if strings.EqualFold(given, a.Expected) || strings.TrimSpace(given) == a.Expected {
		a.add("The header was rewritten: the signature is right but for its notation.")
		return
	}
	a.add("No known reading of %s fits. Either the secret differs (the one used here has %d bytes), or %s or the header was changed on its way.", what, len(q.Secret), what)
}

// A capture is what a proxy or a tool makes of the bytes that were sent.
type capture struct {
	text string
	base []byte
}

func captures(base []byte) []capture {
	all := []capture{
		{"without the newline at its end, which the capture has added", bytes.TrimRight(base, "\r\n")},
		{`with "\r\n" for each newline, which the capture has changed`, bytes.ReplaceAll(base, []byte("\n"), []byte("\r\n"))},
		{`with "\n" for each "\r\n", which the capture has changed`, bytes.ReplaceAll(base, []byte("\r\n"), []byte("\n"))},
	}
	if values, err := url.ParseQuery(string(base)); err == nil && len(values) > 0 && !bytes.HasPrefix(base, []byte("{")) {
		all = append(all, capture{"with its parameters sorted and escaped anew, which a proxy or a framework has changed", []byte(values.Encode())})
		spaces := strings.ReplaceAll(string(base), "+", "%20")
		all = append(all, capture{`with %20 for each "+", which a proxy or a framework has changed`, []byte(spaces)})
	}
	return all
}

// checkURL compares the signed URL with the request.
func (a *Answer) checkURL(q Question, p parameters) {
	signed, err := url.Parse(p.url)
	if p.url == "" || err != nil {
		a.Right = false
		a.add(`There is no "url" among the signed parameters.`)
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
		a.add(`There is no "timestamp" among the signed parameters.`)
		return
	}
	age := q.Now.Sub(time.Unix(seconds, 0)).Round(time.Second)
	switch {
	case age > 5*time.Minute:
		a.Right = false
		a.add("The request was signed %v ago. A provider accepts 5 minutes: this is an old capture, a replay, or a clock that is wrong.", age)
	case age < -time.Minute:
		a.Right = false
		a.add("The request was signed %v ahead of this clock: one of the clocks is wrong.", -age)
	}
}

// Difference says where two texts differ first.
func Difference(signed, pasted []byte) string {
	n := 0
	for n < len(signed) && n < len(pasted) && signed[n] == pasted[n] {
		n++
	}
	if n == len(signed) && n == len(pasted) {
		return "The pasted text is what is signed, byte for byte."
	}
	return fmt.Sprintf("The pasted text differs from byte %d on (%d bytes are signed, %d pasted): %s is signed, and %s is pasted.",
		n+1, len(signed), len(pasted), around(signed, n), around(pasted, n))
}

// around shows a text from a byte on.
func around(text []byte, n int) string {
	if n >= len(text) {
		return "the end"
	}
	return strconv.QuoteToASCII(string(text[n:min(len(text), n+12)]))
}

var keyIDs = regexp.MustCompile(`(?i)key_?id="([^"]*)"`)

// messageSignature asks the library's verifier.
func messageSignature(q Question, format string) *Answer {
	a := &Answer{Format: format}
	r := q.Request
	id := "flyio-signing-secret"
	for _, name := range []string{"Signature-Input", "Signature", "Authorization"} {
		if found := keyIDs.FindStringSubmatch(r.Header.Get(name)); found != nil {
			id = found[1]
		}
	}
	base, err := url.Parse(q.BaseURL)
	if q.BaseURL == "" || err != nil {
		base = &url.URL{Scheme: "https", Host: r.Host}
	}
	verify := func(secret string) error {
		m := &flyext.Message{Method: r.Method, Target: r.Target, Host: r.Host, Header: r.Header, Body: r.Body, BaseURL: base, Now: q.Now}
		_, err := flyext.MessageSignature(flyext.Key{ID: id, Secret: secret}).Verify(context.Background(), m)
		return err
	}
	err = verify(q.Secret)
	if a.Right = err == nil; a.Right {
		a.add("The signature is right.")
		return a
	}
	a.add("The signature does not verify: %v.", err)
	if errors.Is(err, flyext.ErrSignatureMismatch) {
		for text, secret := range map[string]string{"a newline at the end": q.Secret + "\n", "white space removed": strings.TrimSpace(q.Secret)} {
			if secret != q.Secret && verify(secret) == nil {
				a.add("It verifies under the secret with %s.", text)
			}
		}
	}
	return a
}
