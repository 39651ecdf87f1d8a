package msgsig

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestBaseOfZntrio(t *testing.T) {
	t.Parallel()
	m := signedMessage()
	m.Target = "/a%2Fb?x=%2F"
	for _, c := range []baseCase{
		{"@request-target", "post /a/b?x=%2F", Covered{Method: true, Path: true, Query: true, Created: true}, nil},
		{"@created", "17", Covered{Created: true}, nil},
		{"@expires", "18", Covered{Created: true}, nil},
		{"date", "Tue, 14 Nov 2023 22:13:20 GMT", Covered{Date: signedDate, Created: true}, nil},
		{"digest", m.Header["Digest"][0], Covered{Digest: true, Created: true}, nil},
		{"x-a, date", "Tue, 14 Nov 2023 22:13:20 GMT", Covered{Date: signedDate, Created: true}, nil},
		{"x-a, x-a", "", Covered{}, errRepeated},
		{"@method", "", Covered{}, errUnknown},
		{"request-line", "", Covered{}, errUnknown},
		{"x-none", "", Covered{}, errAbsent},
		{"x-break", "", Covered{}, errFieldValue},
	} {
		input := "(" + c.components + "); created=17; expires=18"
		s := parsed(t, Zntrio, input)
		base, err := s.AppendBase(nil, m)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: got %v, want %v", c.components, err, c.err)
		}
		names := strings.Split(c.components, ", ")
		end := "\n" + names[len(names)-1] + ": " + c.want + "\n@signature-params: " + input + "\n"
		if err == nil && (!strings.HasSuffix("\n"+string(base), end) || strings.Count(string(base), "\n") != len(names)+1 || s.Covered != c.covered) {
			t.Errorf("%s: got %+v and %q, want %+v and %q", c.components, s.Covered, base, c.covered, end)
		}
	}
	for _, c := range []struct {
		method, target, want string
		err                  error
	}{
		{"GET", "/a", "get /a", nil},
		{"GET", "/a?", "get /a?", nil},
		{"get", "/a", "", errMethodCase},
		{"GET", "/a%3Fb", "", errFieldValue},
		{"GET", "/a%zz", "", errFieldValue},
		{"GET", "/a%0Ab", "", errFieldValue},
		{"GET", "/a?\n", "", errFieldValue},
		{"GET\n", "/a", "", errFieldValue},
	} {
		base, err := parsed(t, Zntrio, "(@request-target)").AppendBase(nil, &Message{Method: c.method, Target: c.target})
		if want := "@request-target: " + c.want + "\n@signature-params: (@request-target)\n"; !errors.Is(err, c.err) || err == nil && string(base) != want {
			t.Errorf("%s %s: got %q, %v, want %q, %v", c.method, c.target, base, err, want, c.err)
		}
	}
	for _, name := range []string{"@created", "@expires"} {
		if _, err := parsed(t, Zntrio, "("+name+")").AppendBase(nil, m); !errors.Is(err, errAbsent) {
			t.Errorf("%s without the parameter: got %v", name, err)
		}
	}
}

func TestParseZntrio(t *testing.T) {
	t.Parallel()
	many := func(n int) string {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("x%d", i))
		}
		return "s=(" + strings.Join(names, ", ") + ")"
	}
	const value = "s=:AAAA:"
	for _, c := range []struct {
		name, input, value string
		want               error
	}{
		{"one", "s=(date)", value, nil},
		{"two names and parameters", `s=(date, @created); created=1; keyid="k"`, value, nil},
		{"64 names", many(64), value, nil},
		{"65 names", many(65), value, errSyntax},
		{"no label", "=(date)", "=:AAAA:", errLabels},
		{"another label", "s=(date)", "t=:AAAA:", errLabels},
		{"no equals sign", "s", value, errLabels},
		{"no equals sign in the value", "s=(date)", "s", errLabels},
		{"a value that is not opened", "s=(date)", "s=AAAA:", errValue},
		{"a value that is not closed", "s=(date)", "s=:AAAA", errValue},
		{"a value and more", "s=(date)", "s=:AAAA!:", errValue},
		{"a list that is not opened", "s=date)", value, errSyntax},
		{"a list that is not closed", "s=(date", value, errSyntax},
		{"an empty list", "s=()", value, errNothingCovered},
		{"no space", "s=(date,digest)", value, errSyntax},
		{"two spaces", "s=(date,  digest)", value, errSyntax},
		{"an empty name", "s=(date, , digest)", value, errSyntax},
		{"a quoted name", `s=("date")`, value, errSyntax},
		{"a tab", "s=(da\tte)", value, errSyntax},
		{"a semicolon", "s=(date;bs)", value, errSyntax},
		{"an equals sign", "s=(da=te)", value, errSyntax},
		{"a bracket", "s=(da(te)", value, errSyntax},
		{"upper case", "s=(Date)", value, errSyntax},
		{"malformed parameters", "s=(date)x", value, errParameter},
		{"a second signature", "s=(date), t=(date)", value, errParameter},
		{"a parameter twice", "s=(date); created=1; created=1", value, errParameter},
		{"a parameter of another kind", `s=(date); created="1"`, value, errParameter},
	} {
		if _, err := ParseZntrio(http.Header{"Signature-Input": {c.input}, "Signature": {c.value}}); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	for _, h := range []http.Header{
		{"Signature-Input": {"s=(date)"}}, {"Signature": {value}},
		{"Signature-Input": {"s=(date)", "s=(date)"}, "Signature": {value}}, {"Signature-Input": {"s=(date)"}, "Signature": {value, value}},
	} {
		if _, err := ParseZntrio(h); !errors.Is(err, ErrNone) {
			t.Errorf("%v: got %v", h, err)
		}
	}
}
