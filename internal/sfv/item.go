package sfv

import (
	"encoding/base64"
	"net/url"
	"strings"
	"unicode/utf8"
)

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
	case c == '@':
		return p.date()
	case c == '%':
		return p.displayString()
	default:
		return Value{}, errSyntax
	}
}

func (p *parser) str() (Value, error) {
	p.i++ // the opening quote
	start, escaped := p.i, false
	for ; !p.done(); p.i++ {
		switch c := p.s[p.i]; {
		case c == '"':
			text := p.s[start:p.i]
			p.i++
			if escaped {
				text = unescape(text)
			}
			return Value{Kind: String, Text: text}, nil
		case c == '\\':
			escaped = true
			p.i++
			if next := p.peek(); next != '"' && next != '\\' {
				return Value{}, errSyntax
			}
		case c < 0x20 || c > 0x7e:
			return Value{}, errSyntax
		}
	}
	return Value{}, errSyntax
}

// unescape removes the backslashes of a valid string.
func unescape(text string) string {
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' {
			i++
		}
		plain = append(plain, text[i])
	}
	return string(plain)
}

func (p *parser) date() (Value, error) {
	p.i++ // "@"
	v, err := p.number()
	if err != nil || v.Kind != Integer {
		return Value{}, errSyntax
	}
	return Value{Kind: Date}, nil
}

// displayString parses a string with percent-encoded UTF-8. Its text is not stored.
func (p *parser) displayString() (Value, error) {
	text, ok := strings.CutPrefix(p.s[p.i:], `%"`)
	text, _, closed := strings.Cut(text, `"`)
	if !ok || !closed {
		return Value{}, errSyntax
	}
	for i := 0; i < len(text); i++ {
		if text[i] < 0x20 || text[i] > 0x7e {
			return Value{}, errSyntax
		}
		if text[i] == '%' && (i+2 >= len(text) || !isLowerHex(text[i+1]) || !isLowerHex(text[i+2])) {
			return Value{}, errSyntax
		}
	}
	if decoded, err := url.PathUnescape(text); err != nil || !utf8.ValidString(decoded) {
		return Value{}, errSyntax
	}
	p.i += len(text) + 3
	return Value{Kind: DisplayString}, nil
}

func isLowerHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' }

// bytes decodes strictly: padding is required and its spare bits must be zero. Each
// byte sequence therefore has only one spelling.
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

// strictBase64 is a variable because Strict copies tables on each call.
var strictBase64 = base64.StdEncoding.Strict()

// DecodeBase64 decodes strict base64. It refuses missing padding, and the line
// breaks that encoding/base64 ignores.
func DecodeBase64(text string) (string, bool) {
	if strings.ContainsAny(text, "\r\n") {
		return "", false
	}
	b, err := strictBase64.DecodeString(text)
	return string(b), err == nil
}

func (p *parser) boolean() (Value, error) {
	p.i++ // "?"
	c := p.peek()
	if c != '0' && c != '1' {
		return Value{}, errSyntax
	}
	p.i++
	return Value{Kind: Boolean, Int: int64(c - '0')}, nil
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

// isTokenChar reports whether c may be in a token: RFC 9110's tchar, a colon or a
// slash.
func isTokenChar(c byte) bool {
	return isAlpha(c) || isDigit(c) || c != 0 && strings.IndexByte("!#$%&'*+-.^_`|~:/", c) >= 0
}
