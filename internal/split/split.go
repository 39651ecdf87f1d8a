// Package split takes a JSON text that is known to be valid apart, without
// decoding anything. Validating first and splitting then takes a third of the
// time of reading token by token, and the pieces are the bytes as they came.
//
// The text must be valid JSON (RFC 8259), which is its caller's to check: of
// another the pieces mean nothing, and finding them may panic.
package split

import "bytes"

// Start returns where the value begins.
func Start(text []byte) int { return skipSpace(text, 0) }

// Member returns the name of an object's next member, quoted, and its value.
// From is where to go on: 0 at first, then the next that the last call
// returned. Behind the last member name is nil.
func Member(object []byte, from int) (name, value []byte, next int) {
	name, i := element(object, from, '}')
	if name == nil {
		return nil, nil, i
	}
	i = skipSpace(object, i) + 1 // ":"
	i = skipSpace(object, i)
	end := valueEnd(object, i)
	return name, object[i:end], end
}

// Element returns an array's next element, as [Member] does a member.
func Element(array []byte, from int) (value []byte, next int) {
	return element(array, from, ']')
}

// element returns the value that follows the opening bracket, a comma, or a
// value's end.
func element(text []byte, from int, closing byte) (value []byte, next int) {
	i := skipSpace(text, from)
	if text[i] == closing {
		return nil, i
	}
	if from == 0 || text[i] == ',' { // the opening bracket
		i = skipSpace(text, i+1)
	}
	if text[i] == closing { // nothing is inside
		return nil, i
	}
	end := valueEnd(text, i)
	return text[i:end], end
}

func skipSpace(text []byte, i int) int {
	for text[i] <= ' ' {
		i++
	}
	return i
}

// valueEnd returns where the value that begins at i ends.
func valueEnd(text []byte, i int) int {
	switch text[i] {
	case '"':
		return stringEnd(text, i)
	case '{', '[':
		return nestedEnd(text, i)
	}
	for i < len(text) {
		switch text[i] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return i
		}
		i++
	}
	return i
}

// nestedEnd returns where an object or an array ends: brackets count but inside
// of strings.
func nestedEnd(text []byte, i int) int {
	for depth := 0; ; {
		switch text[i] {
		case '"':
			i = stringEnd(text, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
}

// stringEnd returns where a string ends. Few strings have a backslash, so the
// next quotation mark is the end if none stands before it.
func stringEnd(text []byte, i int) int {
	i++
	end := i + bytes.IndexByte(text[i:], '"')
	if text[end-1] != '\\' {
		return end + 1
	}
	for text[i] != '"' {
		if text[i] == '\\' {
			i++
		}
		i++
	}
	return i + 1
}
