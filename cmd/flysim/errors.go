package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// The exit statuses. The text exitCodes describes them to the user.
const (
	exitOK          = 0
	exitRefused     = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitInterrupted = 130 // 128 + 2, as shells report SIGINT
)

const exitCodes = `Exit status:
  0    success
  1    the provider answered with an error, or a requirement is not met
  2    a flag, an argument or the configuration is invalid
  3    the provider did not answer
  130  interrupted by Ctrl-C`

// A usageError is an error in flags, arguments or configuration.
type usageError struct{ reason error }

func (e *usageError) Error() string { return e.reason.Error() }
func (e *usageError) Unwrap() error { return e.reason }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// errRequirements sets the exit status of a command that has already written all
// failures.
var errRequirements = errors.New("not all requirements are met")

func exitCode(err error) int {
	switch {
	case err == nil:
		return exitOK
	case isType[*usageError](err):
		return exitUsage
	case isUnreachable(err):
		return exitUnreachable
	}
	return exitRefused
}

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// isUnreachable reports whether an error is a connection error. A *url.Error that
// reports an invalid URL in an answer is not one.
func isUnreachable(err error) bool {
	if e, ok := errors.AsType[*url.Error](err); ok && e.Op != "parse" {
		return true
	}
	return isType[*flytest.UnreachableError](err) || isType[net.Error](err) && !isType[*url.Error](err) ||
		errors.Is(err, io.ErrUnexpectedEOF)
}

// explain describes an error to the user.
func (p *program) explain(err error) string {
	if isType[*usageError](err) {
		return strings.TrimPrefix(err.Error(), "flytest: ")
	}
	if e, ok := errors.AsType[*duplicateError](err); ok {
		return "the provider must accept a duplicate event, but " + p.explain(e.reason)
	}
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	if isUnreachable(err) {
		return "no answer from " + p.baseURL + ": " + p.reasonOf(err)
	}
	if e, ok := errors.AsType[*flyext.Error](err); ok {
		status := strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)))
		text := "the provider answered with " + status
		if e.Code != "" {
			text += " (" + e.Code + ")"
		}
		if e.Message != http.StatusText(e.Status) {
			text += ": " + e.Message
		}
		if e.Err != nil {
			text += ": " + e.Err.Error()
		}
		return text
	}
	return strings.TrimPrefix(err.Error(), "flytest: ")
}

// reasonOf returns why there is no answer, without the URL, which may be long.
func (p *program) reasonOf(err error) string {
	e, ok := errors.AsType[*url.Error](err)
	switch {
	case ok && e.Timeout():
		return fmt.Sprintf("timeout after %v; set --timeout to wait longer", p.timeout)
	case ok && errors.Is(e.Err, io.EOF):
		return "the provider closed the connection"
	case ok:
		return e.Err.Error()
	}
	return strings.TrimPrefix(err.Error(), "flytest: ")
}

// report writes the error with which flysim ends: as text to standard error, and
// with --json as JSON to standard output.
func (p *program) report(err error) {
	if errors.Is(err, errRequirements) {
		return
	}
	text := p.redact(p.explain(err))
	p.err.wrap(plain, "", "flysim: "+text)
	if isType[*usageError](err) {
		return
	}
	if e, ok := errors.AsType[*flyext.Error](err); ok && !p.json {
		if hint := p.hint(e.Status); hint != "" {
			p.err.wrap(plain, "", hint)
		}
	}
	if p.json && !isType[*reportedError](err) {
		p.writeJSON(map[string]*jsonError{"error": p.newJSONError(err)})
	}
}

// hint returns what to check after a 401 or a redirect, and "" for any other
// status. A 401 has no reason in it.
func (p *program) hint(status int) string {
	switch {
	case status/100 == 3:
		return fmt.Sprintf("Fly.io does not follow redirects, because a signature is valid for one URL only. Compare the base URL, from http or https to the last slash, with %s.", p.baseURL)
	case status != http.StatusUnauthorized:
		return ""
	}
	text := fmt.Sprintf("The provider did not accept the signature; its log may say why. Compare its secret with flysim's, its base URL with %s, its clock with this machine's, and its signature format with %s.", p.baseURL, p.format)
	if p.generation == flyext.Generation1 && p.bearerToken == "" {
		text += " Flysim sent no bearer token, because FLYIO_BEARER_TOKEN is not set."
	}
	return text + " Add --verbose to see the signed bytes."
}

func (p *program) newJSONError(err error) *jsonError {
	doc := &jsonError{Kind: "provider", Message: p.explain(err)}
	if e, ok := errors.AsType[*flyext.Error](err); ok {
		doc.Status, doc.Code, doc.Message = e.Status, e.Code, e.Message
	} else if isUnreachable(err) {
		doc.Kind = "unreachable"
	}
	doc.Code, doc.Message = p.redact(doc.Code), p.redact(doc.Message)
	return doc
}

// A reportedError is an error that the JSON on standard output already contains.
type reportedError struct{ reason error }

func (e *reportedError) Error() string { return e.reason.Error() }
func (e *reportedError) Unwrap() error { return e.reason }

// A jsonError is a failure in the output of --json.
type jsonError struct {
	Kind    string `json:"kind"` // "provider" or "unreachable"
	Status  int    `json:"status,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
}

// minRedacted is the length from which redact looks for a secret. The text of a
// shorter one may be in a message by chance.
const minRedacted = 8

// redact replaces the shared secrets in a text. Flysim puts no secret into a
// message, but a message may quote the provider or the user.
func (s *settings) redact(text string) string {
	for _, secret := range []string{s.signingSecret, s.bearerToken, s.clientSecret, s.webhookSecret} {
		if len(secret) >= minRedacted {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return text
}
