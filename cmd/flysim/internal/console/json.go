package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxShown is the most bytes of a body that a page shows.
const maxShown = 32 << 10

// A bodyView is a body on a page.
type bodyView struct {
	Empty  bool
	JSON   *jsonNode // nil if it is not JSON
	Raw    string
	Length int
	Cut    bool // the page shows only the beginning
}

func newBodyView(body []byte) bodyView {
	v := bodyView{Empty: len(body) == 0, Length: len(body)}
	raw := body
	if len(raw) > maxShown {
		raw, v.Cut = raw[:maxShown], true
	}
	v.Raw = printable(string(raw))
	if !v.Cut {
		v.JSON = parseJSON(body)
	}
	return v
}

// A jsonNode is a JSON value on a page. Objects and arrays can be folded.
type jsonNode struct {
	Name     string // with its quotes; "" outside of objects
	Class    string // "string", "number" or "word"; "" of objects and arrays
	Text     string // of a string, a number or a word
	Open     string // "{" or "["
	Close    string
	Children []*jsonNode
	Comma    bool // another value follows
}

// maxDepth bounds the depth of a tree. The size of the page grows with the square
// of the depth.
const maxDepth = 40

// parseJSON returns a body as a tree, or nil if the body is not JSON or too deep.
func parseJSON(body []byte) *jsonNode {
	dec := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	root, err := parseValue(dec)
	if err != nil || dec.PeekKind() != 0 || strings.TrimSpace(string(dec.UnreadBuffer())) != "" {
		return nil
	}
	return root
}

func parseValue(dec *jsontext.Decoder) (*jsonNode, error) {
	switch kind := dec.PeekKind(); kind {
	case '{', '[':
		return parseContainer(dec, kind == '{')
	case '"':
		return parseLeaf(dec, "string")
	case '0':
		return parseLeaf(dec, "number")
	default:
		return parseLeaf(dec, "word")
	}
}

func parseLeaf(dec *jsontext.Decoder, class string) (*jsonNode, error) {
	value, err := dec.ReadValue()
	return &jsonNode{Class: class, Text: printable(string(value))}, err
}

func parseContainer(dec *jsontext.Decoder, object bool) (*jsonNode, error) {
	if dec.StackDepth() >= maxDepth-1 {
		return nil, errTooDeep
	}
	node, end := &jsonNode{Open: "[", Close: "]"}, jsontext.Kind(']')
	if object {
		node.Open, node.Close, end = "{", "}", '}'
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	for dec.PeekKind() != end {
		name := ""
		if object {
			value, err := dec.ReadValue()
			if err != nil {
				return nil, err
			}
			name = printable(string(value))
		}
		child, err := parseValue(dec)
		if err != nil {
			return nil, err
		}
		child.Name, child.Comma = name, true
		node.Children = append(node.Children, child)
	}
	if n := len(node.Children); n > 0 {
		node.Children[n-1].Comma = false
	}
	_, err := dec.ReadToken()
	return node, err
}

var errTooDeep = errors.New("the JSON is too deep")

// indented returns the lines of a body. JSON is indented first.
func indented(body []byte) []string {
	text := body
	var out bytes.Buffer
	if parseJSON(body) != nil && json.Indent(&out, body, "", "  ") == nil {
		text = out.Bytes()
	}
	return strings.Split(printable(string(text)), "\n")
}
