package explain

import (
	"bytes"
	"net/url"
	"strings"
)

// A culprit is the party that changed the bytes of a request.
type culprit int

const (
	theCapture culprit = iota // the tool that showed the request
	theProxy                  // or a framework, before the request was captured
	theSender                 // after it had signed the request
)

// A capture is a text that may have become the captured one.
type capture struct {
	text, why string // after "The signature fits the body "
	by        culprit
	base      []byte
}

// captures are the texts that may have become the body of a request, or the query
// if the query is signed.
func captures(r *Request) []capture {
	if !signsQuery(r.Method) {
		return newlines(r)
	}
	_, query, _ := strings.Cut(r.Target, "?")
	const why = ", which a proxy or a framework has changed"
	var all []capture
	if values, err := url.ParseQuery(query); err == nil && len(values) > 0 {
		all = append(all, capture{"with its parameters sorted and escaped anew", why, theProxy, []byte(values.Encode())})
		all = append(all, capture{`with %20 for each "+"`, why, theProxy, []byte(strings.ReplaceAll(query, "+", "%20"))})
	}
	return all
}

// newlines are the texts that become the body of a request by a change of newlines.
// If the body has the length that Content-Length says, the capture has not changed
// it.
func newlines(r *Request) []capture {
	by, added, changed := theCapture, ", which the capture has added", ", which the capture has changed"
	if r.length() == len(r.Body) {
		by = theSender
		added = ". The body has the length in Content-Length, so it was sent with the newline. Sign the bytes that are sent"
		changed = ". The body has the length in Content-Length, so it was sent with these newlines. Sign the bytes that are sent"
	}
	var all []capture
	add := func(text, why string, base []byte) {
		if !bytes.Equal(base, r.Body) {
			all = append(all, capture{text, why, by, base})
		}
	}
	add("without the newline at its end", added, bytes.TrimRight(r.Body, "\r\n"))
	add(`with "\r\n" for each newline`, changed, bytes.ReplaceAll(r.Body, []byte("\n"), []byte("\r\n")))
	add(`with "\n" for each "\r\n"`, changed, bytes.ReplaceAll(r.Body, []byte("\r\n"), []byte("\n")))
	if r.length() == len(r.Body)+1 {
		add("with a newline at its end", ", which the capture has removed", append(bytes.Clone(r.Body), '\n'))
	}
	return all
}
