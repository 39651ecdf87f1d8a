// Package programtest finds programs that some tests need in addition to Go.
package programtest

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Path returns the path of a program. If the program is missing, Path ends the test
// as Missing does. The argument debian is the name of Debian's package.
func Path(t testing.TB, program, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	Missing(t, fmt.Sprintf("%s is not installed (Debian: apt-get install %s)", program, debian))
	return ""
}

// Missing ends a test whose requirements are not installed. It skips the test, or
// fails it with CI=true. The hint, a string or an error, is one line that says what
// is missing and how to install it.
func Missing(t testing.TB, hint any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(hint)
	}
	t.Skip(hint)
}
