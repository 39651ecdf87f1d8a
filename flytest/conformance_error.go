package flytest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
)

var errorChecks = []check{
	{Requirement{
		ID: "uniform", Group: groupErrors,
		Text:   "Every refusal looks the same: 401",
		Source: sourceDecisions,
		Fix:    "Answer all of them with one 401 and one body, and write the reason to the log.",
	}, checkUniform},
	{Requirement{
		ID: "malformed-body", Group: groupErrors,
		Text:   "A body that is no JSON object is refused",
		Source: sourceDecisions,
		Fix:    "Answer 400; not 200, and not 500.",
	}, checkMalformedBody},
	{Requirement{
		ID: "missing-id", Group: groupErrors,
		Text:   "A provision without an id is refused",
		Source: sourceParameters,
		Fix:    "Demand the id, which is the key of everything: answer 422.",
	}, checkMissingID},
	{Requirement{
		ID: "body-limit", Group: groupErrors,
		Text:   "A body without an end is not read to its end",
		Source: sourceDecisions,
		Fix:    "Stop reading at 1 MiB or so, answer 413 and close the connection.",
	}, checkBodyLimit},
	{Requirement{
		ID: "error-message", Group: groupErrors,
		Text:   "An error has a code and a message of one short line",
		Source: sourceErrors,
		Fix:    `Answer {"error": "<code>", "message": "<text>"}: the message reaches the customer's terminal as it is.`,
	}, checkErrorMessage},
	{Requirement{
		ID: "no-secret", Group: groupErrors,
		Text:   "No error gives away a secret, or the code behind it",
		Source: sourceErrors,
		Fix:    "Send texts that were written for the customer, never those of exceptions; keep the rest for the log.",
	}, checkNoSecret},
}

func checkUniform(ctx context.Context, s *subject) error {
	wrong := s.with(func(c *Credentials) { c.SigningSecret = another(c.SigningSecret) })
	unsigned := func() (*http.Request, error) { return s.orderRequest(ctx, signedBy(signerFunc(nobody))) }
	makers := []struct {
		what string
		make func() (*http.Request, error)
	}{
		{"no signature", unsigned},
		{"no signature", unsigned}, // twice, which shows what is another each time
		{"another secret", func() (*http.Request, error) { return s.orderRequest(ctx, signedBy(wrong)) }},
		{"garbage", func() (*http.Request, error) {
			r, err := s.orderRequest(ctx)
			if err == nil {
				r.Header.Set(s.signatureHeader(), "garbage")
			}
			return r, err
		}},
		{"an old request", func() (*http.Request, error) { return s.orderRequest(ctx, signedAt(-tooFar)) }},
		{"a request from the future", func() (*http.Request, error) { return s.orderRequest(ctx, signedAt(tooFar)) }},
		{"a replay", func() (*http.Request, error) { return s.replayed(ctx) }},
		{"no signature and no JSON", func() (*http.Request, error) {
			return s.unsigned(ctx, http.MethodPost, "/extensions", []byte(`{"id":`))
		}},
	}
	var first *Exchange
	firstWhat := ""
	varies := map[int]bool{}
	for i, maker := range makers {
		r, err := maker.make()
		if err != nil {
			return skipFailure(err, "the genuine request is not admitted")
		}
		e, err := s.send(r)
		if err != nil {
			return err
		}
		switch {
		case e.Response.StatusCode/100 != 4: // for another check
			if first == nil {
				return &skip{"what is not signed is not refused"}
			}
		case e.Response.StatusCode != http.StatusUnauthorized:
			return &failure{"401 to " + maker.what, describe(e)}
		case first == nil:
			first, firstWhat = &e, maker.what
		case i == 1:
			again := wordsOf(e.ResponseBody)
			for n, word := range wordsOf(first.ResponseBody) {
				varies[n] = n < len(again) && again[n] != word
			}
		case !alike(first.ResponseBody, e.ResponseBody, varies):
			return &failure{
				"one body for all",
				fmt.Sprintf("to %s %q, and to %s %q", firstWhat, s.short(first.ResponseBody), maker.what, s.short(e.ResponseBody)),
			}
		}
	}
	err := s.everyRoute(ctx, extensionMethods, func(t target) error {
		for _, path := range []string{t.path, ExtensionPath(s.newID())} {
			r, err := s.unsigned(ctx, t.method, path, t.body)
			if err != nil {
				return err
			}
			e, err := s.send(r)
			switch {
			case err != nil:
				return err
			case e.Response.StatusCode == http.StatusUnauthorized:
			case path == t.path && e.Response.StatusCode/100 != 4:
				return &skip{t.method + " is not refused"} // for another check
			default:
				return &failure{"401 to no signature, whatever there is", describe(e)}
			}
		}
		return nil
	})
	return tolerate(err)
}

