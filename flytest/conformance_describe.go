package flytest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// redact takes the secrets out of what is told.
func (r *conformanceRun) redact(text string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	byLength := func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) } // one may hold another
	for _, secret := range slices.SortedFunc(maps.Keys(r.secrets), byLength) {
		if r.secrets[secret] != nobodys {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return text
}

// minSecret is how long a text must be for its appearing elsewhere to be no
// accident.
const minSecret = 8

// Whose secrets there are besides those of extensions.
const (
	shared  = "" // between Fly.io and the provider
	nobodys = "*"
)

// addSecret notes a text that no answer but a provision's may hold, and the
// password in it, if it is a URL with one. What two extensions have, such as the
// name of a host, is nobody's secret. The run is locked.
func (r *conformanceRun) addSecret(text, owner string) {
	texts := []string{text}
	if u, err := url.Parse(text); err == nil && u.User != nil {
		password, _ := u.User.Password()
		texts = append(texts, password)
	}
	for _, text := range texts {
		before, known := r.secrets[text]
		switch {
		case len(text) < minSecret || known && before == shared:
		case known && before != owner:
			r.secrets[text] = nobodys
		default:
			r.secrets[text] = owner
		}
	}
}

// textOf returns a JSON string's text, or "" of anything else.
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

// succeeded is a failure unless the answer is one.
func succeeded(e Exchange) error {
	if e.Response.StatusCode/100 == 2 {
		return nil
	}
	return &failure{"2xx", describe(e)}
}

// refused is a failure if the answer is not 4xx. Which of those it has to be is
// for one check alone.
func refused(e Exchange, what string) error {
	if e.Response.StatusCode/100 == 4 {
		return nil
	}
	return &failure{"401 to " + what, describe(e)}
}

// offered is a *skip if the provider does not do what a genuine request for an
// extension that is there asked for, and a failure if it does and has not
// succeeded. A 404 says so where a stranger is told the same, or whoever asks for
// a route that there cannot be.
func (s *subject) offered(ctx context.Context, e Exchange) error {
	switch e.Response.StatusCode {
	case http.StatusNotImplemented, http.StatusMethodNotAllowed:
		return &skip{fmt.Sprintf("%s is not offered (%s)", e.Request.Method, e.Response.Status)}
	case http.StatusNotFound:
		r, err := s.unsigned(ctx, e.Request.Method, strings.TrimPrefix(e.Request.URL.EscapedPath(), s.basePath), nil)
		if err != nil {
			return err
		}
		stranger, err := s.send(r)
		if err != nil {
			return err
		}
		unrouted := stranger.Response.StatusCode != http.StatusUnauthorized
		if !unrouted { // or strangers are refused before any route is looked for
			if unrouted, err = s.notRouted(ctx, e); err != nil {
				return err
			}
		}
		if unrouted {
			return &skip{fmt.Sprintf("there is no %s (%s)", e.Request.Method, e.Response.Status)}
		}
	}
	return succeeded(e)
}

// maxDescribed bounds what is told of an answer, in bytes.
const maxDescribed = 200

// clip shortens what is told. A secret is taken out before, since its beginning
// would not be known for one.
func clip(text string) string {
	if len(text) > maxDescribed {
		text = text[:maxDescribed] + " …"
	}
	return strings.ToValidUTF8(text, "�")
}

// describe says what an answer is. Of a success, whose body may hold secrets, it
// is the status alone.
func describe(e Exchange) string {
	text := e.Response.Status
	body := bytes.TrimSpace(e.ResponseBody)
	if e.Response.StatusCode/100 == 2 || len(body) == 0 {
		return text
	}
	return text + ": " + string(body)
}
