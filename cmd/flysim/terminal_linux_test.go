package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flyext/flyext"
)

// openTerminal returns a pseudo-terminal and its other end.
func openTerminal(t *testing.T) (terminal, other *os.File) {
	t.Helper()
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	if err := unix.IoctlSetPointerInt(int(other.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(other.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return terminal, other
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	base := (&memory{}).serve(t, "", 0)
	for name, c := range map[string]struct {
		env                 []string
		colours, transience bool
	}{
		"as it is":          {[]string{"TERM=xterm"}, true, true},
		"no colour":         {[]string{"TERM=xterm", "NO_COLOR=1"}, false, true},
		"no colour, empty":  {[]string{"TERM=xterm", "NO_COLOR="}, true, true},
		"a simple terminal": {[]string{"TERM=dumb"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			terminal, other := openTerminal(t)
			cmd := process(t, c.env, "check", "--only", "provision", "--base-url", base)
			cmd.Stdout, cmd.Stderr = terminal, terminal
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			terminal.Close()
			shown, _ := io.ReadAll(other) // returns an error when the process has closed the terminal
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v\n%s", err, shown)
			}
			if got := strings.Contains(string(shown), "\x1b[32mpassed\x1b[0m"); got != c.colours {
				t.Errorf("the output has colours: %v, want %v\n%q", got, c.colours, shown)
			}
			if got := strings.Contains(string(shown), "1/1  "+textOf(t, "provision")); got != c.transience {
				t.Errorf("the output has progress: %v, want %v\n%q", got, c.transience, shown)
			}
			if !c.colours && strings.Contains(strings.ReplaceAll(string(shown), "\x1b[K", ""), "\x1b") {
				t.Errorf("the output has colours: %q", shown)
			}
			if !c.transience && strings.Contains(strings.ReplaceAll(string(shown), "\r\n", ""), "\r") {
				t.Errorf("the output has control characters: %q", shown)
			}
		})
	}
}

// TestSecretsOnATerminal: a terminal shows a secret once, with its control characters
// escaped. A pipe gets its bytes.
func TestSecretsOnATerminal(t *testing.T) {
	t.Parallel()
	const escapes = "\x1b]52;c;b3duZWQ=\a\x1b]0;owned\a\x1b[2J"
	m := &memory{secrets: func(string) flyext.Secrets { return flyext.Secrets{"LOGJAM_TOKEN": "token" + escapes} }}
	base := m.serve(t, "", 0)
	for name, both := range map[string]bool{"both on the terminal": true, "only standard output": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			terminal, other := openTerminal(t)
			cmd := process(t, []string{"TERM=dumb"}, "provision", "--prefix", "LOGJAM_", "--base-url", base)
			cmd.Stdout = terminal
			if both {
				cmd.Stderr = terminal
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			terminal.Close()
			shown, _ := io.ReadAll(other) // returns an error when the process has closed the terminal
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v\n%s", err, shown)
			}
			if strings.ContainsAny(string(shown), "\x1b\a") {
				t.Errorf("the terminal gets control characters: %q", shown)
			}
			if n := strings.Count(string(shown), `token\x1b`); n != 1 {
				t.Errorf("the terminal shows the secret %d times, want 1:\n%s", n, shown)
			}
		})
	}
	got := newTerminal(base).run(t, "provision", "--prefix", "LOGJAM_").want(t, 0)
	if want := "LOGJAM_TOKEN='token" + escapes + "'\n"; got.stdout != want {
		t.Errorf("the pipe gets %q, want %q", got.stdout, want)
	}
}

// TestWidthOfTheTerminal: the lines of a report and of a help are as long as the
// terminal is wide, from 60 to 120 columns.
func TestWidthOfTheTerminal(t *testing.T) {
	t.Parallel()
	base := serveStatus(t, 500, strings.Repeat("out of order ", 20))
	for columns, want := range map[uint16]int{40: 60, 60: 60, 100: 100, 200: 120, 0: 80} {
		for name, args := range map[string][]string{"check": {"check", "--base-url", base}, "help": {"help"}} {
			t.Run(fmt.Sprint(name, columns), func(t *testing.T) {
				t.Parallel()
				terminal, other := openTerminal(t)
				if err := unix.IoctlSetWinsize(int(other.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
					t.Fatal(err)
				}
				cmd := process(t, []string{"TERM=dumb"}, args...)
				cmd.Stdout, cmd.Stderr = terminal, terminal
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				terminal.Close()
				shown, _ := io.ReadAll(other) // returns an error when the process has closed the terminal
				_ = cmd.Wait()                // the status of check is 1, because the provider fails
				widest := 0
				for line := range strings.Lines(string(shown)) {
					widest = max(widest, len([]rune(strings.TrimRight(line, "\r\n"))))
				}
				if widest > want || widest < want-12 {
					t.Errorf("the widest line has %d columns, want about %d:\n%s", widest, want, shown)
				}
			})
		}
	}
}
