package programtest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/flyext/flyext/internal/programtest"
)

// A subject is a test that records how it ended.
type subject struct {
	testing.TB
	said string
}

func (s *subject) Helper() {}

func (s *subject) Fatal(args ...any) {
	s.said = "fatal: " + fmt.Sprint(args...)
	runtime.Goexit()
}

func (s *subject) Skip(args ...any) {
	s.said = "skip: " + fmt.Sprint(args...)
	runtime.Goexit()
}

func TestPath(t *testing.T) {
	dir := t.TempDir()
	fish := filepath.Join(dir, "fish")
	if err := os.WriteFile(fish, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for _, test := range []struct{ name, program, ci, want, said string }{
		{"there", "fish", "", fish, ""},
		{"there in CI", "fish", "true", fish, ""},
		{"missing", "bird", "", "", "skip: bird is not installed (Debian: apt-get install birds)"},
		{"missing in CI", "bird", "true", "", "fatal: bird is not installed (Debian: apt-get install birds)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("CI", test.ci)
			s, got := &subject{}, ""
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				got = programtest.Path(s, test.program, "birds")
			}()
			<-ended
			if got != test.want || s.said != test.said {
				t.Errorf("got %q and %q, want %q and %q", got, s.said, test.want, test.said)
			}
		})
	}
}
