package msgsig

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestParseCavage(t *testing.T) {
	t.Parallel()
	const rest = `,headers="date",signature="AAAA"`
	params := func(n int) string { // includes keyId, headers and signature
		var b strings.Builder
		for i := range n - 3 {
			fmt.Fprintf(&b, `a%d="",`, i)
		}
		return b.String() + `keyId="k"` + rest
	}
	components := func(n int) string {
		return `keyId="k",headers="` + strings.TrimSuffix(strings.Repeat("a ", n), " ") + `",signature="AAAA"`
	}
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"quoted", `keyId="k"` + rest, nil},
		{"a number", `keyId="k",created=1700000000` + rest, nil},
		{"a number of all digits", `keyId="k",created=1234567890` + rest, nil},
		{"a number at the end", `keyId="k",signature="AAAA",created=1`, nil},
		{"a name in quotation marks", `"keyId"="k"` + rest, errSyntax},
		{"a value that begins with a backslash", `keyId="\k"` + rest, errSyntax},
		{"spaces and tabs around the commas", "keyId=\"k\" \t, \theaders=\"date\" ,signature=\"AAAA\" \t", nil},
		{"no list of names", `keyId="k",signature="AAAA"`, nil},
		{"a name in upper case", `keyId="k",headers="Date",signature="AAAA"`, nil},
		{"an empty key id", `keyId=""` + rest, nil},
		{"the maximum of parameters", params(maxCavageParams), nil},
		{"a parameter more", params(maxCavageParams + 1), errSyntax},
		{"the maximum of components", components(maxComponents), nil},
		{"a component more", components(maxComponents + 1), errSyntax},

		{"no text", `,`, errSyntax},
		{"a name alone", `keyId`, errSyntax},
		{"no name", `="k"` + rest, errSyntax},
		{"a space in a name", `key Id="k"` + rest, errSyntax},
		{"a tab in a name", "key\tId=\"k\"" + rest, errSyntax},
		{"a quotation mark in a name", `key"Id="k"` + rest, errSyntax},
		{"a comma in a name", `key,Id="k"` + rest, errSyntax},
		{"a space before the value", `keyId= "k"` + rest, errSyntax},
		{"no value", `keyId=` + rest, errSyntax},
		{"a value without closing quote", `keyId="k`, errSyntax},
		{"a NUL in a value", "keyId=\"\x00\"" + rest, errSyntax},
		{"a DEL in a value", "keyId=\"k\x7f\"" + rest, errSyntax},
		{"an escape character in a value", "keyId=\"k\x1b[2J\"" + rest, errSyntax},
		{"a backslash in a value", `keyId="k\\"` + rest, errSyntax},
		{"a line break in a value", "keyId=\"k\n\"" + rest, errSyntax},
		{"a carriage return in a value", "keyId=\"k\r\"" + rest, errSyntax},
		{"a token", `keyId=k` + rest, errSyntax},
		{"a slash after a number", `keyId="k",created=1/` + rest, errSyntax},
		{"a colon after a number", `keyId="k",created=1:` + rest, errSyntax},
		{"no comma", `keyId="k" headers="date",signature="AAAA"`, errSyntax},
		{"two commas", `keyId="k",` + rest, errSyntax},
		{"a semicolon", `keyId="k";headers="date",signature="AAAA"`, errSyntax},
		{"a comma at the end", `keyId="k"` + rest + `,`, errSyntax},
		{"a comma and a space at the end", `keyId="k"` + rest + `, `, errSyntax},
		{"a tab in the list", "keyId=\"k\",headers=\"date\tdigest\",signature=\"AAAA\"", nil}, // an invalid field name

		{"a parameter twice", `keyId="k",keyId="k"` + rest, errParameter},
		{"an unknown parameter twice", `a="",a="",keyId="k"` + rest, errParameter},
		{"no key id", `created=1` + rest, errParameter},
		{"an empty algorithm", `keyId="k",algorithm=""` + rest, errParameter},
		{"a time with a plus", `keyId="k",created="+1"` + rest, errParameter},
		{"a time with a minus", `keyId="k",created="-1"` + rest, errParameter},
		{"a time of 15 digits", `keyId="k",created=123456789012345` + rest, nil},
		{"a time of 16 digits", `keyId="k",created=1234567890123456` + rest, errParameter},
		{"a time that is a word", `keyId="k",created="now"` + rest, errParameter},
		{"expires that is a word", `keyId="k",expires="now"` + rest, errParameter},
		{"expires whose fraction is a word", `keyId="k",expires="1.x"` + rest, errParameter},
		{"expires whose whole is a word", `keyId="k",expires="x.5"` + rest, errParameter},
		{"expires that ends in a dot", `keyId="k",expires=1.` + rest, nil},

		{"no signature", `keyId="k",headers="date"`, errValue},
		{"an empty signature", `keyId="k",headers="date",signature=""`, errValue},
		{"a signature and more", `keyId="k",headers="date",signature="AAAA!"`, errValue},
		{"a signature without its padding", `keyId="k",headers="date",signature="AAAAAA"`, errValue},
		{"an empty list", `keyId="k",headers="",signature="AAAA"`, errNothingCovered},
		{"two spaces in the list", `keyId="k",headers="date  digest",signature="AAAA"`, errSyntax},
		{"a space before the list", `keyId="k",headers=" date",signature="AAAA"`, errSyntax},
		{"a space after the list", `keyId="k",headers="date ",signature="AAAA"`, errSyntax},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, h := range []http.Header{{"Signature": {c.text}}, {"Authorization": {"Basic eA==", "signature \t" + c.text + " "}}} {
				if _, err := ParseCavage(h); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("%q: got %v, want %v", h, err, c.want)
				}
			}
		})
	}
}

