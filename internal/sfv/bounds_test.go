package sfv_test

import (
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/flyext/flyext/internal/sfv"
)

// TestFieldIsBounded checks the limits for bytes, members, items and parameters.
func TestFieldIsBounded(t *testing.T) {
	t.Parallel()
	many := func(n int, separator string) string {
		names := make([]string, n)
		for i := range names {
			names[i] = "k" + strconv.Itoa(i)
		}
		return strings.Join(names, separator)
	}
	lists := func(n int) string {
		return "a=(" + strings.Repeat("1 ", 50) + ")" + strings.Repeat(`, b%d=(`+strings.Repeat("1 ", 50)+")", n)
	}
	numbered := func(text string) string {
		for i := 0; strings.Contains(text, "%d"); i++ {
			text = strings.Replace(text, "%d", strconv.Itoa(i), 1)
		}
		return text
	}
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"64 members", many(64, ","), true}, {"65 members", many(65, ","), false},
		{"64 items", "a=(" + strings.Repeat("1 ", 64) + ")", true}, {"65 items", "a=(" + strings.Repeat("1 ", 65) + ")", false},
		{"64 parameters", "a;" + many(64, ";"), true}, {"65 parameters", "a;" + many(65, ";"), false},
		{"500 items", numbered(lists(9)), true}, {"550 items", numbered(lists(10)), false},
		{"16 KiB", `a="` + strings.Repeat("x", sfv.MaxField-6) + `"`, true}, {"more", `a="` + strings.Repeat("x", sfv.MaxField) + `"`, false},
	} {
		if _, err := sfv.ParseDictionary(c.text); (err == nil) != c.ok {
			t.Errorf("%s: got %v, want success: %t", c.name, err, c.ok)
		}
	}
	if _, err := sfv.ParseDictionary(strings.Split(strings.Repeat("a|", sfv.MaxField), "|")...); err == nil {
		t.Error("too many lines are accepted")
	}
}

// TestEscapesTakeTheirOwnMemory checks that an escaped string does not keep memory
// for the rest of the field.
func TestEscapesTakeTheirOwnMemory(t *testing.T) {
	text := `a="\\x";b="` + strings.Repeat("y", 10_000) + `"`
	if n := testing.AllocsPerRun(10, func() {
		if _, err := sfv.ParseDictionary(text); err != nil {
			t.Error(err)
		}
	}); n > 8 {
		t.Errorf("got %v allocations, want at most 8", n)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		_, _ = sfv.ParseDictionary(text)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / 100; each > 2000 {
		t.Errorf("an escaped character takes %d bytes, want at most 2000", each)
	}
}
