package explain

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// A Difference is the first byte at which a pasted text differs from the signed
// bytes.
type Difference struct {
	// Same reports whether there is no difference. All fields below are then zero.
	Same bool
	// Offset is the number of the first byte that differs, counted from 0.
	Offset int
	// Line and Column are the place of that byte, counted from 1. A line ends with
	// "\n", and a column is a byte.
	Line, Column int
	// Signed and Pasted show that byte, such as 0x22, or are "the end".
	Signed, Pasted string
	// SignedFrom and PastedFrom show the texts from that byte on, in Go's notation.
	SignedFrom, PastedFrom string
	// SignedLength and PastedLength are the lengths in bytes.
	SignedLength, PastedLength int
	// Newline reports whether the pasted text is only longer by a newline at its end.
	Newline bool
}

// Compare returns the first difference between the signed bytes and a pasted
// text.
func Compare(signed, pasted []byte) *Difference {
	if bytes.Equal(signed, pasted) {
		return &Difference{Same: true}
	}
	n := 0
	for n < len(signed) && n < len(pasted) && signed[n] == pasted[n] {
		n++
	}
	before := signed[:n]
	d := &Difference{
		Offset: n, Line: 1 + bytes.Count(before, []byte("\n")), Column: n - bytes.LastIndexByte(before, '\n'),
		SignedLength: len(signed), PastedLength: len(pasted),
		Newline: n == len(signed) && strings.Trim(string(pasted[n:]), "\r\n") == "",
	}
	d.Signed, d.SignedFrom = show(signed, n)
	d.Pasted, d.PastedFrom = show(pasted, n)
	return d
}

// shown is the most bytes that a Difference shows of each text.
const shown = 16

const theEnd = "the end"

// show returns the n-th byte of a text, and the text from there on.
func show(text []byte, n int) (one, from string) {
	if n >= len(text) {
		return theEnd, theEnd
	}
	rest := text[n:min(len(text), n+shown)]
	var quoted strings.Builder
	quoted.WriteByte('"')
	for _, b := range rest { // each byte by itself, because a character may be cut
		one := strconv.QuoteToASCII(string([]byte{b}))
		quoted.WriteString(one[1 : len(one)-1])
	}
	quoted.WriteByte('"')
	return fmt.Sprintf("0x%02x", text[n]), quoted.String()
}

// String returns the difference in one or more sentences.
func (d *Difference) String() string {
	if d.Same {
		return "Your text equals the signed bytes."
	}
	if d.Newline {
		return "Your text equals the signed bytes, plus a newline at its end. An editor may have added the newline."
	}
	return fmt.Sprintf("Your text differs at offset %d (line %d, column %d): %s is signed, and your text has %s. "+
		"Signed from there: %s. Your text from there: %s. %d bytes are signed, and your text has %d.",
		d.Offset, d.Line, d.Column, d.Signed, d.Pasted, d.SignedFrom, d.PastedFrom, d.SignedLength, d.PastedLength)
}
