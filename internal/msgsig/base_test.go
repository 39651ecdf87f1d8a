package msgsig

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

const bodyText = `{"a":1}`

func base64Of(sum []byte) string { return base64.StdEncoding.EncodeToString(sum) }

// signedMessage returns a message with fields of all kinds.
func signedMessage() *Message {
	sum, long := sha256.Sum256([]byte(bodyText)), sha512.Sum512([]byte(bodyText))
	return &Message{
		Method: "POST", Scheme: "https", Host: "Logjam.test:443", Target: "/a%2Fb/c?x=1&y=a%20b+*~&z", Body: []byte(bodyText),
		Header: http.Header{
			"Date": {"Tue, 14 Nov 2023 22:13:20 GMT"}, "Content-Length": {"7"}, "Content-Type": {"application/json"},
			"Digest":         {"SHA-256=" + base64Of(sum[:])},
			"Content-Digest": {"sha-256=:" + base64Of(sum[:]) + ":", "sha-512=:" + base64Of(long[:]) + ":,md5=:AAAA:"},
			"X-A":            {" \t1\t ", "2 3", ""}, "X-Empty": {""}, "X-Break": {"a\nb"}, "X-Del": {"\x7f"}, "X-Tab": {"a\tb"},
		},
	}
}

// parsed returns the single signature of an input in a dialect.
func parsed(t *testing.T, dialect Dialect, input string) *Signature {
	t.Helper()
	var s []Signature
	var err error
	switch dialect {
	case Cavage:
		s, err = ParseCavage(http.Header{"Signature": {input + `,signature="AAAA"`}})
	case Zntrio:
		s, err = ParseZntrio(http.Header{"Signature-Input": {"s=" + input}, "Signature": {"s=:AAAA:"}})
	default:
		s, err = ParseRFC9421(http.Header{"Signature-Input": {"s=" + input}, "Signature": {"s=:AAAA:"}})
	}
	if err != nil || len(s) != 1 || s[0].Dialect != dialect || s[0].Value != "\x00\x00\x00" {
		t.Fatalf("%s: %+v, %v", input, s, err)
	}
	return &s[0]
}

// A baseCase is a list of components with the expected base.
type baseCase struct {
	components, want string // want is the value of the last component
	covered          Covered
	err              error
}

var signedDate = time.Date(2023, time.November, 14, 22, 13, 20, 0, time.UTC)

