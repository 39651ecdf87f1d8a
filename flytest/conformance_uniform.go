package flytest

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

func checkUniform(ctx context.Context, s *subject) error {
	if err := s.checkSameRefusal(ctx); err != nil {
		return err
	}
	err := s.everyRoute(ctx, extensionMethods, func(t target) error { return s.checkUnsignedRoute(ctx, t) })
	return tolerate(err)
}

// checkSameRefusal checks that the answers to all unauthenticated requests have the
// same body, except for the words that differ in each answer.
func (s *subject) checkSameRefusal(ctx context.Context) error {
	var first *Exchange
	firstWhat := ""
	varies := map[int]bool{}
	for i, attempt := range s.unauthenticated(ctx) {
		r, err := attempt.make()
		if err != nil {
			return skipFailure(err, "the genuine request is not accepted")
		}
		e, err := s.send(r)
		if err != nil {
			return err
		}
		switch {
		case e.Response.StatusCode/100 != 4: // other checks report it
			if first == nil {
				return &skip{notRefused}
			}
		case e.Response.StatusCode != http.StatusUnauthorized:
			return &failure{"401 for " + attempt.what, describe(e)}
		case first == nil:
			first, firstWhat = &e, attempt.what
		case i == 1:
			varies = varying(first.ResponseBody, e.ResponseBody)
		case !alike(first.ResponseBody, e.ResponseBody, varies):
			return &failure{
				"the same body for every refusal",
				fmt.Sprintf("for %s %q, and for %s %q", firstWhat, s.short(first.ResponseBody), attempt.what, s.short(e.ResponseBody)),
			}
		}
	}
	return nil
}

// An attempt makes a request that the provider must refuse with 401.
type attempt struct {
	what string // for the report
	make func() (*http.Request, error)
}

// unauthenticated returns attempts that differ in the reason for the refusal. The
// first two are the same, to find the words that differ in each answer.
func (s *subject) unauthenticated(ctx context.Context) []attempt {
	wrong := s.with(func(c *Credentials) { c.SigningSecret = another(c.SigningSecret) })
	unsigned := func() (*http.Request, error) { return s.orderRequest(ctx, signedBy(signsNothing)) }
	return []attempt{
		{"an unsigned request", unsigned},
		{"an unsigned request", unsigned},
		{"a request signed with another secret", func() (*http.Request, error) { return s.orderRequest(ctx, signedBy(wrong)) }},
		{"a malformed signature", func() (*http.Request, error) {
			r, err := s.orderRequest(ctx)
			if err == nil {
				r.Header.Set(s.signatureHeader(), "garbage")
			}
			return r, err
		}},
		{"an old request", func() (*http.Request, error) { return s.orderRequest(ctx, signedAt(-tooFar)) }},
		{"a request from the future", func() (*http.Request, error) { return s.orderRequest(ctx, signedAt(tooFar)) }},
		{"a replay", func() (*http.Request, error) { return s.replayed(ctx) }},
		{"an unsigned body that is not JSON", func() (*http.Request, error) {
			return s.unsigned(ctx, http.MethodPost, "/extensions", []byte(`{"id":`))
		}},
	}
}

// checkUnsignedRoute checks that the answer to an unsigned request does not reveal
// whether the extension exists.
func (s *subject) checkUnsignedRoute(ctx context.Context, t target) error {
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
			return &skip{"an unsigned " + t.method + " is not refused"} // the check "unsigned" reports it
		default:
			return &failure{"401 for an unsigned request, whether or not the extension exists", describe(e)}
		}
	}
	return nil
}

// moment matches a time in a text. A time does not reveal the reason for a refusal.
var moment = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[0-9.:+Z-]*|\b\d{10,13}\b`)

// wordsOf returns the words of an answer. For a JSON object, their order does not depend
// on the order of the members.
func wordsOf(body []byte) []string {
	text := jsontext.Value(slices.Clone(body))
	_ = text.Canonicalize() // a text that is not JSON stays unchanged
	return strings.FieldsFunc(moment.ReplaceAllString(string(text), ""), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_+/=", r)
	})
}

// varying returns the indexes of the words that differ between two answers to the same
// request.
func varying(first, second []byte) map[int]bool {
	varies := map[int]bool{}
	again := wordsOf(second)
	for n, word := range wordsOf(first) {
		varies[n] = n < len(again) && again[n] != word
	}
	return varies
}

// alike compares two texts without the words that vary, such as the id of a request.
func alike(a, b []byte, varies map[int]bool) bool {
	first, second := wordsOf(a), wordsOf(b)
	for i := range first {
		if i < len(second) && varies[i] {
			second[i] = first[i]
		}
	}
	return slices.Equal(first, second)
}

// short returns the beginning of a text, without secrets.
func (s *subject) short(text []byte) string {
	clean := s.redact(string(text))
	return clean[:min(len(clean), maxDescribed/3)]
}
