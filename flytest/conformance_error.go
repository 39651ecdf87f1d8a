package flytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/flyext/flyext"
)

var errorChecks = []check{
	{Requirement{
		ID: "uniform", Group: groupErrors,
		Text:   "Every unauthenticated request gets the same 401 response",
		Source: sourceDecisions,
		Fix:    "Answer every refused signature, time and replay with 401 and the same body. Write the reason to the log.",
	}, checkUniform},
	{Requirement{
		ID: "malformed-body", Group: groupErrors,
		Text:   "A body that is not a JSON object is refused",
		Source: sourceDecisions,
		Fix:    "Parse the body strictly, and answer 400 if it is not one JSON object.",
	}, checkMalformedBody},
	{Requirement{
		ID: "missing-id", Group: groupErrors,
		Text:   "A provision request without an id is refused",
		Source: sourceParameters,
		Fix:    "Answer 422 to a request without an id: the id is the key of the extension.",
	}, checkMissingID},
	{Requirement{
		ID: "body-limit", Group: groupErrors,
		Text:   "The size of a request body is limited",
		Source: sourceDecisions,
		Fix:    "Stop reading after about 1 MiB, answer 413 and close the connection.",
	}, checkBodyLimit},
	{Requirement{
		ID: "error-message", Group: groupErrors,
		Text:   "An error has a code and a message of one short line",
		Source: sourceErrors,
		Fix:    `Answer {"error": "<code>", "message": "<text>"}. Fly.io shows the message unchanged in the customer's terminal.`,
	}, checkErrorMessage},
	{Requirement{
		ID: "no-secret", Group: groupErrors,
		Text:   "An error reveals neither a secret nor a stack trace",
		Source: sourceErrors,
		Fix:    "Send messages that are written for the customer. Write the texts of exceptions to the log only.",
	}, checkNoSecret},
}

// malformedBodies are bodies that are not JSON objects.
var malformedBodies = []string{`{"id":`, `[]`, `null`, `"id"`, "\xff", "nonsense"}

func checkMalformedBody(ctx context.Context, s *subject) error {
	for _, body := range malformedBodies {
		e, err := s.call(ctx, http.MethodPost, "/extensions", []byte(body), s.asIs())
		if err != nil {
			return err
		}
		if e.Response.StatusCode/100 != 4 {
			return &failure{fmt.Sprintf("400 for the body %q", body), describe(e)}
		}
	}
	r, err := s.orderRequest(ctx)
	if err != nil {
		return err
	}
	body, err := bodyOf(r)
	if err != nil {
		return err
	}
	e, err := s.call(ctx, http.MethodPost, "/extensions", append(body, " {}"...), s.asIs())
	if err != nil {
		return err
	}
	if e.Response.StatusCode/100 != 4 {
		return &failure{"400 for two JSON objects in one body", describe(e)}
	}
	return nil
}

// asIs signs a body unchanged. It is for bodies to which X-Signature's parameters cannot
// be added.
func (s *subject) asIs() how {
	if s.Conformance.Format == FormatXSignature {
		return signedBy(XSignatureOptions{AsIs: true}.XSignature(s.Credentials.SigningSecret))
	}
	return func(*Platform) {}
}

func (s *subject) withoutID(ctx context.Context) (Exchange, error) {
	order := s.order()
	body, err := encodeProvision(order)
	if err != nil {
		return Exchange{}, err
	}
	body = bytes.Replace(body, []byte(`"id":"`+order.ID+`",`), nil, 1)
	return s.call(ctx, http.MethodPost, "/extensions", body)
}

func checkMissingID(ctx context.Context, s *subject) error {
	e, err := s.withoutID(ctx)
	if err != nil {
		return err
	}
	if e.Response.StatusCode/100 != 4 {
		return &failure{"422", describe(e)}
	}
	return nil
}

// endless is the size of the body that the run offers, in bytes. It is much larger than
// the network buffers. Therefore a provider that stops reading leaves a part of it.
const endless = 64 << 20

// An offer is a body that counts the bytes that were read.
type offer struct{ taken atomic.Int64 }

// Read implements [io.Reader].
func (o *offer) Read(p []byte) (int, error) {
	left := endless - o.taken.Load()
	if left <= 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), left))
	for i := range n {
		p[i] = ' '
	}
	o.taken.Add(int64(n))
	return n, nil
}