func TestBaseOfRFC9421(t *testing.T) {
	t.Parallel()
	m := signedMessage()
	digests := strings.Join(m.Header["Content-Digest"], ", ")
	sum := sha256.Sum256([]byte(bodyText))
	target, query := Covered{Path: true, Query: true}, "x=1&y=a%20b+*~&z"
	for _, c := range []baseCase{
		{`"@method"`, "POST", Covered{Method: true}, nil},
		{`"@authority"`, "logjam.test", Covered{Authority: true}, nil},
		{`"@scheme"`, "https", Covered{}, nil},
		{`"@target-uri"`, "https://logjam.test/a%2Fb/c?" + query, Covered{Path: true, Query: true, Authority: true}, nil},
		{`"@request-target"`, "/a%2Fb/c?" + query, target, nil},
		{`"@path"`, "/a%2Fb/c", Covered{Path: true}, nil},
		{`"@query"`, "?" + query, Covered{Query: true}, nil},
		{`"@query-param";name="x"`, "1", Covered{}, nil},
		{`"@query-param";name="y"`, "a%20b%20*%7E", Covered{}, nil},
		{`"@query-param";name="z"`, "", Covered{}, nil},
		{`"content-type"`, "application/json", Covered{}, nil},
		{`"content-length"`, "7", Covered{ContentLength: true}, nil},
		{`"date"`, "Tue, 14 Nov 2023 22:13:20 GMT", Covered{Date: signedDate}, nil},
		{`"digest"`, m.Header["Digest"][0], Covered{Digest: true}, nil},
		{`"content-digest"`, digests, Covered{Digest: true}, nil},
		{`"content-digest";sf`, strings.Replace(digests, ",md5", ", md5", 1), Covered{Digest: true}, nil},
		{`"content-digest";key="sha-256"`, ":" + base64Of(sum[:]) + ":", Covered{Digest: true}, nil},
		{`"content-digest";bs`, ":" + base64Of([]byte(m.Header["Content-Digest"][0])) + ":, :" + base64Of([]byte(m.Header["Content-Digest"][1])) + ":",
			Covered{Digest: true}, nil},
		{`"x-a"`, "1, 2 3, ", Covered{}, nil},
		{`"x-a";bs`, ":MQ==:, :MiAz:, ::", Covered{}, nil},
		{`"x-empty"`, "", Covered{}, nil},
		{`"x-tab"`, "a\tb", Covered{}, nil},
		{`"date";bs`, ":" + base64Of([]byte(m.Header["Date"][0])) + ":", Covered{}, nil},
		{`"content-length";bs`, ":Nw==:", Covered{}, nil},
		{`"@method" "x-empty" "@path"`, "/a%2Fb/c", Covered{Method: true, Path: true}, nil},

		{"", "", Covered{}, errNothingCovered},
		{`"x-a" "@path" "x-a"`, "", Covered{}, errRepeated},
		{`"@query-param";name="x" "@query-param";name="x"`, "", Covered{}, errRepeated},
		{`"@status"`, "", Covered{}, errUnknown},
		{`"@method";req`, "", Covered{}, errUnknown},
		{`"@query-params";name="x"`, "", Covered{}, errUnknown},
		{`"@query-param"`, "", Covered{}, errUnknown},
		{`"@query-param";name="x";req`, "", Covered{}, errUnknown},
		{`"@query-param";other="x"`, "", Covered{}, errUnknown},
		{`"@query-param";name=x`, "", Covered{}, errUnknown},
		{`"@query-param";name="w"`, "", Covered{}, errQueryParameter},
		{`"@query-param";name=""`, "", Covered{}, errQueryParameter},
		{`"X-A"`, "", Covered{}, errUnknown},
		{`"x a"`, "", Covered{}, errUnknown},
		{`""`, "", Covered{}, errUnknown},
		{`"x-none"`, "", Covered{}, errAbsent},
		{`"x-none";bs`, "", Covered{}, errUnknown},
		{`"x-a";bs=?0`, "", Covered{}, errUnknown},
		{`"x-a";bs="1"`, "", Covered{}, errUnknown},
		{`"x-a";bs=1`, "", Covered{}, errUnknown},
		{`"x-a";sf`, "", Covered{}, errUnknown},
		{`"x-a";key="a"`, "", Covered{}, errUnknown},
		{`"x-a";tr`, "", Covered{}, errUnknown},
		{`"x-a";bs;tr`, "", Covered{}, errUnknown},
		{`"content-digest";sf=?0`, "", Covered{}, errUnknown},
		{`"content-digest";key=sha-256`, "", Covered{}, errUnknown},
		{`"content-digest";key="sha-1"`, "", Covered{}, errAbsent},
		{`"content-digest";key="md5"`, "", Covered{}, errDigestAlgorithm},
		{`"content-digest";tr`, "", Covered{}, errUnknown},
		{`"content-digest";name="sha-256"`, "", Covered{}, errUnknown},
		{`"x-break"`, "", Covered{}, errFieldValue},
		{`"x-del"`, "", Covered{}, errFieldValue},
	} {
		for _, params := range []string{"", ";created=17"} {
			s := parsed(t, RFC9421, "("+c.components+")"+params)
			draft := params != "" && !strings.Contains(c.components, "@query-params")
			m.DraftQueryParams = draft
			base, err := s.AppendBase([]byte("before"), m)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("%s: got %v, want %v", c.components, err, c.err)
			}
			if c.err != nil {
				continue
			}
			c.covered.Created = params != ""
			last := c.components[strings.LastIndex(c.components, " ")+1:]
			want := last + ": " + c.want + "\n\"@signature-params\": (" + c.components + ")" + params
			if !strings.HasPrefix(string(base), "before\"") || !strings.HasSuffix(string(base), want) || s.Covered != c.covered {
				t.Errorf("%s: got %+v and\n%s\nwant %+v and\n%s", c.components, s.Covered, base, c.covered, want)
			}
			if err := s.CheckDigests(m.Body); err != nil {
				t.Errorf("%s: %v", c.components, err)
			}
			if err := s.CheckDigests([]byte("{}")); (err != nil) != c.covered.Digest {
				t.Errorf("%s: another body: got %v", c.components, err)
			}
		}
	}
}

