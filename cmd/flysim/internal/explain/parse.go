// Package explain finds the reason why the signature of a captured request does
// not verify. It works offline.
package explain

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/flyext/flyext/cmd/flysim/internal/har"
)

// A Request is a captured request.
type Request struct {
	Method string
	// Target is the path and the query, in the escaping of the request line.
	Target string
	Host   string
	Header http.Header
	Body   []byte
}

// length returns the Content-Length of the request, or -1 if it is missing or
// malformed.
func (r *Request) length() int {
	n, err := strconv.ParseUint(r.Header.Get("Content-Length"), 10, 31)
	if err != nil {
		return -1
	}
	return int(n)
}

// lacksBody reports whether Content-Length announces a body that the capture does not
// have.
func (r *Request) lacksBody() bool { return len(r.Body) == 0 && r.length() > 0 }

// Parse reads a request in the form of curl -v, flysim -v, a HAR file or raw HTTP.
// From a HAR file it takes the last request. Its error names the missing part.
func Parse(captured []byte) (*Request, error) {
	text := bytes.TrimLeft(bytes.TrimPrefix(captured, []byte("\ufeff")), " \t\r\n")
	if bytes.HasPrefix(text, []byte("{")) {
		return parseHAR(text)
	}
	if shown := ofCurl(text); shown != nil {
		text = shown
	}
	return parseRaw(text)
}

// ofCurl returns the request in the output of curl -v or flysim -v. Its lines begin
// with "> ". It returns nil if the text has no such lines, or if the text begins with
// a request line: in raw HTTP such lines are of the body.
func ofCurl(text []byte) []byte {
	if first, _, _ := strings.Cut(string(text), "\n"); isRequestLine(first) {
		return nil
	}
	var request []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if rest, ok := strings.CutPrefix(line, ">"); ok {
			request = append(request, strings.TrimPrefix(rest, " "))
		} else if len(request) > 0 {
			break // the response, or the next request
		}
	}
	if len(request) == 0 {
		return nil
	}
	return []byte(strings.Join(request, "\n"))
}

// isRequestLine reports whether a line has a method, and a path or a URL.
func isRequestLine(line string) bool {
	parts := strings.Fields(line)
	return len(parts) >= 2 && isLetter(parts[0][0]) && (strings.HasPrefix(parts[1], "/") || strings.Contains(parts[1], "://"))
}

func isLetter(b byte) bool { return 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z' }

// parseRaw reads a request line, header lines and a body. Content-Length ends a
// body that is longer.
func parseRaw(text []byte) (*Request, error) {
	in := bufio.NewReader(bytes.NewReader(text))
	first, _ := in.ReadString('\n')
	if !isRequestLine(first) {
		return nil, errors.New("the first line is not a request line such as POST /flyio/extensions HTTP/1.1")
	}
	parts := strings.Fields(first)
	r := &Request{Method: parts[0], Header: make(http.Header)}
	for {
		line, err := in.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if name, value, ok := strings.Cut(line, ":"); ok {
			r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		} else if line != "" {
			return nil, errors.New("a header line has no colon; put an empty line before the body")
		}
		if line == "" || err != nil {
			break
		}
	}
	r.Body, _ = io.ReadAll(in)
	if length := r.length(); length >= 0 && length < len(r.Body) {
		r.Body = r.Body[:length]
	}
	return r, r.setTarget(parts[1])
}

// setTarget sets Target and Host from a path or from a URL with a host.
func (r *Request) setTarget(target string) error {
	r.Target, r.Host = target, r.Header.Get("Host")
	if strings.HasPrefix(target, "/") {
		return nil
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		return errors.New("the URL of the request is malformed")
	}
	r.Target, r.Host = u.RequestURI(), u.Host
	return nil
}

// parseHAR takes the last request of a HAR file.
func parseHAR(text []byte) (*Request, error) {
	all, err := har.Decode(text)
	if err != nil {
		return nil, err
	}
	last := all[len(all)-1]
	r := &Request{Method: last.Method, Header: last.Header, Body: last.Body}
	return r, r.setTarget(last.URL)
}
