package storetest

import (
	"sync"
	"testing"

	"github.com/flyext/flyext"
)

// Broken breaks all connections of a store with 20 of them, and demands that no
// request is lost to that. while is called while requests wait; it may be nil.
func Broken(t *testing.T, s flyext.ReplayStore, break_, while func()) {
	t.Helper()
	const width = 20
	for round := range 3 {
		each(width, func(n int) { useOnce(t, s, Numbered(2*round*width+n)) }) // which opens connections
		break_()
		var ended sync.WaitGroup
		ended.Go(func() { each(width, func(n int) { useOnce(t, s, Numbered((2*round+1)*width+n)) }) })
		if while != nil {
			while()
		}
		ended.Wait()
	}
}

// useOnce demands that a nonce works, and then works no more.
func useOnce(t *testing.T, s flyext.ReplayStore, n flyext.Nonce) {
	t.Helper()
	for _, want := range []bool{true, false} {
		if fresh, err := s.Use(t.Context(), n); fresh != want || err != nil {
			t.Errorf("got %t, %v, want %t", fresh, err, want)
		}
	}
}

// each calls f at once for each number.
func each(numbers int, f func(n int)) {
	var workers sync.WaitGroup
	for n := range numbers {
		workers.Go(func() { f(n) })
	}
	workers.Wait()
}
