package storetest

import (
	"sync"
	"testing"

	"github.com/flyext/flyext"
)

// Broken breaks all connections of a store with 20 connections and checks that no
// request fails. While requests wait, it calls repair, which may be nil.
func Broken(t *testing.T, s flyext.ReplayStore, break_, repair func()) {
	t.Helper()
	const width = 20
	for round := range 3 {
		each(width, func(n int) { useOnce(t, s, Numbered(2*round*width+n)) }) // opens the connections
		break_()
		var ended sync.WaitGroup
		ended.Go(func() { each(width, func(n int) { useOnce(t, s, Numbered((2*round+1)*width+n)) }) })
		if repair != nil {
			repair()
		}
		ended.Wait()
	}
}

// useOnce checks that a nonce works exactly once.
func useOnce(t *testing.T, s flyext.ReplayStore, n flyext.Nonce) {
	t.Helper()
	for _, want := range []bool{true, false} {
		if fresh, err := s.Use(t.Context(), n); fresh != want || err != nil {
			t.Errorf("got %t, %v, want %t", fresh, err, want)
		}
	}
}

// each calls f concurrently for each number.
func each(numbers int, f func(n int)) {
	var workers sync.WaitGroup
	for n := range numbers {
		workers.Go(func() { f(n) })
	}
	workers.Wait()
}
