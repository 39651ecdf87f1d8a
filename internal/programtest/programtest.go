// Package programtest finds the programs that some tests need and Go does not
// bring.
package programtest

import (
	"os"
	"os/exec"
	"testing"
)

// Path returns the path of a program. If the program is missing, Path skips the
// test with one line that says how to get it; with CI=true it fails the test.
// Debian is the name of Debian's package.
func Path(t testing.TB, program, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed (Debian: apt-get install %s)", program, debian)
	}
	t.Skipf("%s is not installed (Debian: apt-get install %s)", program, debian)
	return ""
}
