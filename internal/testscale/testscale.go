// Package testscale keeps the number of repetitions in long tests small by default,
// so that the whole suite takes a minute or two.
package testscale

import (
	"os"
	"strconv"
	"testing"
)

// Variable is the environment variable that multiplies the number of repetitions.
// It is a whole number; the default is 1. The README documents it.
const Variable = "FLYEXT_TEST_SCALE"

// Factor returns the value of the variable. It fails the test if the value is not a
// whole number from 1.
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