// moment is a time in a text. It says when somebody was refused, and not why.
var moment = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[0-9.:+Z-]*|\b\d{10,13}\b`)

// wordsOf returns the words of an answer, of a JSON object in an order that does
// not depend on that of its members.
func wordsOf(body []byte) []string {
	text := jsontext.Value(slices.Clone(body))
	_ = text.Canonicalize() // or it stays what it is
	return strings.FieldsFunc(moment.ReplaceAllString(string(text), ""), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_+/=", r)
	})
}

// alike compares texts but for the words that vary, such as the id of a request.
func alike(a, b []byte, varies map[int]bool) bool {
	first, second := wordsOf(a), wordsOf(b)
	for i := range first {
		if i < len(second) && varies[i] {
			second[i] = first[i]
		}
	}
	return slices.Equal(first, second)
}

// short is the beginning of a text, without secrets.
func (s *subject) short(text []byte) string {
	clean := s.redact(string(text))
	return clean[:min(len(clean), maxDescribed/3)]
}

// malformedBodies are no JSON objects.
var malformedBodies = []string{`{"id":`, `[]`, `null`, `"id"`, "\xff", "nonsense"}

func checkMalformedBody(ctx context.Context, s *subject) error {
	for _, body := range malformedBodies {
		e, err := s.call(ctx, http.MethodPost, "/extensions", []byte(body), s.asIs())
		if err != nil {
			return err
		}
		if e.Response.StatusCode/100 != 4 {
			return &failure{fmt.Sprintf("400 to %q", body), describe(e)}
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
		return &failure{"400 to two objects in one body", describe(e)}
	}
	return nil
}

// asIs has a body signed that X-Signature's parameters cannot be added to.
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

// endless is how much of a body is offered, in bytes. It is much more than what
// the buffers between two programs hold, so that a provider which stops is told
// from one that does not.
const endless = 64 << 20

// An offer is a body that counts how much of it is taken.
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
	r, err := s.orderRequest(ctx) // with a signature that has to be compared with the body
	if err != nil {
		return err
	}
	body := &offer{}
	r.Body, r.GetBody, r.ContentLength = io.NopCloser(body), nil, -1
	r.Close = true // nobody else is to be given this connection
	client := http.Client{}
	if s.Client != nil {
		client = *s.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := client.Do(r.WithContext(limited))
	if err == nil {
		answer.Body.Close()
	}
	s.observe(Exchange{Request: r, SignatureBase: SignatureBase(r), Response: answer})
	switch {
	case body.taken.Load() >= endless && (answer == nil || answer.StatusCode != http.StatusRequestEntityTooLarge):
		// Who says 413 at the end has not kept what came: some throw it away.
		return &failure{"an end of the connection", fmt.Sprintf("all of %d MiB taken", endless>>20)}
	case limited.Err() != nil && ctx.Err() == nil:
		return &failure{"413", fmt.Sprintf("no answer after %v", answerTimeout)}
	case err != nil: // closed on whoever does not stop
		return nil
	}
	if answer.StatusCode/100 != 4 {
		return &failure{"413", answer.Status}
	}
	return nil
}

// maxMessage is what fits a few lines of a terminal, in characters.
const maxMessage = 500

func checkErrorMessage(ctx context.Context, s *subject) error {
	incomplete, err := s.withoutID(ctx)
	if err != nil {
		return err
	}
	errors := []Exchange{incomplete}
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	if _, err := s.resource(ctx, x); err == nil { // or else it is a router's error
		missing, err := s.fetch(ctx, &extension{id: s.newID()})
		if err != nil {
			return err
		}
		errors = append(errors, missing)
	}
	for _, e := range errors {
		if e.Response.StatusCode < 400 {
			continue // for another check
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
		return &failure{"a message of one short line", fmt.Sprintf("%q", s.short([]byte(message)))}
	}
	return nil
}

// traces are what gives away that a text is an exception's.
var traces = []string{
	"\n    at ", "node:internal", "Traceback (most recent call last)", "goroutine ", "panic: ", "runtime error", ".go:", ".rb:", ".py\", line",
	"Exception in thread", "\tat ", "SQLSTATE", "ECONNREFUSED", "stack trace",
}

func checkNoSecret(ctx context.Context, s *subject) error {
	provoked := []func() (Exchange, error){
		func() (Exchange, error) { return s.withoutID(ctx) },
		func() (Exchange, error) { return s.fetch(ctx, &extension{id: s.newID()}) },
		func() (Exchange, error) {
			r, err := s.orderRequest(ctx, signedBy(signerFunc(nobody)))
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
		provoked = append(provoked, func() (Exchange, error) { return s.event(ctx, s.started(), signedBy(signerFunc(nobody))) })
	}
	for _, provoke := range provoked {
		if _, err := provoke(); err != nil {
			return err
		}
	}
	if e, what := s.betrayal(); what != "" {
		s.exchanges = append(s.exchanges, e) // last, to be shown
		return &failure{"an error without it", what}
	}
	return nil
}

// betrayal finds an error of this run that gives something away.
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

// gives says what an error gives away, or "". The run is locked.
func (r *conformanceRun) gives(e Exchange) string {
	var text strings.Builder
	text.Write(e.ResponseBody)
	for name, values := range e.Response.Header {
		fmt.Fprintf(&text, "\n%s: %s", name, strings.Join(values, ", "))
	}
	for secret, owner := range r.secrets {
		if owner != nobodys && strings.Contains(text.String(), secret) {
			return fmt.Sprintf("a secret, in the answer to %s %s (%s)", e.Request.Method, e.Request.URL.EscapedPath(), e.Response.Status)
		}
	}
	for _, trace := range traces {
		if strings.Contains(string(e.ResponseBody), trace) {
			return fmt.Sprintf("%q, in the answer to %s %s (%s)", trace, e.Request.Method, e.Request.URL.EscapedPath(), e.Response.Status)
		}
	}
	return ""
}