// TestReadCavage checks that parameters are returned as received.
func TestReadCavage(t *testing.T) {
	t.Parallel()
	s, err := ParseCavage(http.Header{"Signature": {
		`keyId="k",algorithm="hs2019",headers="(created) (expires) Date",created=17,expires=18.5,signature="AAAA",nonce="n"`,
	}})
	if err != nil || len(s) != 1 {
		t.Fatalf("%d signatures, %v", len(s), err)
	}
	names := ""
	for _, c := range s[0].components {
		names += c.Value.Text + " "
	}
	got := fmt.Sprint(s[0].Dialect, s[0].KeyID, s[0].HasKeyID, s[0].Algorithm, s[0].Created, s[0].HasCreated, s[0].Expires, s[0].HasExpires,
		s[0].createdText, s[0].expiresText, []byte(s[0].Value), s[0].Nonce, names)
	if want := fmt.Sprint(Cavage, "k", true, "hs2019", 17, true, 18, true, "17", "18.5", []byte{0, 0, 0}, "", "(created) (expires) date "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestCavageHeaders checks the default list of the draft, and which headers count
// as a signature.
func TestCavageHeaders(t *testing.T) {
	t.Parallel()
	s, err := ParseCavage(http.Header{"Signature": {`keyId="k",signature="AAAA"`}})
	if err != nil || len(s[0].components) != 1 || s[0].components[0].Value.Text != "date" {
		t.Errorf("without a list: got %+v, %v", s, err)
	}
	one, other := `keyId="k",signature="AAAA"`, `keyId="k",signature="BBBB"`
	for _, c := range []struct {
		name string
		h    http.Header
		want error
	}{
		{"none", http.Header{}, ErrNone},
		{"an empty one", http.Header{"Signature": {""}}, ErrNone},
		{"an empty one in Authorization", http.Header{"Authorization": {"Signature"}}, ErrNone},
		{"another scheme", http.Header{"Authorization": {"Bearer " + one}}, ErrNone},
		{"twice the same", http.Header{"Signature": {one, one}}, errTwoHeaders},
		{"the same in both", http.Header{"Signature": {one}, "Authorization": {"Signature " + one}}, nil},
		{"another one in Authorization", http.Header{"Signature": {one}, "Authorization": {"Signature " + other}}, errTwoHeaders},
		{"two in Authorization", http.Header{"Authorization": {"Signature " + one, "Signature " + other}}, errTwoHeaders},
	} {
		if _, err := ParseCavage(c.h); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}
