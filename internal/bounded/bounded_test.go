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
		{"an error with true", func(context.Context) (bool, error) { return true, errOut }, false, errOut, 0},
		{"respects the context", func(ctx context.Context) (bool, error) { <-ctx.Done(); return true, ctx.Err() }, false, context.DeadlineExceeded, time.Second},
		{"ignores the context", func(context.Context) (bool, error) { time.Sleep(time.Minute); return true, nil }, false, context.DeadlineExceeded, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				got, err := bounded.Question{Timeout: time.Second, Ask: test.f}.Answer(t.Context())
				if got != test.want || !errors.Is(err, test.err) {
					t.Errorf("got %t, %v, want %t, %v", got, err, test.want, test.err)
				}
				if took := time.Since(began); took != test.took {
					t.Errorf("Answer took %v, want %v", took, test.took)
				}
				time.Sleep(time.Hour) // synctest fails if a goroutine is left
			})
		})
	}
}

func TestAskEndsWithCaller(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := bounded.Question{Timeout: time.Hour, Ask: func(context.Context) (bool, error) {
		<-t.Context().Done()
		return true, nil
	}}.Answer(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAskPanics(t *testing.T) {
	t.Parallel()
	yes, err := bounded.Question{Timeout: time.Hour, Ask: func(context.Context) (bool, error) {
		panic("gone mad")
	}}.Answer(t.Context())
	if yes || err == nil || !strings.Contains(err.Error(), "gone mad") {
		t.Errorf("got %t, %v", yes, err)
	}
}

// TestAnswerAsksAgain simulates a database whose connection breaks several times.
func TestAnswerAsksAgain(t *testing.T) {
	t.Parallel()
	errBroken, errFull := errors.New("connection reset"), errors.New("full")
	for _, test := range []struct {
		name   string
		errs   []error // of the attempts; the last one repeats
		want   bool
		err    error
		text   string
		number int // of attempts; 0 means many
	}{
		{"an answer", []error{nil}, true, nil, "", 1},
		{"one broken connection", []error{errBroken, nil}, true, nil, "", 2},
		{"several", []error{errBroken, errBroken, errBroken, nil}, true, nil, "", 4},
		{"another error", []error{errBroken, errFull}, false, errFull, "", 2},
		{"no end", []error{errBroken}, false, context.DeadlineExceeded, "connection reset", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began, number := time.Now(), 0
				got, err := bounded.Question{
					Timeout: time.Second,
					Again:   func(err error) bool { return err == errBroken },
					Ask: func(context.Context) (bool, error) {
						number++
						err := test.errs[min(number, len(test.errs))-1]
						return err == nil, err
					},
				}.Answer(t.Context())
				if got != test.want || !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error(), test.text) {
					t.Errorf("got %t, %v, want %t, %v", got, err, test.want, test.err)
				}
				synctest.Wait()
				if test.number != 0 && number != test.number || test.number == 0 && number < 5 {
					t.Errorf("%d attempts, want %d", number, test.number)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("Answer took %v, want at most 1s", took)
				}
			})
		})
	}
}
