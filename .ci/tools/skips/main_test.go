package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// output returns the output of go test -json for a skipped test.
func output(lines ...string) string {
	text := `{"Action":"run","Package":"p","Test":"T"}` + "\n"
	for _, line := range append(append([]string{"=== RUN   T\n"}, lines...), "--- SKIP: T (0.00s)\n") {
		text += fmt.Sprintf(`{"Action":"output","Package":"p","Test":"T","Output":%q}`+"\n", line)
	}
	return text + `{"Action":"skip","Package":"p","Test":"T"}` + "\n"
}

func TestSkips(t *testing.T) {
	const hint = "zsh is not installed (Debian: apt-get install zsh)"
	for _, test := range []struct {
		name    string
		lines   []string
		reasons []string
		mute    int
	}{
		{"a hint", []string{"    shell_test.go:5: " + hint + "\n"}, []string{hint}, 0},
		{"a hint after a log record of another test", []string{"2026/11/28 WARN request refused\n", "    shell_test.go:5: " + hint + "\n"}, []string{hint}, 0},
		{"no line", nil, nil, 1},
		{"a line without a hint", []string{"    shell_test.go:5: there is no zsh\n"}, nil, 1},
		{"two lines", []string{"    shell_test.go:5: " + hint + "\n", "    shell_test.go:6: " + hint + "\n"}, nil, 1},
		{"a second line that is a list", []string{"    shell_test.go:5: " + hint + "\n", "        - zsh\n"}, nil, 1},
		{"an inapplicable requirement", []string{"    conformance.go:239: generation 1 has no events\n"}, nil, 0},
		{"the same words in another file", []string{"    other_conformance.go:239: generation 1 has no events\n"}, nil, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			reasons, mute, err := skips(strings.NewReader(output(test.lines...)))
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Collect(maps.Keys(reasons)); !slices.Equal(got, test.reasons) || len(mute) != test.mute {
				t.Errorf("got reasons %q and mute %q, want %q and %d mute", got, mute, test.reasons, test.mute)
			}
		})
	}
}
