package msgsig

import (
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestParseRFC9421(t *testing.T) {
	t.Parallel()
	list := func(n int) string { return "(" + strings.TrimSuffix(strings.Repeat(`"a" `, n), " ") + ")" }
	const value = "s=:AAAA:"
	for _, c := range []struct {
		name, input, value string
		want               error
	}{
		{"one", `s=("a")`, value, nil},
		{"nothing covered", `s=()`, value, nil}, // AppendBase refuses it
		{"two in another order", `a=(), b=()`, `b=:AAAA:, a=:AAAA:`, nil},
		{"every parameter", `s=();created=1;expires=2;keyid="k";alg="a";nonce="n";tag="t";other`, value, nil},
		{"64 components", "s=" + list(64), value, nil},
		{"64 components in two", "s=" + list(32) + ", t=" + list(32), value + ", t=:AAAA:", nil},
		{"65 components in two", "s=" + list(32) + ", t=" + list(33), value + ", t=:AAAA:", errSyntax},
		{"input is no dictionary", `s=(`, value, errSyntax},
		{"value is no dictionary", `s=()`, `s=:A:`, errSyntax},
		{"empty", ``, ``, errLabels},
		{"a label more", `s=(), t=()`, value, errLabels},
		{"a value more", `s=()`, value + ", t=:AAAA:", errLabels},
		{"another label", `s=()`, "t=:AAAA:", errLabels},
		{"a value that is a list", `s=()`, "s=(:AAAA:)", errValue},
		{"a value that is a string", `s=()`, `s="AAAA"`, errValue},
		{"a value with a parameter", `s=()`, "s=:AAAA:;a", errValue},
		{"no list", `s="a"`, value, errSyntax},
		{"a token as component", `s=(a)`, value, errUnknown},
		{"a token as second component", `s=("a" b)`, value, errUnknown},
		{"created  of another type", `s=();created="1"`, value, errParameter},
		{"created with a fraction", `s=();created=1.5`, value, errParameter},
		{"expires  of another type", `s=();expires="1"`, value, errParameter},
		{"keyid  of another type", `s=();keyid=k`, value, errParameter},
		{"alg  of another type", `s=();alg=a`, value, errParameter},
		{"an empty alg", `s=();alg=""`, value, errParameter},
		{"nonce  of another type", `s=();nonce=n`, value, errParameter},
		{"tag  of another type", `s=();tag=1`, value, errParameter},
	} {
		s, err := ParseRFC9421(http.Header{"Signature-Input": {c.input}, "Signature": {c.value}})
		if err == nil && len(s) == 1 {
			err = s[0].Err
		}
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || err == nil && len(s) == 0 {
			t.Errorf("%s: got %d signatures, %v, want %v", c.name, len(s), err, c.want)
		}
	}
	for _, h := range []http.Header{{"Signature-Input": {`s=()`}}, {"Signature": {value}}, {}} {
		if _, err := ParseRFC9421(h); !errors.Is(err, ErrNone) {
			t.Errorf("%v: got %v", h, err)
		}
	}
}

func TestReadRFC9421(t *testing.T) {
	t.Parallel()
	s, err := ParseRFC9421(http.Header{
		"Signature-Input": {`a=("x");created=1;expires=2;keyid="k";alg="h";nonce="n";tag="t";other=3`, `b=("y" "z")`},
		"Signature":       {`b=:AAAA:`, `a=:AQID:`},
	})
	if err != nil || len(s) != 2 {
		t.Fatalf("%d signatures, %v", len(s), err)
	}
	for i, want := range []string{
		`1 true 2 true "k" true "h" "n" "\x01\x02\x03" 1 ("x");created=1;expires=2;keyid="k";alg="h";nonce="n";tag="t";other=3`,
		`0 false 0 false "" false "" "" "\x00\x00\x00" 2 ("y" "z")`,
	} {
		g := s[i]
		got := fmt.Sprint(g.Created, g.HasCreated, g.Expires, g.HasExpires) +
			fmt.Sprintf(" %q %t %q %q %q %d %s", g.KeyID, g.HasKeyID, g.Algorithm, g.Nonce, g.Value, len(g.components), g.params)
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		list, name string
		want       bool
	}{
		{`"a" "b"`, "b", true},
		{`"a" "b"`, "c", false},
		{`"a";bs`, "a", false},
		{`"a";bs "a"`, "a", true},
		{`"@authority"`, "@authority", true},
		{`"@target-uri"`, "@authority", true},
		{`"host"`, "@authority", true},
		{`"host";bs`, "@authority", false},
		{`"@request-target"`, "@authority", false},
		{`"@target-uri"`, "@scheme", false},
		{`"@authority"`, "host", false},
	} {
		if got := parsed(t, RFC9421, "("+c.list+")").Covers(c.name); got != c.want {
			t.Errorf("%s covers %s: got %t, want %t", c.list, c.name, got, c.want)
		}
	}
}

func TestDigests(t *testing.T) {
	t.Parallel()
	short, long := sha256.Sum256([]byte(bodyText)), sha512.Sum512([]byte(bodyText))
	is256, is512 := base64Of(short[:]), base64Of(long[:])
	for _, c := range []struct {
		name  string
		isRFC bool // RFC 9530 instead of RFC 3230
		lines []string
		right bool // the digests match the body
		want  error
	}{
		{"3230", false, []string{"SHA-256=" + is256}, true, nil},
		{"3230, in lower case", false, []string{"sha-512=" + is512}, true, nil},
		{"3230, both", false, []string{"SHA-256=" + is256 + ", SHA-512=" + is512}, true, nil},
		{"3230, two lines", false, []string{"MD5=AAAA", "SHA-256=" + is256}, true, nil},
		{"3230, the second of another body", false, []string{"SHA-256=" + is256, "SHA-512=" + base64Of(make([]byte, 64))}, false, nil},
		{"3230, the first of another body", false, []string{"SHA-256=" + base64Of(short[1:]), "SHA-512=" + is512}, false, nil},
		{"3230, md5", false, []string{"MD5=AAAA"}, false, errDigestAlgorithm},
		{"3230, no equals sign", false, []string{"SHA-256"}, false, errDigestSyntax},
		{"3230, no equals sign after a correct one", false, []string{"SHA-256=" + is256 + ","}, false, errDigestSyntax},
		{"3230, no base64", false, []string{"SHA-256=" + is256 + "!"}, false, errDigestSyntax},
		{"9530", true, []string{"sha-256=:" + is256 + ":"}, true, nil},
		{"9530, both", true, []string{"sha-256=:" + is256 + ":, sha-512=:" + is512 + ":"}, true, nil},
		{"9530, md5", true, []string{"md5=:AAAA:"}, false, errDigestAlgorithm},
		{"9530, none", true, []string{""}, false, errDigestAlgorithm},
		{"9530, a list", true, []string{"sha-256=(:" + is256 + ":)"}, false, errDigestSyntax},
		{"9530, a string", true, []string{`md5="a", sha-256=:` + is256 + ":"}, false, errDigestSyntax},
		{"9530, no dictionary", true, []string{"sha-256=:" + is256}, false, errDigestSyntax},
		{"9530, sha-512 of another body", true, []string{"sha-512=:" + base64Of(long[1:]) + ":"}, false, nil},
	} {
		s := &Signature{}
		var err error
		if c.isRFC {
			err = s.cover((&Message{Header: http.Header{"Content-Digest": c.lines}}).contentDigests(), "")
		} else {
			err = s.cover((&Message{Header: http.Header{"Digest": c.lines}}).wantDigests(), "")
		}
		if !errors.Is(err, c.want) || s.Covered.Digest != (c.want == nil) {
			t.Errorf("%s: covered %t, %v, want %v", c.name, s.Covered.Digest, err, c.want)
		}
		if err := s.CheckDigests([]byte(bodyText)); err == nil && c.want == nil && !c.right || err != nil && c.right {
			t.Errorf("%s: got %v for the body, want success: %t", c.name, err, c.right)
		}
	}
	// Each covered field adds its digests. All must match.
	right, wrong := "SHA-256="+is256, "SHA-256="+base64Of(make([]byte, 32))
	for _, lines := range [][2]string{{right, wrong}, {wrong, right}} {
		s := &Signature{}
		for _, line := range lines {
			if err := s.cover((&Message{Header: http.Header{"Digest": {line}}}).wantDigests(), ""); err != nil {
				t.Error(err)
			}
		}
		if s.CheckDigests([]byte(bodyText)) == nil {
			t.Errorf("%q: accepted although one digest is wrong", lines)
		}
	}
}

func TestIsLength(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lines []string
		n     int
		want  bool
	}{
		{[]string{"0"}, 0, true}, {[]string{"120"}, 120, true}, {[]string{" 9\t"}, 9, true}, {[]string{"0000000012"}, 12, true},
		{[]string{"1234567890"}, 1234567890, true}, {[]string{"00000000012"}, 12, false}, {nil, 0, false}, {[]string{""}, 0, false},
		{[]string{"1", "1"}, 1, false}, {[]string{"1"}, 2, false}, {[]string{"/"}, 255, false}, {[]string{":"}, 10, false},
		{[]string{"1:"}, 20, false}, {[]string{"-1"}, 2531, false}, {[]string{"+1"}, 2511, false}, {[]string{"1/"}, 265, false}, // would match if bytes wrapped
	} {
		if got := isLength(c.lines, c.n); got != c.want {
			t.Errorf("%q, %d: got %t, want %t", c.lines, c.n, got, c.want)
		}
	}
	for n := range 10 { // every digit
		if !isLength([]string{fmt.Sprint(n)}, n) {
			t.Errorf("%d is refused", n)
		}
	}
}

func TestIsFieldName(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		want := c < 0x80 && strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~", rune(c))
		for _, name := range []string{string([]byte{byte(c)}), string([]byte{'a', byte(c)})} {
			if IsFieldName(name) != want {
				t.Errorf("%q: got %t, want %t", name, !want, want)
			}
		}
	}
	if IsFieldName("") {
		t.Error("the empty string is accepted")
	}
}

func TestAuthority(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"https", "A.test:443", "a.test"}, {"http", "a.test:80", "a.test"}, {"https", "a.test:80", "a.test:80"},
		{"http", "a.test:443", "a.test:443"}, {"ftp", "A.test:80", "a.test:80"}, {"https", "a.test:8443", "a.test:8443"},
	} {
		if got := Authority(c[0], c[1]); got != c[2] {
			t.Errorf("%s://%s: got %s", c[0], c[1], got)
		}
	}
}
