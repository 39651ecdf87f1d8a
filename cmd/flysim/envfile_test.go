package main

import (
	"maps"
	"strings"
	"testing"
)

func TestEnvFile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file string
		want       map[string]string // nil means an error
	}{
		{"a dollar is a dollar", "A=ab$CD12ef\nB=\"x$CD${CD}\"\nC='$(id)`id`'", map[string]string{"A": "ab$CD12ef", "B": "x$CD${CD}", "C": "$(id)`id`"}},
		{"a byte order mark", "\ufeffA=1\n", map[string]string{"A": "1"}},
		{"lines of Windows", "A=1\r\n\r\nB=2\r\n", map[string]string{"A": "1", "B": "2"}},
		{"comments", "# A=1\nA=2 # two\nB=3#3\nC='4 # 4' # four", map[string]string{"A": "2", "B": "3#3", "C": "4 # 4"}},
		{"export, and space around", "export A = 1 \n", map[string]string{"A": "1"}},
		{"an equals sign in the value", "A=b=c==", map[string]string{"A": "b=c=="}},
		{"escapes", `A="a\"b\\c\$d\n"`, map[string]string{"A": `a"b\c$d\n`}},
		{"empty", "A=\nB=''", map[string]string{"A": "", "B": ""}},
		{"no equals sign", "A=1\nsecret", nil},
		{"no name", "=1", nil},
		{"a quote that does not end", "A='1", nil},
		{"text after a quote", "A='1'2", nil},
	} {
		got, err := parseEnvFile(strings.NewReader(c.file))
		if c.want == nil && (err == nil || strings.Contains(err.Error(), "secret")) || c.want != nil && (err != nil || !maps.Equal(got, c.want)) {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	for name, secret := range hostile { // flysim reads the secrets that it writes
		if strings.Contains(secret, "\n") {
			continue
		}
		got, err := parseEnvFile(strings.NewReader(name + "=" + shellQuote(secret)))
		if err != nil || got[name] != secret {
			t.Errorf("%s is %q, %v, want %q", name, got[name], err, secret)
		}
	}
}
