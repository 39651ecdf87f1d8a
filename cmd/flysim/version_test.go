package main

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	noEnv := func(string) (string, bool) { return "", false }
	status := run(t.Context(), []string{"--version"}, noEnv, strings.NewReader(""), &stdout, &stderr)
	got := stdout.String()
	if status != exitOK || !strings.HasPrefix(got, "flysim version ") || strings.Count(got, "\n") != 1 || stderr.Len() > 0 {
		t.Errorf("the exit status is %d, standard output is %q, standard error is %q", status, got, &stderr)
	}
	if !strings.Contains(got, runtime.Version()) {
		t.Errorf("got %q, want the version of Go in it", got)
	}
}
