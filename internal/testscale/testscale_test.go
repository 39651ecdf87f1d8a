package testscale_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/flyext/flyext/internal/testscale"
)

// A subject is a test that records its failure.
type subject struct {
	testing.TB
	failure string
}

func (s *subject) Helper() {}

func (s *subject) Fatalf(format string, args ...any) {
	s.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestFactor(t *testing.T) {
	for _, test := range []struct {
		name, value string
		want        int // 0 is a failure
	}{
		{"unset", "", 1}, {"one", "1", 1}, {"ten", "10", 10}, {"zero", "0", 0}, {"negative", "-1", 0}, {"a word", "full", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(testscale.Variable, test.value)
			s, got := &subject{}, 0
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				got = testscale.Factor(s)
			}()
			<-ended
			if got != test.want || (s.failure != "") != (test.want == 0) {
				t.Errorf("got %d and failure %q, want %d", got, s.failure, test.want)
			}
		})
	}
}