func checkBodyLimit(ctx context.Context, s *subject) error {
	r, err := s.orderRequest(ctx) // signed, so that the provider has to read the body
	if err != nil {
		return err
	}
	body := &offer{}
	r.Body, r.GetBody, r.ContentLength = io.NopCloser(body), nil, -1
	r.Close = true // no other request may use this connection
	client := http.Client{}
	if s.Client != nil {
		client = *s.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	start := time.Now()
	answer, err := client.Do(r.WithContext(limited))
	if err == nil {
		answer.Body.Close()
	}
	s.observe(Exchange{Request: r, SignatureBase: SignatureBase(r), Response: answer})
	switch {
	case body.taken.Load() >= endless && (answer == nil || answer.StatusCode != http.StatusRequestEntityTooLarge):
		// A provider that answers 413 at the end may have discarded what it read.
		return &failure{"413 and a closed connection", fmt.Sprintf("all %d MiB read", endless>>20)}
	case isTimeout(err):
		return &failure{"413", fmt.Sprintf("no answer after %v, with %d MiB read", time.Since(start).Round(time.Second), body.taken.Load()>>20)}
	case isDialError(err):
		return err // the provider did not read anything
	case err != nil: // the provider closed the connection
		return nil
	}
	if answer.StatusCode/100 != 4 {
		return &failure{"413", answer.Status}
	}
	return nil
}

// isTimeout reports whether a request ended because a limit of the client was reached:
// the client's Timeout, a limit of its transport, or a deadline of the context.
func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// isDialError reports whether there was no connection for a request.
func isDialError(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial"
}

// maxMessage is the maximum length of a message, in characters: a few lines of a
// terminal.
const maxMessage = 500

func checkErrorMessage(ctx context.Context, s *subject) error {
	incomplete, err := s.withoutID(ctx)
	if err != nil {
		return err
	}
	answers := []Exchange{incomplete}
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	if _, err := s.resource(ctx, x); err == nil { // otherwise the error would be the router's
		missing, err := s.fetch(ctx, &extension{id: s.newID()})
		if err != nil {
			return err
		}
		answers = append(answers, missing)
	}
	for _, e := range answers {
		if e.Response.StatusCode < 400 {
			continue // other checks report it
		}
		if err := s.checkErrorBody(e); err != nil {
			return err
		}
	}
	return nil
}

func (s *subject) checkErrorBody(e Exchange) error {
	want := `{"error": "<code>", "message": "<one line>"}`
	members, err := decodeObject(e.ResponseBody)
	if err != nil {
		return &failure{want, describe(e)}
	}
	message := textOf(members["message"])
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	switch {
	case textOf(members["error"]) == "" || strings.TrimSpace(message) == "":
		return &failure{want, describe(e)}
	case strings.ContainsFunc(message, unprintable) || utf8.RuneCountInString(message) > maxMessage:
		return &failure{"a message of one short line", fmt.Sprintf("the message %q", s.short([]byte(message)))}
	}
	return nil
}

// traces are parts of the texts of exceptions and stack traces.
var traces = []string{
	"\n    at ", "node:internal", "Traceback (most recent call last)", "goroutine ", "panic: ", "runtime error", ".go:", ".rb:", ".py\", line",
	"Exception in thread", "\tat ", "SQLSTATE", "ECONNREFUSED", "stack trace",
}

func checkNoSecret(ctx context.Context, s *subject) error {
	provoked := []func() (Exchange, error){
		func() (Exchange, error) { return s.withoutID(ctx) },
		func() (Exchange, error) { return s.fetch(ctx, &extension{id: s.newID()}) },
		func() (Exchange, error) {
			r, err := s.orderRequest(ctx, signedBy(signsNothing))
			if err != nil {
				return Exchange{}, err
			}
			return s.send(r)
		},
		func() (Exchange, error) {
			return s.call(ctx, http.MethodPost, "/extensions", []byte(`{"id":`), s.asIs())
		},
	}
	if s.generation() == flyext.Generation2 {
		provoked = append(provoked, func() (Exchange, error) { return s.event(ctx, s.started(), signedBy(signsNothing)) })
	}
	for _, provoke := range provoked {
		if _, err := provoke(); err != nil {
			return err
		}
	}
	if e, what := s.betrayal(); what != "" {
		s.exchanges = append(s.exchanges, e) // the report shows the last exchange
		return &failure{"an error without secrets and stack traces", what}
	}
	return nil
}

// betrayal returns the first error of this run that reveals a secret or a trace.
func (r *conformanceRun) betrayal() (e Exchange, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.refusals {
		if what := r.gives(e); what != "" {
			return e, what
		}
	}
	return Exchange{}, ""
}

// gives describes the secret or the trace in an error. It returns "" if there is neither.
// The caller holds r.mu.
func (r *conformanceRun) gives(e Exchange) string {
	var text strings.Builder
	text.Write(e.ResponseBody)
	for name, values := range e.Response.Header {
		fmt.Fprintf(&text, "\n%s: %s", name, strings.Join(values, ", "))
	}
	if r.hasSecret(text.String()) {
		return fmt.Sprintf("a secret, in the answer to %s %s (%s)", e.Request.Method, e.Request.URL.EscapedPath(), e.Response.Status)
	}
	for _, trace := range traces {
		if strings.Contains(string(e.ResponseBody), trace) {
			return fmt.Sprintf("%q, in the answer to %s %s (%s)", trace, e.Request.Method, e.Request.URL.EscapedPath(), e.Response.Status)
		}
	}
	return ""
}
