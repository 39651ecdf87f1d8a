package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func TestHelpIsNarrow(t *testing.T) {
	t.Parallel()
	p := &program{}
	commands := p.rootCommand().Commands()
	if len(commands) < 8 {
		t.Fatalf("there are %d commands", len(commands))
	}
	for _, cmd := range append([]*cobra.Command{{Use: "--help"}}, commands...) {
		got := newTerminal("").run(t, cmd.Name(), "--help").want(t, 0)
		narrow(t, got.stdout)
		contains(t, got.stdout, "Usage:\n  flysim ", "FLYIO_SIGNING_SECRET")
		if got.stderr != "" {
			t.Errorf("standard error is %q", got.stderr)
		}
	}
	contains(t, newTerminal("").run(t, "--help").stdout, exitCodes, secretsHelp)
	contains(t, newTerminal("").run(t, "check", "--help").stdout, exitCodes)
}

// narrow fails the test if a line is wider than a terminal. flyctl's own words
// are as long as flyctl prints them.
func narrow(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && !strings.Contains(line, "See details and next steps with:") {
			t.Errorf("a line is %d columns wide: %s", n, line)
		}
	}
}
