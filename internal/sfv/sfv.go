// Package sfv parses the structured fields Signature-Input, Signature and
// Content-Digest. It follows RFC 8941 strictly, and supports the two types that RFC
// 9651 adds.
//
// Each member and component keeps its text as received, because a verifier needs
// the bytes that were signed. A repeated key or parameter is an error, although RFC
// 8941 says that the last one wins: signer and verifier could each use a different
// one.
package sfv

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kind is the type of a bare item (RFC 8941, section 3.3).
type Kind uint8

// The kinds of bare items. Decimals, dates and display strings are parsed without a
// value, because no signature parameter that is used here has these types.
const (
	Boolean Kind = iota
	Integer
	Decimal
	String
	Token
	Bytes
	Date          // RFC 9651, section 3.3.7
	DisplayString // RFC 9651, section 3.3.8
)

// A Value is a bare item.
type Value struct {
	Kind Kind
	Int  int64  // Integer; Boolean as 0 or 1
	Text string // String and Token; Bytes decoded
}

// A Param is a parameter of an item or of an inner list.
type Param struct {
	Name  string
	Value Value
}

// An Item is a bare item with its parameters.
type Item struct {
	Raw    string // as received, parameters included
	Value  Value
	Params []Param
}

// Param returns the value of a parameter.
func (it *Item) Param(name string) (Value, bool) {
	for i := range it.Params {
		if it.Params[i].Name == name {
			return it.Params[i].Value, true
		}
	}
	return Value{}, false
}

// Equal reports whether two items have the same value and parameters. The order of
// the parameters does not matter.
func (it *Item) Equal(other *Item) bool {
	if it.Value != other.Value || len(it.Params) != len(other.Params) {
		return false
	}
	for i := range it.Params {
		if value, ok := other.Param(it.Params[i].Name); !ok || value != it.Params[i].Value {
			return false
		}
	}
	return true
}

// A Member of a dictionary is an item or an inner list.
type Member struct {
	Key    string
	Raw    string // everything after "key=", as received
	IsList bool
	Items  []Item  // of an inner list
	Value  Value   // of an item
	Params []Param // of the list or the item
}

// Limits for fields, which are not authenticated yet. Signers stay far below them.
const (
	MaxField    = 16 << 10 // bytes of a field
	maxElements = 64       // members of a field, items of a list, parameters of an item
	maxTotal    = 512      // items and parameters of a field
)

var (
	errSyntax    = errors.New("sfv: syntax error")
	errDuplicate = errors.New("sfv: duplicate key or parameter")
	errTooMany   = errors.New("sfv: too many elements")
)

// ParseDictionary parses a dictionary (RFC 8941, section 4.2.2) from the lines of a
// field. Keys and parameters must be unique.
func ParseDictionary(lines ...string) ([]Member, error) {
	text, err := join(lines)
	if err != nil {
		return nil, err
	}
	p := parser{s: text}
	p.skip(" ")
	if p.done() {
		return nil, nil
	}
	members := make([]Member, 0, 2)
	for {
		if len(members) == maxElements {
			return nil, errTooMany
		}
		m, err := p.member()
		if err != nil {
			return nil, fmt.Errorf("%w at byte %d", err, p.i)
		}
		if slices.ContainsFunc(members, func(have Member) bool { return have.Key == m.Key }) {
			return nil, errDuplicate
		}
		members = append(members, m)
		p.skip(" \t")
		if p.done() {
			return members, nil
		}
		if !p.eat(',') {
			return nil, fmt.Errorf("%w at byte %d", errSyntax, p.i)
		}
		p.skip(" \t")
	}
}

// join joins the lines of a field of at most MaxField bytes.
func join(lines []string) (string, error) {
	size := 0
	for _, line := range lines {
		if size += len(line) + 2; size > MaxField {
			return "", errTooMany
		}
	}
	if len(lines) == 1 {
		return lines[0], nil
	}
	return strings.Join(lines, ", "), nil
}

type parser struct {
	s     string
	i     int
	total int // of items and parameters
}

func (p *parser) done() bool { return p.i >= len(p.s) }

// peek returns the next byte, or 0 at the end. NUL is not allowed anywhere.
func (p *parser) peek() byte {
	if p.done() {
		return 0
	}
	return p.s[p.i]
}

func (p *parser) eat(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.i++
	return true
}

func (p *parser) skip(set string) {
	for !p.done() && (p.s[p.i] == set[0] || len(set) > 1 && p.s[p.i] == set[1]) {
		p.i++
	}
}

func (p *parser) member() (m Member, err error) {
	if m.Key, err = p.key(); err != nil {
		return m, err
	}
	start := p.i
	switch {
	case !p.eat('='): // a bare key is the boolean true
		m.Value = Value{Kind: Boolean, Int: 1}
	case p.peek() == '(':
		start = p.i
		m.IsList = true
		m.Items, err = p.innerList()
	default:
		start = p.i
		m.Value, err = p.bareItem()
	}
	if err != nil {
		return m, err
	}
	if m.Params, err = p.params(); err != nil {
		return m, err
	}
	m.Raw = p.s[start:p.i]
	return m, nil
}

func (p *parser) innerList() ([]Item, error) {
	p.i++ // "("
	items := make([]Item, 0, 8)
	for {
		p.skip(" ")
		if p.eat(')') {
			return items, nil
		}
		if len(items) == maxElements || p.full() {
			return nil, errTooMany
		}
		item, err := p.item()
		if err != nil {
			return nil, err
		}
		items = append(items, item)
		if c := p.peek(); c != ' ' && c != ')' {
			return nil, errSyntax
		}
	}
}

// full counts an item or a parameter and reports whether there are too many.
func (p *parser) full() bool {
	p.total++
	return p.total > maxTotal
}

func (p *parser) item() (it Item, err error) {
	start := p.i
	if it.Value, err = p.bareItem(); err != nil {
		return it, err
	}
	if it.Params, err = p.params(); err != nil {
		return it, err
	}
	it.Raw = p.s[start:p.i]
	return it, nil
}

func (p *parser) params() ([]Param, error) {
	var params []Param
	for p.eat(';') {
		if len(params) == maxElements || p.full() {
			return nil, errTooMany
		}
		p.skip(" ")
		name, err := p.key()
		if err != nil {
			return nil, err
		}
		v := Value{Kind: Boolean, Int: 1}
		if p.eat('=') {
			if v, err = p.bareItem(); err != nil {
				return nil, err
			}
		}
		if slices.ContainsFunc(params, func(have Param) bool { return have.Name == name }) {
			return nil, errDuplicate
		}
		params = append(params, Param{name, v})
	}
	return params, nil
}
