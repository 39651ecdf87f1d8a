package flyext

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// decodePayload decodes a body, which must be one JSON object. It refuses texts that
// two JSON parsers might read differently: duplicate members, bytes that are not UTF-8,
// and a second value. An escaped lone surrogate decodes to U+FFFD.
func decodePayload(body []byte, into any) error {
	lenient := jsontext.AllowInvalidUTF8(utf8.Valid(body)) // in valid UTF-8 this allows only lone surrogates
	if jsontext.Value(body).Kind() != '{' {
		return whyNoObject(body, lenient)
	}
	err := jsonv2.Unmarshal(body, into, payloadRules, lenient)
	if wrong, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		name, _, _ := strings.Cut(strings.TrimPrefix(string(wrong.JSONPointer), "/"), "/")
		return invalidMember(name, err)
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

// invalidMember returns the error for a member that does not decode.
func invalidMember(name string, err error) *Error {
	if errors.Is(err, errNUL) {
		return invalidField(name, mustHaveNoNUL)
	}
	return invalidField(name, mustBe(name))
}

func invalidField(name, must string) *Error {
	return &Error{
		Status: http.StatusUnprocessableEntity, Code: CodeInvalidField,
		Message: fmt.Sprintf("%q must be %s.", name, must),
	}
}
