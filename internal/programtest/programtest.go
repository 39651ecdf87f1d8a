// Package programtest finds the programs that some tests need and Go does not
// bring.
package programtest

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Path returns the path of a program. If the program is missing, Path ends the
// test as Missing does. Debian is the name of Debian's package.
func Path(t testing.TB, program, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	Missing(t, fmt.Sprintf("%s is not installed (Debian: apt-get install %s)", program, debian))
	return ""
}

// Missing ends a test that needs something that Go does not bring and this machine
// lacks. It skips the test, or fails it with CI=true. Hint is one line that says
// what is missing and how to get it: a string or an error.
func Missing(t testing.TB, hint any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(hint)
	}
	t.Skip(hint)
}