// TestBaseOfRFC9421Fails checks components whose value cannot be signed or parsed.
func TestBaseOfRFC9421Fails(t *testing.T) {
	t.Parallel()
	m := &Message{Method: "GET", Scheme: "https", Host: "a\nb", Target: "/", Header: http.Header{"Content-Digest": {"a="}}}
	for _, component := range []string{`"@authority"`, `"@target-uri"`, `"content-digest";sf`, `"content-digest";key="a"`} {
		if base, err := parsed(t, RFC9421, "("+component+")").AppendBase(nil, m); !errors.Is(err, errFieldValue) && !errors.Is(err, errDigestSyntax) {
			t.Errorf("%s: got %q, %v", component, base, err)
		}
	}
}

// TestFieldsThatSayOtherwise checks that all dialects refuse a covered field with
// an invalid or wrong value.
func TestFieldsThatSayOtherwise(t *testing.T) {
	t.Parallel()
	m := &Message{Method: "POST", Target: "/", Body: []byte(bodyText), Header: http.Header{
		"Date": {"yesterday"}, "Content-Length": {"8"}, "Digest": {"MD5=AAAA"}, "Content-Digest": {"md5=:AAAA:"},
	}}
	for name, want := range map[string]error{
		"date": errDate, "content-length": errContentLength, "digest": errDigestAlgorithm, "content-digest": errDigestAlgorithm,
	} {
		for dialect, input := range map[Dialect]string{
			RFC9421: `("` + name + `")`, Cavage: `keyId="k",headers="` + name + `"`, Zntrio: "(" + name + ")",
		} {
			if dialect == Zntrio && name == "content-digest" { // an ordinary field there
				continue
			}
			s := parsed(t, dialect, input)
			if _, err := s.AppendBase(nil, m); !errors.Is(err, want) || s.Covered != (Covered{}) {
				t.Errorf("%s in dialect %d: got %v and %+v, want %v", name, dialect, err, s.Covered, want)
			}
		}
	}
}

// TestQueryParam checks query parameters of RFC 9421 and draft-05.
func TestQueryParam(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, component, query, want string
		err                          error
	}{
		{"RFC 9421", `"@query-param";name="a%20b"`, "a+b=c+d", "c%20d", nil},
		{"draft-05", `"@query-params";name="a b"`, "a+b=c+d", "c d", nil},
		{"among empty pairs", `"@query-param";name="a"`, "&&a=1&", "1", nil},
		{"empty name among empty pairs", `"@query-param";name=""`, "a=1&&", "", errQueryParameter},
		{"twice", `"@query-param";name="a"`, "a=1&a=1", "", errQueryParameter},
		{"twice, one name escaped", `"@query-param";name="a"`, "a=1&%61=1", "", errQueryParameter},
		{"draft-05, twice", `"@query-params";name="a"`, "a=1&a=1", "", errQueryParameter},
		{"another name is malformed", `"@query-param";name="a"`, "a=1&%zz=1", "", errQueryParameter},
		{"a malformed value", `"@query-param";name="a"`, "a=%zz", "", errQueryParameter},
		{"a line break in the value", `"@query-params";name="a"`, "a=1%0A2", "", errFieldValue},
		{"no query", `"@query-param";name="a"`, "", "", errQueryParameter},
		{"the longest query", `"@query-param";name="a"`, "a=1&b=" + strings.Repeat("b", maxQuery-6), "1", nil},
		{"a longer one", `"@query-param";name="a"`, "a=1&b=" + strings.Repeat("b", maxQuery-5), "", errQueryParameter},
	} {
		m := &Message{Method: "GET", Target: "/?" + c.query, DraftQueryParams: true}
		base, err := parsed(t, RFC9421, "("+c.component+")").AppendBase(nil, m)
		want := c.component + ": " + c.want + "\n\"@signature-params\": (" + c.component + ")"
		if !errors.Is(err, c.err) || err == nil && string(base) != want {
			t.Errorf("%s: got %q, %v, want %q, %v", c.name, base, err, want, c.err)
		}
	}
}

