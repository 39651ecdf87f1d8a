package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// commandNames returns the names of all commands.
func commandNames(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, cmd := range (&program{}).rootCommand().Commands() {
		names = append(names, cmd.Name())
	}
	if len(names) < 11 {
		t.Fatalf("there are only the commands %q", names)
	}
	return append(names, "help")
}

// helpAt returns the help that flysim shows on a page of a width.
func helpAt(t *testing.T, width int, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := &program{out: &page{w: &stdout, width: width}, err: &page{w: &stderr, width: width}}
	if status := p.run(t.Context(), args); status != exitOK || stderr.Len() > 0 {
		t.Fatalf("%q: the exit status is %d, want 0\n%s", args, status, stderr.String())
	}
	return stdout.String()
}

// TestHelpIsNarrow: the lines of a help are as long as the page is wide, and a
// narrow page has the same words as a wide one.
func TestHelpIsNarrow(t *testing.T) {
	t.Parallel()
	helps := [][]string{{}, {"help"}, {"--help"}, {"--help-all"}}
	for _, name := range commandNames(t) {
		helps = append(helps, []string{name, "--help"}, []string{name, "--help-all"}, []string{"help", name})
	}
	for _, args := range helps {
		wide := helpAt(t, maxColumns, args...)
		for _, width := range []int{minColumns, columns, maxColumns} {
			got := helpAt(t, width, args...)
			narrowAt(t, width, got)
			if words(got) != words(wide) {
				t.Errorf("%q: the words at %d columns are not those at %d:\n%s", args, width, maxColumns, got)
			}
			if strings.Contains(got, " \n") || strings.Contains(got, "\n\n\n") || strings.HasSuffix(got, "\n\n") {
				t.Errorf("%q: there is a space at the end of a line or a needless empty line:\n%s", args, got)
			}
		}
	}
}

// TestHelpIsWrapped: a long description fills each line of a page.
func TestHelpIsWrapped(t *testing.T) {
	t.Parallel()
	for width, want := range map[int]string{
		minColumns: `
      --id id             the id of the event, which
                          with the source identifies
                          duplicates (default a new one)
`,
		columns: `
      --id id             the id of the event, which with the source
                          identifies duplicates (default a new one)
`,
		maxColumns: `
      --id id             the id of the event, which with the source identifies duplicates (default a new one)
`,
	} {
		contains(t, helpAt(t, width, "event", "--help"), want)
	}
}

func TestHelpListsFlags(t *testing.T) {
	t.Parallel()
	const global, all = "\nFlags of all commands:\n      --base-url URL", `Run "flysim help" for the flags of all commands.`
	for _, name := range commandNames(t) {
		short := newTerminal("").run(t, name, "--help").want(t, exitOK).stdout
		contains(t, short, "Usage:\n  flysim "+name, "\n  -h, --help", all)
		if strings.Contains(short, "--base-url URL") {
			t.Errorf("the help of %s has global flags:\n%s", name, short)
		}
		if name == "help" {
			continue
		}
		if got := newTerminal("").run(t, "help", name).want(t, exitOK).stdout; got != short {
			t.Errorf("flysim help %s differs from flysim %s --help:\n%s", name, name, got)
		}
		long := newTerminal("").run(t, name, "--help-all").want(t, exitOK).stdout
		contains(t, long, strings.TrimSuffix(short, "\n"+all+"\n"), global)
		if got := newTerminal("").run(t, "help", "--help-all", name).want(t, exitOK).stdout; got != long {
			t.Errorf("flysim help --help-all %s differs from flysim %s --help-all:\n%s", name, name, got)
		}
	}
	help := newTerminal("").run(t, "help").want(t, exitOK).stdout
	contains(t, help, exitCodes, global, "\n  check        ", "\n  help         ")
	contains(t, words(help), words(secretsHelp))
	for _, flag := range []string{"--help", "--help-all"} {
		if got := newTerminal("").run(t, flag).want(t, exitOK).stdout; got != help {
			t.Errorf("flysim %s differs from flysim help:\n%s", flag, got)
		}
	}
	contains(t, newTerminal("").run(t, "check", "--help").stdout, exitCodes)
}

// narrow fails the test if a line is wider than a page that goes to no terminal.
func narrow(t *testing.T, text string) {
	t.Helper()
	narrowAt(t, columns, text)
}

// narrowAt fails the test if a line is wider than a page. It ignores the line
// that flysim shows as the real flyctl prints it.
func narrowAt(t *testing.T, width int, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width && !strings.Contains(line, "See details and next steps with:") {
			t.Errorf("a line has %d columns, want at most %d: %s", n, width, line)
		}
	}
}
