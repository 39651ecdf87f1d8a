package flytest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// textOf returns the text of a JSON string, or "" for any other value.
func textOf(value jsontext.Value) string {
	if value.Kind() != '"' {
		return ""
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return ""
	}
	return string(text)
}

// notObject is the *failure of an answer that should be a JSON object.
func notObject(err error) error {
	return &failure{"a JSON object", "an answer that is not a JSON object: " + err.Error()}
}

// succeeded returns a *failure unless the status is 2xx.
func succeeded(e Exchange) error {
	if e.Response.StatusCode/100 == 2 {
		return nil
	}
	return &failure{"2xx", describe(e)}
}

// refused returns a *failure unless the status is 4xx. It accepts every 4xx, because
// only checkUniform judges which status it is.
func refused(e Exchange, what string) error {
	if e.Response.StatusCode/100 == 4 {
		return nil
	}
	return &failure{"401 for " + what, describe(e)}
}

// offered judges the answer to a genuine request for an existing extension. It
// returns a *skip if the provider does not offer the method, and a *failure if the
// provider offers the method and the request did not succeed.
//
// A 404 means "not offered" in two cases: an unsigned request does not get 401, or a
// path that cannot exist gets the same answer.
func (s *subject) offered(ctx context.Context, e Exchange) error {
	switch e.Response.StatusCode {
	case http.StatusNotImplemented, http.StatusMethodNotAllowed:
		return &skip{fmt.Sprintf("%s is not offered (%s)", e.Request.Method, e.Response.Status)}
	case http.StatusNotFound:
		r, err := s.unsigned(ctx, e.Request.Method, strings.TrimPrefix(e.Request.URL.EscapedPath(), s.basePath), nil)
		if err != nil {
			return err
		}
		unsigned, err := s.send(r)
		if err != nil {
			return err
		}
		unrouted := unsigned.Response.StatusCode != http.StatusUnauthorized
		if !unrouted { // the provider may verify signatures before it looks for a route
			if unrouted, err = s.notRouted(ctx, e); err != nil {
				return err
			}
		}
		if unrouted {
			return &skip{fmt.Sprintf("%s is not offered (%s)", e.Request.Method, e.Response.Status)}
		}
	}
	return succeeded(e)
}

// maxDescribed limits the text of an answer in the report, in bytes.
const maxDescribed = 200

// clip shortens a text for the report. The caller has redacted the text: redact does
// not recognize a secret that is cut short.
func clip(text string) string {
	if len(text) > maxDescribed {
		text = text[:maxDescribed] + " …"
	}
	return strings.ToValidUTF8(text, "�")
}

// describe describes an answer for the report. It leaves out the body of a success,
// which may hold secrets.
func describe(e Exchange) string {
	text := e.Response.Status
	body := bytes.TrimSpace(e.ResponseBody)
	if e.Response.StatusCode/100 == 2 || len(body) == 0 {
		return text
	}
	return text + ": " + string(body)
}
