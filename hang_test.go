package flyext_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
)

// Every tenth call for an extension panics. The others are served, one after the other.
func TestPanicWhileOthersWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
			time.Sleep(10 * time.Millisecond) // on the fake clock of synctest
			if calls.Add(1)%10 == 1 {
				panic("one of ten")
			}
			return &flyext.Extension{}, nil
		}}
		provider := newProvider(t, p, unsigned)
		var answers [600]atomic.Int64
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { answers[do(provider, fetchRequest("x1")).Code].Add(1) })
		}
		all.Wait()
		if ok, failed := answers[200].Load(), answers[500].Load(); ok != 90 || failed != 10 {
			t.Errorf("%d were served and %d failed, want 90 and 10", ok, failed)
		}
	})
}
