// Package sfv reads the two structured fields of HTTP Message Signatures,
// Signature-Input and Signature, and Content-Digest, strictly as RFC 8941
// writes them down.
//
// A general structured-field library gives values; a verifier needs the bytes
// that they were written with, since those bytes are what was signed. So every
// member and component here keeps its text as received. What is ambiguous
// (a key or a parameter twice, where RFC 8941 lets the last one win) is an
// error, because a signer and a verifier could each have meant another one.
package sfv

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kind is the type of a bare item (RFC 8941, section 3.3).
type Kind uint8

// The kinds of bare items. Decimals are parsed but carry no value: nothing in
// a signature is one.
const (
	Boolean Kind = iota
	Integer
	Decimal
	String
	Token
	Bytes
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

// Equal reports whether two items have one value and the same parameters, these
// in any order.
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

// A Member of a dictionary is an inner list or an item.
type Member struct {
	Key    string
	Raw    string // everything behind "key=", as received
	IsList bool
	Items  []Item  // of an inner list
	Value  Value   // of an item
	Params []Param // of the list or the item
}

// maxElements bounds members, items and parameters, each for itself, and
// maxInRoom how many items and how many parameters there may be in a room. No
// signer comes near them; without them a stranger would choose how long we work,
// and what we hold meanwhile.
const (
	maxElements = 64
	maxInRoom   = 1024
)

var (
	errSyntax    = errors.New("sfv: syntax error")
	errDuplicate = errors.New("sfv: duplicate key or parameter")
	errTooMany   = errors.New("sfv: too many elements")
)

// Room is memory for dictionaries. What was parsed into it is its own until it
// is reset. The zero value is ready.
type Room struct {
	members []Member
	items   []Item
	params  []Param
}

// Reset lets the memory be used again. What a stranger has made large is not
// kept.
func (r *Room) Reset() {
	r.members, r.items, r.params = Empty(r.members, maxElements), Empty(r.items, maxElements), Empty(r.params, maxElements)
}

// Empty returns the memory of s, cleared, for as many elements as most.
func Empty[T any](s []T, most int) []T {
	if cap(s) > most {
		return nil
	}
	clear(s[:cap(s)])
	return s[:0]
}

// ParseDictionary reads a dictionary (RFC 8941, section 4.2.2) from the value
// of a field, lines joined by commas. Keys and parameters must be unique.
func ParseDictionary(s string, room *Room) ([]Member, error) {
	p := parser{s: s, Room: room}
	start := len(p.members)
	p.skip(" ")
	if p.done() {
		return nil, nil
	}
	for {
		if len(p.members)-start == maxElements {
			return nil, errTooMany
		}
		p.members = append(p.members, Member{})
		members := p.members[start:]
		m := &members[len(members)-1]
		if err := p.member(m); err != nil {
			return nil, fmt.Errorf("%w at byte %d", err, p.i)
		}
		for i := range members[:len(members)-1] {
			if members[i].Key == m.Key {
				return nil, errDuplicate
			}
		}
		p.skip(" \t")
		if p.done() {
			return slices.Clip(members), nil
		}
		if !p.eat(',') {
			return nil, fmt.Errorf("%w at byte %d", errSyntax, p.i)
		}
		p.skip(" \t")
	}
}

type parser struct {
	*Room
	s string
	i int
}

func (p *parser) done() bool { return p.i >= len(p.s) }

// peek returns the next byte, or 0 at the end: no grammar here allows a NUL.
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

func (p *parser) member(m *Member) (err error) {
	if m.Key, err = p.key(); err != nil {
		return err
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
		return err
	}
	if m.Params, err = p.readParams(); err != nil {
		return err
	}
	m.Raw = p.s[start:p.i]
	return nil
}

func (p *parser) innerList() ([]Item, error) {
	p.i++ // "("
	start := len(p.items)
	for {
		p.skip(" ")
		if p.eat(')') {
			return slices.Clip(p.items[start:]), nil
		}
		if len(p.items)-start == maxElements || len(p.items) == maxInRoom {
			return nil, errTooMany
		}
		p.items = append(p.items, Item{})
		if err := p.item(&p.items[len(p.items)-1]); err != nil {
			return nil, err
		}
		if c := p.peek(); c != ' ' && c != ')' {
			return nil, errSyntax
		}
	}
}

func (p *parser) item(it *Item) (err error) {
	start := p.i
	if it.Value, err = p.bareItem(); err != nil {
		return err
	}
	if it.Params, err = p.readParams(); err != nil {
		return err
	}
	it.Raw = p.s[start:p.i]
	return nil
}

func (p *parser) readParams() ([]Param, error) {
	start := len(p.params)
	for p.eat(';') {
		params := p.params[start:]
		if len(params) == maxElements || len(p.params) == maxInRoom {
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
		for i := range params {
			if params[i].Name == name {
				return nil, errDuplicate
			}
		}
		p.params = append(p.params, Param{name, v})
	}
	return slices.Clip(p.params[start:]), nil
}

func (p *parser) key() (string, error) {
	if c := p.peek(); !isLower(c) && c != '*' {
		return "", errSyntax
	}
	rest := p.s[p.i:]
	n := 1
	for n < len(rest) && isKeyChar(rest[n]) {
		n++
	}
	p.i += n
	return rest[:n], nil
}

func (p *parser) bareItem() (Value, error) {
	switch c := p.peek(); {
	case c == '"':
		return p.str()
	case c == ':':
		return p.bytes()
	case c == '?':
		return p.boolean()
	case c == '-' || isDigit(c):
		return p.number()
	case c == '*' || isAlpha(c):
		return p.token()
	default:
		return Value{}, errSyntax
	}
}

func (p *parser) str() (Value, error) {
	p.i++ // the opening quote
	rest := p.s[p.i:]
	for i := range len(rest) {
		switch c := rest[i]; {
		case c == '"':
			p.i += i + 1
			return Value{Kind: String, Text: rest[:i]}, nil
		case c == '\\':
			return p.escaped(i)
		case c < 0x20 || c > 0x7e:
			p.i += i
			return Value{}, errSyntax
		}
	}
	p.i = len(p.s)
	return Value{}, errSyntax
}

// escaped reads the rest of a string, whose first backslash stands behind n
// bytes.
func (p *parser) escaped(n int) (Value, error) {
	text := append(make([]byte, 0, len(p.s)-p.i), p.s[p.i:p.i+n]...)
	for p.i += n; !p.done(); p.i++ {
		c := p.s[p.i]
		switch {
		case c == '"':
			p.i++
			return Value{Kind: String, Text: string(text)}, nil
		case c == '\\':
			p.i++
			if c = p.peek(); c != '"' && c != '\\' {
				return Value{}, errSyntax
			}
		case c < 0x20 || c > 0x7e:
			return Value{}, errSyntax
		}
		text = append(text, c)
	}
	return Value{}, errSyntax
}

// bytes decodes strictly: padding is required and its spare bits are zero, so
// that one byte sequence has one spelling and no signature a second one.
func (p *parser) bytes() (Value, error) {
	p.i++ // ":"
	encoded, _, closed := strings.Cut(p.s[p.i:], ":")
	text, ok := DecodeBase64(encoded)
	if !closed || !ok {
		return Value{}, errSyntax
	}
	p.i += len(encoded) + 1
	return Value{Kind: Bytes, Text: text}, nil
}

// strictBase64 is made once: making it copies its tables.
var strictBase64 = base64.StdEncoding.Strict()

// DecodeBase64 decodes base64 in its one spelling: with its padding, and without
// the line breaks that encoding/base64 overlooks. A digest or a MAC, up to
// SHA-512's, is allocated once.
func DecodeBase64(text string) (string, bool) {
	if strings.IndexByte(text, '\n') >= 0 || strings.IndexByte(text, '\r') >= 0 {
		return "", false
	}
	var digits [88]byte
	if len(text) > len(digits) {
		b, err := strictBase64.DecodeString(text)
		return string(b), err == nil
	}
	var b [66]byte
	n, err := strictBase64.Decode(b[:], digits[:copy(digits[:], text)])
	return string(b[:n]), err == nil
}

func (p *parser) boolean() (Value, error) {
	p.i++ // "?"
	switch {
	case p.eat('0'):
		return Value{Kind: Boolean, Int: 0}, nil
	case p.eat('1'):
		return Value{Kind: Boolean, Int: 1}, nil
	}
	return Value{}, errSyntax
}

func (p *parser) number() (Value, error) {
	negative := p.eat('-')
	var n int64
	digits := 0
	for ; isDigit(p.peek()); p.i++ {
		if digits++; digits > 15 {
			return Value{}, errSyntax
		}
		n = n*10 + int64(p.peek()-'0')
	}
	if digits == 0 {
		return Value{}, errSyntax
	}
	if p.eat('.') {
		fraction := 0
		for ; isDigit(p.peek()); p.i++ {
			fraction++
		}
		if digits > 12 || fraction < 1 || fraction > 3 {
			return Value{}, errSyntax
		}
		return Value{Kind: Decimal}, nil
	}
	if negative {
		n = -n
	}
	return Value{Kind: Integer, Int: n}, nil
}

func (p *parser) token() (Value, error) {
	start := p.i
	for isTokenChar(p.peek()) {
		p.i++
	}
	return Value{Kind: Token, Text: p.s[start:p.i]}, nil
}

func isKeyChar(c byte) bool {
	return isLower(c) || isDigit(c) || c == '_' || c == '-' || c == '.' || c == '*'
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isAlpha(c byte) bool { return isLower(c|0x20) && c < 0x80 }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isTokenChar says whether c may stand inside a token: RFC 9110's tchar, and
// the colon and slash that RFC 8941 adds.
func isTokenChar(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~', ':', '/':
		return true
	}
	return isAlpha(c) || isDigit(c)
}