// TestWhatIsReadIsBounded checks the limits of what all signatures of a message may
// cover.
func TestWhatIsReadIsBounded(t *testing.T) {
	t.Parallel()
	long := func(n int) []string { return []string{strings.Repeat("a", n)} }
	for _, c := range []struct {
		name, component string
		lines           []string
		times           int // signatures of the message
		err             error
	}{
		{"the longest field", `"x"`, long(maxRead - 1), 1, nil},
		{"a longer one", `"x"`, long(maxRead), 1, errTooLarge},
		{"two signatures, half the limit each", `"x"`, long(maxRead/2 - 1), 2, nil},
		{"three signatures, half the limit each", `"x"`, long(maxRead/2 - 1), 3, errTooLarge},
		{"long lines with a parameter", `"x";bs`, []string{strings.Repeat("a", maxRead/4), strings.Repeat("a", maxRead/4+1)}, 1, errTooLarge},
		{"the longest digests", `"content-digest"`, []string{"sha-256=:AAAA:, x=:" + strings.Repeat("A", 4072) + ":"}, 1, nil},
		{"longer digests", `"content-digest"`, []string{"sha-256=:AAAA:, x=:" + strings.Repeat("A", 4080) + ":"}, 1, errDigestSyntax},
		{"longer digests, a member", `"content-digest";key="sha-256"`, []string{"sha-256=:AAAA:, x=:" + strings.Repeat("A", 4080) + ":"}, 1, errDigestSyntax},
		{"a long Digest", `"digest"`, []string{"sha-256=AAAA,x=" + strings.Repeat("A", 4096)}, 1, errDigestSyntax},
		{"a long Date", `"date"`, long(65), 1, errDate},
	} {
		m := &Message{Header: http.Header{"X": c.lines, "Content-Digest": c.lines, "Digest": c.lines, "Date": c.lines}}
		var err error
		for range c.times {
			if _, err = parsed(t, RFC9421, "("+c.component+")").AppendBase(nil, m); err != nil {
				break
			}
		}
		if !errors.Is(err, c.err) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.err)
		}
	}
}

func TestBaseOfCavage(t *testing.T) {
	t.Parallel()
	m := signedMessage()
	all := Covered{Method: true, Path: true, Query: true}
	const params = `keyId="k",algorithm="hs2019",created=17,expires=18.5`
	for _, c := range []baseCase{
		{"(request-target)", "post /a%2Fb/c?x=1&y=a%20b+*~&z", all, nil},
		{"(created)", "17", Covered{Created: true}, nil},
		{"(expires)", "18.5", Covered{}, nil},
		{"(keyid)", "k", Covered{}, nil},
		{"(algorithm)", "hs2019", Covered{}, nil},
		{"date", "Tue, 14 Nov 2023 22:13:20 GMT", Covered{Date: signedDate}, nil},
		{"content-length", "7", Covered{ContentLength: true}, nil},
		{"digest", m.Header["Digest"][0], Covered{Digest: true}, nil},
		{"content-digest", strings.Join(m.Header["Content-Digest"], ", "), Covered{Digest: true}, nil},
		{"host", "Logjam.test:443", Covered{Authority: true}, nil},
		{"x-a", "1, 2 3, ", Covered{}, nil},
		{"x-a date (created)", "17", Covered{Date: signedDate, Created: true}, nil},
		{"x-a x-a", "", Covered{}, errRepeated},
		{"(status)", "", Covered{}, errUnknown},
		{"@method", "", Covered{}, errUnknown},
		{"request-line", "", Covered{}, errUnknown},
		{"x-none", "", Covered{}, errAbsent},
		{"x-break", "", Covered{}, errFieldValue},
	} {
		s := parsed(t, Cavage, params+`,headers="`+c.components+`"`)
		base, err := s.AppendBase(nil, m)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: got %v, want %v", c.components, err, c.err)
		}
		names := strings.Split(c.components, " ")
		last := names[len(names)-1] + ": " + c.want
		if err == nil && (!strings.HasSuffix("\n"+string(base), "\n"+last) || strings.Count(string(base), "\n") != len(names)-1 || s.Covered != c.covered) {
			t.Errorf("%s: got %+v and %q, want %+v and %q", c.components, s.Covered, base, c.covered, last)
		}
	}
	for _, name := range []string{"(created)", "(expires)"} {
		if _, err := parsed(t, Cavage, `keyId="k",headers="`+name+`"`).AppendBase(nil, m); !errors.Is(err, errAbsent) {
			t.Errorf("%s without the parameter: got %v", name, err)
		}
	}
}

func TestBaseOfCavageFails(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]error{"(request-target)": errMethodCase, "content-digest": errAbsent, "digest": errAbsent, "date": errAbsent} {
		s := parsed(t, Cavage, `keyId="k",headers="`+name+`"`)
		if _, err := s.AppendBase(nil, &Message{Method: "Post", Target: "/"}); !errors.Is(err, want) || s.Covered.Digest {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
}
