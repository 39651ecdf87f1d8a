package flyext

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// An eventBody is a JSON object in the body of an event: the data in binary mode, the
// event in structured mode. Duplicate members are refused in the object itself and
// accepted inside its values, which are the data of a third party.
type eventBody struct {
	signingMembers
	members map[string]jsontext.Value
}

// read reads the members of a body.
func (b *eventBody) read(body []byte) error {
	b.members = make(map[string]jsontext.Value)
	dec := lenientDecoder(body)
	if len(body) == 0 || dec.PeekKind() != '{' {
		return whyNoObject(body, jsontext.AllowInvalidUTF8(utf8.Valid(body)))
	}
	_, err := dec.ReadToken()
	for err == nil && dec.PeekKind() == '"' {
		var name jsontext.Token
		if name, err = dec.ReadToken(); err != nil {
			break
		}
		text := name.String()
		if _, twice := b.members[text]; twice {
			return malformed(fmt.Sprintf("The body names a member twice (at %q).", text), nil)
		}
		var value jsontext.Value
		value, err = dec.ReadValue()
		b.members[text] = value.Clone()
	}
	if err == nil {
		_, err = dec.ReadToken() // the closing brace
	}
	if err != nil {
		return malformedJSON(err)
	}
	if rest := bytes.TrimLeft(body[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return malformed("The body has text after the JSON object.", nil)
	}
	b.Timestamp, b.Nonce, b.URL = b.members["timestamp"], b.members["nonce"], b.members["url"]
	return nil
}

// lenientDecoder returns a decoder that accepts what other encoders write: duplicate
// members and escaped lone surrogates. Both need valid UTF-8.
func lenientDecoder(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(utf8.Valid(text)))
}

// elements returns the elements of a JSON array.
func elements(array []byte) (values []jsontext.Value, err error) {
	err = jsonv2.Unmarshal(array, &values, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(utf8.Valid(array)))
	return values, err
}

// isOneValue reports whether a text is one JSON value other than an object.
func isOneValue(text []byte) bool {
	dec := lenientDecoder(text)
	if dec.PeekKind() == '{' || dec.SkipValue() != nil {
		return false
	}
	_, err := dec.ReadToken()
	return err == io.EOF
}

// textOf returns the text of a JSON string, or "" for a value of another type.
func textOf(value jsontext.Value) string {
	if value.Kind() != '"' {
		return ""
	}
	text, _ := jsontext.AppendUnquote(nil, value) // an error means a lone surrogate, read as U+FFFD
	return string(text)
}
