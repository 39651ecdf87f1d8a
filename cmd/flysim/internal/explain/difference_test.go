package explain

import (
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, signed, pasted string
		want                 Difference // without the lengths
		text                 string
	}{
		{"the same", "a\nb", "a\nb", Difference{Same: true}, "Your text equals the signed bytes."},
		{"both empty", "", "", Difference{Same: true}, "equals"},
		{"the first byte", "abc", "xbc", Difference{Offset: 0, Line: 1, Column: 1, Signed: "0x61", Pasted: "0x78", SignedFrom: `"abc"`, PastedFrom: `"xbc"`}, "at offset 0 (line 1, column 1): 0x61 is signed, and your text has 0x78."},
		{"a later line", "one\ntwo\nthree", "one\ntwo\nthrice", Difference{Offset: 11, Line: 3, Column: 4, Signed: "0x65", Pasted: "0x69", SignedFrom: `"ee"`, PastedFrom: `"ice"`}, "line 3, column 4"},
		{"the newline itself", "a\nb", "a\r\nb", Difference{Offset: 1, Line: 1, Column: 2, Signed: "0x0a", Pasted: "0x0d", SignedFrom: `"\nb"`, PastedFrom: `"\r\nb"`}, `Signed from there: "\nb". Your text from there: "\r\nb".`},
		{"pasted is shorter", "abc", "ab", Difference{Offset: 2, Line: 1, Column: 3, Signed: "0x63", Pasted: "the end", SignedFrom: `"c"`, PastedFrom: "the end"}, "your text has the end. "},
		{"pasted is longer", "ab", "abc", Difference{Offset: 2, Line: 1, Column: 3, Signed: "the end", Pasted: "0x63", SignedFrom: "the end", PastedFrom: `"c"`}, "the end is signed"},
		{"a newline more", "ab", "ab\n", Difference{Newline: true, Offset: 2, Line: 1, Column: 3, Signed: "the end", Pasted: "0x0a", SignedFrom: "the end", PastedFrom: `"\n"`}, "An editor may have added the newline."},
		{"nothing pasted", "ab", "", Difference{Offset: 0, Line: 1, Column: 1, Signed: "0x61", Pasted: "the end", SignedFrom: `"ab"`, PastedFrom: "the end"}, "2 bytes are signed, and your text has 0."},
		{"inside a character", "é", "è", Difference{Offset: 1, Line: 1, Column: 2, Signed: "0xa9", Pasted: "0xa8", SignedFrom: `"\xa9"`, PastedFrom: `"\xa8"`}, "offset 1"},
		{"a quote", `{"a":1}`, `{'a':1}`, Difference{Offset: 1, Line: 1, Column: 2, Signed: "0x22", Pasted: "0x27", SignedFrom: `"\"a\":1}"`, PastedFrom: `"'a':1}"`}, `"\"a\":1}"`},
		{"long texts", strings.Repeat("a", 40), "b" + strings.Repeat("a", 40), Difference{Offset: 0, Line: 1, Column: 1, Signed: "0x61", Pasted: "0x62", SignedFrom: `"aaaaaaaaaaaaaaaa"`, PastedFrom: `"baaaaaaaaaaaaaaa"`}, "40 bytes are signed, and your text has 41."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if !c.want.Same {
				c.want.SignedLength, c.want.PastedLength = len(c.signed), len(c.pasted)
			}
			got := Compare([]byte(c.signed), []byte(c.pasted))
			if *got != c.want {
				t.Errorf("got %+v, want %+v", *got, c.want)
			}
			if !strings.Contains(got.String(), c.text) {
				t.Errorf("got %q, want %q in it", got, c.text)
			}
		})
	}
}
