package bounded_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext/internal/bounded"
)

func TestAsk(t *testing.T) {
	t.Parallel()
	errOut := errors.New("out of order")
	for _, test := range []struct {
		name string
		f    func(context.Context) (bool, error)
		want bool
		err  error
		took time.Duration
	}{
		{"yes", func(context.Context) (bool, error) { return true, nil }, true, nil, 0},
		{"no", func(context.Context) (bool, error) { return false, nil }, false, nil, 0},
		{"an error is no yes", func(context.Context) (bool, error) { return true, errOut }, false, errOut, 0},
		{"obedient", func(ctx context.Context) (bool, error) { <-ctx.Done(); return true, ctx.Err() }, false, context.DeadlineExceeded, time.Second},
		{"deaf", func(context.Context) (bool, error) { time.Sleep(time.Minute); return true, nil }, false, context.DeadlineExceeded, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				got, err := bounded.Ask(t.Context(), time.Second, test.f)
				if got != test.want || !errors.Is(err, test.err) {
					t.Errorf("got %t, %v, want %t, %v", got, err, test.want, test.err)
				}
				if took := time.Since(began); took != test.took {
					t.Errorf("it took %v, want %v", took, test.took)
				}
				time.Sleep(time.Hour) // nothing is left behind, or synctest complains
			})
		})
	}
}

func TestAskEndsWithCaller(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := bounded.Ask(ctx, time.Hour, func(context.Context) (bool, error) { <-t.Context().Done(); return true, nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAskPanics(t *testing.T) {
	t.Parallel()
	yes, err := bounded.Ask(t.Context(), time.Hour, func(context.Context) (bool, error) { panic("gone mad") })
	if yes || err == nil || !strings.Contains(err.Error(), "gone mad") {
		t.Errorf("got %t, %v", yes, err)
	}
}
