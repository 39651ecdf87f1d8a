package flyext

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A payload is a decoded request body. It has the members that X-Signature adds, so
// that one pass over the body reads both.
type payload interface{ signing() *signingMembers }

// signingMembers are the parameters of X-Signature in a body.
type signingMembers struct {
	Timestamp signingMember `json:"timestamp"`
	Nonce     signingMember `json:"nonce"`
	URL       signingMember `json:"url"`
}

func (s *signingMembers) signing() *signingMembers { return s }

// complete reports whether the body has all three.
func (s *signingMembers) complete() bool {
	return s.Timestamp.end > 0 && s.Nonce.end > 0 && s.URL.end > 0
}

// A signingMember is a value of any type and its position in the body.
type signingMember struct {
	text       string // of a JSON string
	number     bool   // text is the digits of a JSON number
	start, end int64
}

func (m *signingMember) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	value, err := dec.ReadValue()
	if err != nil {
		return err
	}
	m.set(value, dec.InputOffset())
	return nil
}

func (m *signingMember) set(value jsontext.Value, end int64) {
	m.start, m.end = end-int64(len(value)), end
	if m.text = textOf(value); value.Kind() == '0' {
		m.text, m.number = string(value), true
	}
}

// extras returns the unknown members. In generation 1 they include the names of the
// signing parameters, unless the body has all three: such a body was signed for
// generation 2 as well.
func (s *signingMembers) extras(g Generation, body []byte, extra map[string]json.RawMessage) map[string]json.RawMessage {
	if g != Generation1 || s.complete() {
		return extra
	}
	addExtra(&extra, "timestamp", body[s.Timestamp.start:s.Timestamp.end])
	addExtra(&extra, "nonce", body[s.Nonce.start:s.Nonce.end])
	addExtra(&extra, "url", body[s.URL.start:s.URL.end])
	return extra
}

func addExtra(extra *map[string]json.RawMessage, name string, value []byte) {
	if len(value) == 0 {
		return
	}
	if *extra == nil {
		*extra = make(map[string]json.RawMessage)
	}
	(*extra)[name] = bytes.Clone(value) // a part of the body would keep all of it in memory
}

// A signedBody is the payload for a route of the service's own.
type signedBody struct{ signingMembers }

// A member is an [Optional] that json/v2 can decode.
type member[T any] struct{ Optional[T] }

func (m *member[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	m.Present, m.Null = true, dec.PeekKind() == 'n'
	if m.Null {
		return dec.SkipValue()
	}
	return jsonv2.UnmarshalDecode(dec, &m.Value)
}

// regions is a list of strings. Unlike []string, it refuses null elements.
type regions []string

func (r *regions) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '[' {
		return jsonv2.UnmarshalDecode(dec, (*[]string)(r)) // null, or the error
	}
	_, err := dec.ReadToken()
	*r = make(regions, 0, 4)
	for err == nil && dec.PeekKind() == '"' {
		var region jsontext.Token
		region, err = dec.ReadToken()
		*r = append(*r, region.String())
	}
	if err == nil && dec.PeekKind() != ']' {
		return errors.New("an element that is not a string")
	}
	if err == nil {
		_, err = dec.ReadToken()
	}
	return err
}

// An email is the organization's e-mail address. Fly.io's page calls the member
// organization_email, and its example sends email.
type email struct {
	OrganizationEmail member[string] `json:"organization_email"`
	Email             jsontext.Value `json:"email"`
}

// address returns the address. If organization_email has a value, email is an extra.
func (e *email) address(extra *map[string]json.RawMessage) (Optional[string], error) {
	if _, ok := e.OrganizationEmail.Get(); ok || e.Email == nil {
		addExtra(extra, "email", e.Email)
		return e.OrganizationEmail.Optional, nil
	}
	var address member[string]
	if err := jsonv2.Unmarshal(e.Email, &address, jsontext.AllowInvalidUTF8(true)); err != nil {
		return address.Optional, invalidField("email", mustBeText)
	}
	return address.Optional, nil
}

// decodePayload decodes a body, which must be one JSON object. It refuses texts that
// two JSON parsers might read differently: duplicate members, bytes that are not UTF-8,
// and a second value. An escaped lone surrogate decodes to U+FFFD.
func decodePayload(body []byte, into any) error {
	lenient := jsontext.AllowInvalidUTF8(utf8.Valid(body)) // in valid UTF-8 this allows only lone surrogates
	if jsontext.Value(body).Kind() != '{' {
		return whyNoObject(body, lenient)
	}
	err := jsonv2.Unmarshal(body, into, lenient)
	if wrong, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		name, _, _ := strings.Cut(strings.TrimPrefix(string(wrong.JSONPointer), "/"), "/")
		return invalidField(name, mustBe(name))
	}
	if err != nil {
		return whyNoObject(body, lenient)
	}
	return nil
}

// whyNoObject returns the reason why a body is not one JSON object.
func whyNoObject(body []byte, options jsontext.Options) error {
	if len(body) == 0 {
		return malformed("The body is empty; a JSON object is expected.", nil)
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(body), options)
	isObject := dec.PeekKind() == '{'
	_, err := dec.ReadValue()
	switch {
	case isObject && err != nil:
		return malformedJSON(err)
	case isObject:
		return malformed("The body has text after the JSON object.", nil)
	case err != nil:
		return malformed("The body is not JSON.", nil)
	}
	return malformed("The body is JSON, but not an object.", nil)
}

func malformed(message string, err error) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeMalformedBody, Message: message, Err: err}
}

// malformedJSON returns the error for a JSON text, with the member if it is known.
func malformedJSON(err error) *Error {
	what := "is not JSON"
	if errors.Is(err, jsontext.ErrDuplicateName) {
		what = "names a member twice"
	} else if strings.Contains(err.Error(), "UTF-8") {
		what = "is not UTF-8"
	}
	at := ""
	var cause error
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if s.JSONPointer != "" {
			at = fmt.Sprintf(" (at %q)", strings.TrimPrefix(string(s.JSONPointer), "/"))
		}
		// The text of err quotes the body, which must not reach the log.
		cause = fmt.Errorf("the body %s, at byte %d", what, s.ByteOffset)
	}
	return malformed("The body "+what+at+".", cause)
}

const (
	mustBeText     = "a string"
	mustNotBeEmpty = "a string that is not empty"
	mustHaveNoNUL  = "a string without NUL characters"
	mustBeAddress  = "an IP address"
)

// mustBe returns the type that the protocol gives a member.
func mustBe(name string) string {
	switch name {
	case "id", "organization_id":
		return mustNotBeEmpty
	case "read_regions":
		return "an array of strings"
	case "ip_address":
		return mustBeAddress
	}
	return mustBeText
}

func invalidField(name, must string) *Error {
	return &Error{
		Status: http.StatusUnprocessableEntity, Code: CodeInvalidField,
		Message: fmt.Sprintf("%q must be %s.", name, must),
	}
}

// A text is the name and the value of a member.
type text struct{ name, value string }

// checkTexts refuses NUL characters, which databases cannot store.
func checkTexts(texts ...text) error {
	for _, t := range texts {
		if strings.IndexByte(t.value, 0) >= 0 {
			return invalidField(t.name, mustHaveNoNUL)
		}
	}
	return nil
}

// checkAddress refuses an address with a zone, which has no meaning on another machine.
func checkAddress(a netip.Addr) error {
	if a.Zone() != "" {
		return invalidField("ip_address", mustBeAddress)
	}
	return nil
}
