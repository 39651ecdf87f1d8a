// Package split takes a JSON text that is known to be valid apart, without
// decoding anything. Validating first and splitting then takes two thirds of the
// time of reading token by token, and hardly any allocations; the pieces are the
// bytes as they came.
//
// The text must be valid JSON (RFC 8259), which is its caller's to check: of
// another the pieces mean nothing, and finding them may panic.
package split

import "bytes"

// Start returns where the value begins.
func Start(text []byte) int { return skipSpace(text, 0) }

// A Piece is where a piece of a text stands.
type Piece struct{ Start, End int }

// Member returns an object's next member: its name, quotation marks included,
// and its value. From is 0 at first, and then the end of the value before. Behind
// the last member ok is false.
func Member(object []byte, from int) (name, value Piece, ok bool) {
	if name, ok = next(object, from, '}'); !ok {
		return name, value, false
	}
	i := skipSpace(object, name.End) + 1 // ":"
	i = skipSpace(object, i)
	return name, Piece{i, valueEnd(object, i)}, true
}

// Element returns an array's next element, as [Member] does a member.
func Element(array []byte, from int) (value Piece, ok bool) { return next(array, from, ']') }

// next returns the value behind the opening bracket or behind a comma.
func next(text []byte, from int, closing byte) (Piece, bool) {
	i := skipSpace(text, from)
	if text[i] != closing { // it is the opening bracket, or a comma
		i = skipSpace(text, i+1)
	}
	if text[i] == closing {
		return Piece{}, false
	}
	return Piece{i, valueEnd(text, i)}, true
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
