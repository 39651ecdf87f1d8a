package sfv_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/flyext/flyext/internal/sfv"
)

func TestParseDictionary(t *testing.T) {
	t.Parallel()
	many := func(n int, separator string) string {
		keys := make([]string, n)
		for i := range keys {
			keys[i] = "k" + strings.Repeat("x", i)
		}
		return strings.Join(keys, separator)
	}
	for _, c := range []struct {
		name, text string
		members    int // -1: refused
	}{
		{"empty", "", 0},
		{"spaces", "  ", 0},
		{"a bare key", "a", 1},
		{"every kind of item", `a=1, b=-1.5, c="s\"\\", d=t/o:k*, e=:AAA=:, f=?0, g=("x";a "y");b`, 7},
		{"spaces and tabs around commas", "a \t,\t b", 2},
		{"spaces inside a list", `a=(  "x"   "y"  )`, 1},
		{"64 members", many(64, ","), 64},
		{"65 members", many(65, ","), -1},
		{"64 parameters", "a;" + many(64, ";"), 1},
		{"65 parameters", "a;" + many(65, ";"), -1},
		{"64 items", "a=(" + strings.Repeat("1 ", 64) + ")", 1},
		{"65 items", "a=(" + strings.Repeat("1 ", 65) + ")", -1},
		{"key twice", "a=1, b=2, a=1", -1},
		{"parameter twice", "a;b;b", -1},
		{"parameter of an item twice", `a=("x";b=1;b=1)`, -1},
		{"comma at the end", "a,", -1},
		{"comma at the start", ",a", -1},
		{"two commas", "a,,b", -1},
		{"no comma", "a b", -1},
		{"key in upper case", "A=1", -1},
		{"key of a digit", "1=1", -1},
		{"no key", "=1", -1},
		{"no key before a list", `=("x")`, -1},
		{"no name of a parameter", "a;=1", -1},
		{"no value after the equals sign", "a=", -1},
		{"space after the equals sign", "a= 1", -1},
		{"key of an asterisk", "*=1", 1},
		{"token of an asterisk", "a=*", 1},
		{"string with a space and a tilde", `a="x ~"`, 1},
		{"escaped string not closed", `a="\"x`, -1},
		{"escaped string cut short by a tab", "a=\"\\\"x\t,b", -1},
		{"string cut short by a tab", "a=\"x\t,b", -1},
		{"space after a semicolon", "a; b", 1},
		{"space before a semicolon", "a ;b", -1},
		{"string not closed", `a="x`, -1},
		{"string escapes another character", `a="\x"`, -1},
		{"string ends in a backslash", `a="\`, -1},
		{"string with a line break", "a=\"x\ny\"", -1},
		{"string with a byte over 0x7e", "a=\"\x7f\"", -1},
		{"list not closed", `a=("x"`, -1},
		{"list without a space", `a=("x""y")`, -1},
		{"list in a list", `a=(("x"))`, -1},
		{"list with a tab", "a=(\"x\"\t\"y\")", -1},
		{"bytes not closed", "a=:AAAA", -1},
		{"bytes without padding", "a=:AAA:", -1},
		{"bytes with other spare bits", "a=:AAB=:", -1},
		{"bytes in base64url", "a=:-___:", -1},
		{"bytes with a line break", "a=:AA\nAA:", -1},
		{"invalid boolean", "a=?2", -1},
		{"15 digits", "a=999999999999999", 1},
		{"16 digits", "a=1000000000000000", -1},
		{"minus alone", "a=-", -1},
		{"12 digits and 3", "a=999999999999.999", 1},
		{"13 digits before a point", "a=1000000000000.1", -1},
		{"4 digits after a point", "a=1.0001", -1},
		{"point without digits", "a=1.", -1},
		{"date of RFC 9651", "a=@1", 1},
		{"date with a fraction", "a=@1.5", -1},
		{"display string of RFC 9651", `a=%"f%c3%bc"`, 1},
		{"display string without quotes", "a=%x", -1},
		{"list cut short in a string", `a=("x`, -1},
		{"list cut short in a parameter", `a=("x";b="y`, -1},
		{"64 items and a comma", "a=(" + strings.Repeat("1 ", 64) + ",b", -1},
		{"item of a question mark", "a=(?)", -1},
		{"item of a minus", "a=(-)", -1},
		{"parameter without a name", "a;", -1},
		{"parameter without a name, and a member", "a;,b", -1},
		{"parameter without a name in a list", `a=("x";)`, -1},
		{"parameter without a value", "a;b=", -1},
		{"parameter of a question mark", "a;b=?", -1},
		{"parameter of a question mark in a list", `a=("x";b=?)`, -1},
		{"parameter cut short", `a;b="x`, -1},
		{"64 parameters and a semicolon", "a;" + many(64, ";") + ";", -1},
		{"64 parameters of an item and a semicolon", `a=("x";` + many(64, ";") + ";)", -1},
		{"NUL", "a\x00", -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			members, err := sfv.ParseDictionary(c.text)
			if (err != nil) != (c.members < 0) || err == nil && len(members) != c.members {
				t.Errorf("got %d members, %v, want %d", len(members), err, c.members)
			}
		})
	}
}

func TestValuesAndRaw(t *testing.T) {
	t.Parallel()
	members, err := sfv.ParseDictionary(`sig=("a\"b";x  "c");created=-12;b;t=tok, d=:AQI=:;q="z"`)
	if err != nil {
		t.Fatal(err)
	}
	list, item := members[0], members[1]
	if list.Raw != `("a\"b";x  "c");created=-12;b;t=tok` || item.Raw != `:AQI=:;q="z"` {
		t.Errorf("got raw texts %q and %q", list.Raw, item.Raw)
	}
	if len(list.Items) != 2 || list.Items[0].Raw != `"a\"b";x` || list.Items[0].Value.Text != `a"b` || list.Items[1].Raw != `"c"` {
		t.Errorf("got items %+v", list.Items)
	}
	want := []sfv.Param{
		{Name: "created", Value: sfv.Value{Kind: sfv.Integer, Int: -12}},
		{Name: "b", Value: sfv.Value{Kind: sfv.Boolean, Int: 1}},
		{Name: "t", Value: sfv.Value{Kind: sfv.Token, Text: "tok"}},
	}
	for i, p := range want {
		if list.Params[i] != p {
			t.Errorf("parameter %d: got %+v, want %+v", i, list.Params[i], p)
		}
	}
	if item.Value != (sfv.Value{Kind: sfv.Bytes, Text: "\x01\x02"}) || item.Params[0].Value.Text != "z" {
		t.Errorf("got item %+v", item)
	}
}

func TestDecodeBase64(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		size       int // -1: refused
	}{
		{"nothing", "", 0},
		{"one byte", "AA==", 1},
		{"64 bytes", strings.Repeat("A", 86) + "==", 64},
		{"66 bytes", strings.Repeat("A", 88), 66},
		{"69 bytes", strings.Repeat("A", 92), 69},
		{"66 bytes and more", strings.Repeat("A", 88) + "A", -1},
		{"66 bytes and an invalid character", strings.Repeat("A", 88) + "!", -1},
		{"69 bytes and an invalid character", strings.Repeat("A", 92) + "!", -1},
		{"3 bytes and an invalid character", "AAAA!", -1},
		{"a line break first", "\nAAAA", -1},
		{"a line break last", "AAAA\n", -1},
		{"a carriage return first", "\rAAAA", -1},
		{"a carriage return inside", "AA\rAA", -1},
		{"a carriage return in a long text", strings.Repeat("A", 92) + "\r", -1},
		{"no padding", "AA", -1},
		{"spare bits", "AB==", -1},
		{"spare bits in a long text", strings.Repeat("A", 89) + "B==", -1},
	} {
		if got, ok := sfv.DecodeBase64(c.text); ok != (c.size >= 0) || ok && got != string(make([]byte, c.size)) {
			t.Errorf("%s: got %q, %t", c.name, got, ok)
		}
	}
}

// TestCharacters checks each byte where the grammar has a class of bytes.
func TestCharacters(t *testing.T) {
	t.Parallel()
	const lower, upper, digits = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	for _, c := range []struct {
		name, before, behind, class, also string // also: valid bytes with another meaning
	}{
		{"the first of a key", "", "=1", lower + "*", ""},
		{"in a key", "a", "b=1", lower + digits + "_-.*", ",;"},
		{"the first of a token", "k=", "b", lower + upper + "*", ""},
		{"in a token", "k=a", "b", lower + upper + digits + "!#$%&'*+-.^_`|~:/", ",;"},
		{"in a string", `k="`, `"`, lower + upper + digits + " !#$%&'()*+,-./:;<=>?@[]^_`{|}~", ""},
		{"after an escape in a string", `k="\"`, `"`, lower + upper + digits + " !#$%&'()*+,-./:;<=>?@[]^_`{|}~", ""},
		{"a digit", "k=", "", digits + lower + upper + "*", ""},
		{"a digit after another", "k=1", "", digits, " \t"},
		{"a digit after a point", "k=1.", "", digits, ""},
	} {
		for b := range 256 {
			char := string([]byte{byte(b)})
			text := c.before + char + c.behind
			members, err := sfv.ParseDictionary(text)
			in := strings.Contains(c.class, char)
			if want := in || strings.Contains(c.also, char); (err == nil) != want {
				t.Errorf("%s: %q: got accepted %t", c.name, text, !want)
			}
			if !in || err != nil {
				continue
			}
			key, value, _ := strings.Cut(text, "=")
			if m := members[0]; len(members) != 1 || m.Key != key || m.Raw != value || m.Value.Kind == sfv.Token && m.Value.Text != value ||
				m.Value.Kind == sfv.Integer && strconv.FormatInt(m.Value.Int, 10) != value {
				t.Errorf("%s: %q: got %+v", c.name, text, members)
			}
		}
	}
}

func TestItem(t *testing.T) {
	t.Parallel()
	list := func(items string) []sfv.Item {
		members, err := sfv.ParseDictionary("a=(" + items + "), b")
		if err != nil || members[1].Value != (sfv.Value{Kind: sfv.Boolean, Int: 1}) || members[1].Raw != "" {
			t.Fatalf("%+v, %v", members, err)
		}
		return members[0].Items
	}
	item := list(`"x";a=1;b="2";t=?1;f=?0;d=-1.5`)[0]
	for name, want := range map[string]sfv.Value{
		"a": {Kind: sfv.Integer, Int: 1}, "b": {Kind: sfv.String, Text: "2"},
		"t": {Kind: sfv.Boolean, Int: 1}, "f": {Kind: sfv.Boolean}, "d": {Kind: sfv.Decimal},
	} {
		if got, ok := item.Param(name); !ok || got != want {
			t.Errorf("parameter %s: got %+v, %t, want %+v", name, got, ok, want)
		}
	}
	if got, ok := item.Param("c"); ok || got != (sfv.Value{}) {
		t.Errorf("unexpected parameter c: %+v", got)
	}
	for _, c := range []struct {
		name, pair string
		want       bool
	}{
		{"the same", `"x" "x"`, true},
		{"parameters in another order", `"x";a=1;b=2 "x";b=2;a=1`, true},
		{"another value", `"x" "y"`, false},
		{"another kind", `"x" x`, false},
		{"a parameter more", `"x" "x";a`, false},
		{"a parameter less", `"x";a "x"`, false},
		{"a parameter of another value", `"x";a=1 "x";a=2`, false},
		{"a parameter of another name", `"x";a=1 "x";b=1`, false},
		{"a parameter of another name that is false", `"x";a=?0 "x";b=?0`, false},
		{"the second parameter of another value", `"x";a;b=1 "x";a;b=2`, false},
	} {
		if pair := list(c.pair); pair[0].Equal(&pair[1]) != c.want {
			t.Errorf("%s: %s: got equal %t", c.name, c.pair, !c.want)
		}
	}
}
