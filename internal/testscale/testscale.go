// Package testscale makes tests that repeat something thousands of times small by
// default, so that every test of the repository runs in a minute or two.
package testscale

import (
	"os"
	"strconv"
	"testing"
)

// Variable is the environment variable that makes these tests larger: a whole
// number by which they multiply their repetitions. The default is 1. The README
// documents it.
const Variable = "FLYEXT_TEST_SCALE"

// Factor returns what the environment says. Anything but a whole number from 1
// ends the test.
func Factor(t testing.TB) int {
	t.Helper()
	text := os.Getenv(Variable)
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, want a whole number from 1", Variable, text)
	}
	return n
}
