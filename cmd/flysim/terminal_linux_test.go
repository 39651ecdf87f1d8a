package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns a terminal and what is at the other end of it.
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
			shown, _ := io.ReadAll(other) // ends with an error, when nobody has the terminal open
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v\n%s", err, shown)
			}
			if got := strings.Contains(string(shown), "\x1b[32mpassed\x1b[0m"); got != c.colours {
				t.Errorf("there are colours: %v, want %v\n%q", got, c.colours, shown)
			}
			if got := strings.Contains(string(shown), "1/1  "+textOf(t, "provision")); got != c.transience {
				t.Errorf("there is progress: %v, want %v\n%q", got, c.transience, shown)
			}
			if !c.colours && strings.Contains(strings.ReplaceAll(string(shown), "\x1b[K", ""), "\x1b") {
				t.Errorf("there are colours: %q", shown)
			}
			if !c.transience && strings.Contains(strings.ReplaceAll(string(shown), "\r\n", ""), "\r") {
				t.Errorf("there are control characters: %q", shown)
			}
		})
	}
}
