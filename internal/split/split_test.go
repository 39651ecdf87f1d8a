package split_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext/internal/split"
)

// members are the names and values in turn.
func members(object []byte) (pieces []string) {
	for name, value, ok := split.Member(object, 0); ok; name, value, ok = split.Member(object, value.End) {
		pieces = append(pieces, string(object[name.Start:name.End]), string(object[value.Start:value.End]))
	}
	return pieces
}

func elements(array []byte) (pieces []string) {
	for value, ok := split.Element(array, 0); ok; value, ok = split.Element(array, value.End) {
		pieces = append(pieces, string(array[value.Start:value.End]))
	}
	return pieces
}

func TestMember(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, object string
		want         []string
	}{
		{"empty", `{}`, nil},
		{"empty, with space", " \t{\r\n} ", nil},
		{"text", `{"a":"b"}`, []string{`"a"`, `"b"`}},
		{"empty names and texts", `{"":""}`, []string{`""`, `""`}},
		{"numbers and words", `{"a":-1.5e3,"b":true,"c":null}`, []string{`"a"`, `-1.5e3`, `"b"`, `true`, `"c"`, `null`}},
		{"space everywhere", " { \"a\" : 1 \n, \"b\"\t:\r[ ] } ", []string{`"a"`, `1`, `"b"`, `[ ]`}},
		{"brackets in brackets", `{"a":{"b":[{},[1,{"c":2}]]},"d":[]}`, []string{`"a"`, `{"b":[{},[1,{"c":2}]]}`, `"d"`, `[]`}},
		{"brackets and commas in texts", `{"a":"},\"{[","b":["]",",}"]}`, []string{`"a"`, `"},\"{["`, `"b"`, `["]",",}"]`}},
		{"a text that ends in a backslash", `{"a":"\\","b":"\\\\\"","c":1}`, []string{`"a"`, `"\\"`, `"b"`, `"\\\\\""`, `"c"`, `1`}},
		{"an escaped name", `{"\u0061\"":0}`, []string{`"\u0061\""`, `0`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := members([]byte(test.object)); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestElement(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, array string
		want        []string
	}{
		{"empty", ` [ ] `, nil},
		{"one", `["a"]`, []string{`"a"`}},
		{"numbers before all that ends one", "[1,2\t,3\n,4\r,5 ,6]", []string{"1", "2", "3", "4", "5", "6"}},
		{"empty ones", `[[],{},""]`, []string{`[]`, `{}`, `""`}},
		{"of every kind", ` [ 1 , "a,b" ,[2,3] , {"c":[4]},null ]`, []string{`1`, `"a,b"`, `[2,3]`, `{"c":[4]}`, `null`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := elements([]byte(test.array)); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"{}": 0, " []": 1, "\t\r\n 1": 4, "!": 0} {
		if got := split.Start([]byte(text)); got != want {
			t.Errorf("%q begins at %d", text, got)
		}
	}
}

// FuzzSplit compares with a decoder that reads token by token.
func FuzzSplit(f *testing.F) {
	for _, text := range []string{
		`{}`, `[]`, `{"a":"b","c":[1,{"d":null}]}`, ` [ 1 , "\"]" , {"a":{}} ] `, `{"a":"\\"}`, "{\"\x7f\":0.0\r}", `{"a":1,"a":2}`, `"{"`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !jsontext.Value(text).IsValid() {
			return
		}
		dec := jsontext.NewDecoder(bytes.NewBuffer(text))
		kind := dec.PeekKind()
		if kind != '{' && kind != '[' {
			return
		}
		_, err := dec.ReadToken()
		var want []string
		for err == nil && dec.PeekKind() != '}' && dec.PeekKind() != ']' {
			var value jsontext.Value
			if value, err = dec.ReadValue(); err == nil {
				want = append(want, string(value))
			}
		}
		if err != nil {
			t.Fatalf("valid, and not to be read: %v", err)
		}
		got := elements
		if kind == '{' {
			got = members
		}
		if pieces := got(text); !slices.Equal(pieces, want) {
			t.Errorf("got %q, want %q", pieces, want)
		}
	})
}
