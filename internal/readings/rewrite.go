package readings

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A style is how a JSON library formats its output.
type style struct {
	id, name     string
	comma, colon string
	ascii        bool   // writes non-ASCII characters as \uXXXX
	escaped      string // other characters to write as \uXXXX
	sorted       bool   // sorts members by name
}

// styles are those of popular libraries.
var styles = []style{
	{id: "json-dumps", name: "Python's json.dumps", comma: ", ", colon: ": ", ascii: true},
	{id: "json-dumps-sorted", name: "Python's json.dumps(sort_keys=True)", comma: ", ", colon: ": ", ascii: true, sorted: true},
	{id: "json-dumps-unicode", name: "Python's json.dumps(ensure_ascii=False)", comma: ", ", colon: ": "},
	{id: "stringify", name: "JavaScript's JSON.stringify or Ruby's to_json", comma: ",", colon: ":"},
	{id: "rails", name: "Rails' to_json", comma: ",", colon: ":", escaped: "<>&\u2028\u2029"},
	{id: "compact-ascii", name: "Python's json.dumps with compact separators", comma: ",", colon: ":", ascii: true},
	{id: "compact-sorted", name: "a library with sorted keys", comma: ",", colon: ":", ascii: true, sorted: true},
	{id: "go-map", name: "Go's json.Marshal of a map", comma: ",", colon: ":", escaped: "<>&\u2028\u2029", sorted: true},
}

// maxDepth limits the nesting of a JSON text, because rewrite copies a value once for
// each level above it.
const maxDepth = 100

var errDepth = fmt.Errorf("the JSON is nested more than %d levels deep", maxDepth)

// rewrite parses a JSON text and writes it in another style.
func rewrite(text []byte, s style) ([]byte, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(text))
	written, err := s.value(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON value: %v", err)
	}
	return []byte(written), nil
}

func (s style) value(dec *jsontext.Decoder) (string, error) {
	token, err := dec.ReadToken()
	if err != nil {
		return "", err
	}
	if dec.StackDepth() > maxDepth {
		return "", errDepth
	}
	switch token.Kind() {
	case '{':
		return s.object(dec)
	case '[':
		return s.array(dec)
	case '"':
		return s.quote(token.String()), nil
	}
	return token.String(), nil
}

func (s style) object(dec *jsontext.Decoder) (string, error) {
	var members []string // "name": value
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return "", err
		}
		quoted := s.quote(name.String())
		value, err := s.value(dec)
		if err != nil {
			return "", err
		}
		members = append(members, quoted+s.colon+value)
	}
	if s.sorted {
		slices.Sort(members)
	}
	_, err := dec.ReadToken()
	return "{" + strings.Join(members, s.comma) + "}", err
}

func (s style) array(dec *jsontext.Decoder) (string, error) {
	var elements []string
	for dec.PeekKind() != ']' {
		element, err := s.value(dec)
		if err != nil {
			return "", err
		}
		elements = append(elements, element)
	}
	_, err := dec.ReadToken()
	return "[" + strings.Join(elements, s.comma) + "]", err
}

func (s style) quote(text string) string {
	quoted, err := jsontext.AppendQuote(nil, text)
	if err != nil {
		return text
	}
	var b strings.Builder
	for _, c := range string(quoted) {
		switch {
		case c > 0xffff && s.ascii:
			high, low := (c-0x10000)>>10+0xd800, (c-0x10000)&0x3ff+0xdc00
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		case c > 0x7e && s.ascii || strings.ContainsRune(s.escaped, c):
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}
