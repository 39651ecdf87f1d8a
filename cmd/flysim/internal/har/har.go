// Package har reads and writes HTTP exchanges as HAR files (HTTP Archive 1.2).
package har

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flyext/flyext/flytest"
)

// A file is a HAR file. It has all members that the format requires, even if they
// are empty.
type file struct {
	Log archive `json:"log"`
}

type archive struct {
	Version string  `json:"version"`
	Creator creator `json:"creator"`
	Entries []entry `json:"entries"`
}

type creator struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type entry struct {
	Started  string   `json:"startedDateTime"`
	Time     float64  `json:"time"` // milliseconds
	Request  request  `json:"request"`
	Response response `json:"response"`
	Cache    struct{} `json:"cache"`
	Timings  timings  `json:"timings"`
}

type timings struct {
	Send    float64 `json:"send"`
	Wait    float64 `json:"wait"`
	Receive float64 `json:"receive"`
}

type request struct {
	Method      string  `json:"method"`
	URL         string  `json:"url"`
	HTTPVersion string  `json:"httpVersion"`
	Cookies     []pair  `json:"cookies"`
	Headers     []pair  `json:"headers"`
	QueryString []pair  `json:"queryString"`
	PostData    *posted `json:"postData,omitempty"`
	HeadersSize int     `json:"headersSize"`
	BodySize    int     `json:"bodySize"`
}

type pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type posted struct {
	MimeType string `json:"mimeType"`
	Text     string `json:"text"`
	Encoding string `json:"encoding,omitempty"` // "base64" if the body is not UTF-8
}

type response struct {
	Status      int     `json:"status"` // 0 if there was no answer
	StatusText  string  `json:"statusText"`
	HTTPVersion string  `json:"httpVersion"`
	Cookies     []pair  `json:"cookies"`
	Headers     []pair  `json:"headers"`
	Content     content `json:"content"`
	RedirectURL string  `json:"redirectURL"`
	HeadersSize int     `json:"headersSize"`
	BodySize    int     `json:"bodySize"`
}

type content struct {
	Size     int    `json:"size"`
	MimeType string `json:"mimeType"`
	Text     string `json:"text"`
	Encoding string `json:"encoding,omitempty"`
}

// Encode returns a HAR file with the exchanges, in their order. The file contains
// their secrets.
func Encode(exchanges []flytest.Exchange, version string, now time.Time) ([]byte, error) {
	f := file{archive{"1.2", creator{"flysim", version}, []entry{}}}
	for _, e := range exchanges {
		f.Log.Entries = append(f.Log.Entries, entryOf(e, now))
	}
	text, err := json.MarshalIndent(f, "", "  ")
	return append(text, '\n'), err
}

func entryOf(e flytest.Exchange, now time.Time) entry {
	milliseconds := float64(e.Duration.Microseconds()) / 1000
	made := entry{
		Started: now.Format(time.RFC3339Nano), Time: milliseconds, Timings: timings{Wait: milliseconds},
		Request: request{
			Method: e.Request.Method, URL: e.Request.URL.String(), HTTPVersion: "HTTP/1.1", Cookies: []pair{}, Headers: pairs(e.Request.Header),
			QueryString: pairs(http.Header(e.Request.URL.Query())), HeadersSize: -1, BodySize: len(e.RequestBody),
		},
		Response: response{Cookies: []pair{}, Headers: []pair{}, HeadersSize: -1, BodySize: -1},
	}
	if len(e.RequestBody) > 0 {
		text, encoding := encode(e.RequestBody)
		made.Request.PostData = &posted{e.Request.Header.Get("Content-Type"), text, encoding}
	}
	if a := e.Response; a != nil {
		text, encoding := encode(e.ResponseBody)
		made.Response.Status, made.Response.StatusText, made.Response.HTTPVersion = a.StatusCode, http.StatusText(a.StatusCode), a.Proto
		made.Response.Headers, made.Response.RedirectURL, made.Response.BodySize = pairs(a.Header), a.Header.Get("Location"), len(e.ResponseBody)
		made.Response.Content = content{len(e.ResponseBody), a.Header.Get("Content-Type"), text, encoding}
	}
	return made
}

func pairs(values map[string][]string) []pair {
	all := []pair{}
	for name, several := range values {
		for _, value := range several {
			all = append(all, pair{name, value})
		}
	}
	slices.SortStableFunc(all, func(a, b pair) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func encode(body []byte) (text, encoding string) {
	if utf8.Valid(body) {
		return string(body), ""
	}
	return base64.StdEncoding.EncodeToString(body), "base64"
}

// A Request is a recorded request.
type Request struct {
	Method, URL string
	Header      http.Header
	Body        []byte
}

// Decode returns the requests of a HAR file, in their order. It returns an error for
// a file without requests.
func Decode(text []byte) ([]Request, error) {
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, errors.New("the file is not a HAR file")
	}
	var all []Request
	for _, e := range f.Log.Entries {
		r := Request{Method: e.Request.Method, URL: e.Request.URL, Header: make(http.Header)}
		for _, h := range e.Request.Headers {
			if !strings.HasPrefix(h.Name, ":") { // a pseudo-header of HTTP/2
				r.Header.Add(h.Name, h.Value)
			}
		}
		if data := e.Request.PostData; data != nil {
			r.Body = []byte(data.Text)
			if data.Encoding == "base64" {
				var err error
				if r.Body, err = base64.StdEncoding.DecodeString(data.Text); err != nil {
					return nil, errors.New("a body in the HAR file is not valid base64")
				}
			}
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return nil, errors.New("the HAR file has no requests")
	}
	return all, nil
}
