package flyext

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type contextKey struct{}

func newCallContext(parent context.Context) *callContext {
	return &callContext{Context: context.WithoutCancel(parent), deadline: time.Now().Add(time.Second)}
}

// It behaves as one of context.WithTimeout does, whatever is made of it.
func TestCallContext(t *testing.T) {
	t.Parallel()
	for _, end := range []error{context.DeadlineExceeded, context.Canceled} {
		t.Run(end.Error(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // which ends when no goroutine is left
				request, hangUp := context.WithCancelCause(context.WithValue(t.Context(), contextKey{}, "value"))
				c := newCallContext(request)
				hangUp(errors.New("the caller hung up"))
				if deadline, ok := c.Deadline(); !ok || !deadline.Equal(time.Now().Add(time.Second)) {
					t.Errorf("the deadline is %v, %t", deadline, ok)
				}
				if c.Value(contextKey{}) != "value" {
					t.Error("the request's value is lost")
				}
				early := c.Done()
				ran, stopped := 0, 0
				context.AfterFunc(c, func() { ran++ })
				stop := context.AfterFunc(c, func() { stopped++ })
				child, cancel := context.WithTimeout(c, time.Hour)
				defer cancel()
				ended, cancelEnded := context.WithCancel(c)
				cancelEnded()
				if !stop() || stop() {
					t.Error("stopping said no the first time, or yes the second")
				}
				for name, ctx := range map[string]context.Context{"it": c, "a child": child} {
					if ctx.Err() != nil || context.Cause(ctx) != nil {
						t.Errorf("%s has ended before its time: %v, %v", name, ctx.Err(), context.Cause(ctx))
					}
				}
				synctest.Wait()
				select {
				case <-early:
					t.Error("done is closed before the end")
				default:
				}
				if len(c.after) != 2 {
					t.Errorf("%d functions wait for the end, want those of AfterFunc and of one child", len(c.after))
				}

				c.end(end)
				c.end(errors.New("another reason"))
				<-early
				<-c.Done()
				<-child.Done()
				for name, ctx := range map[string]context.Context{"it": c, "a child": child} {
					if !errors.Is(ctx.Err(), end) || !errors.Is(context.Cause(ctx), end) {
						t.Errorf("%s ended with %v, %v", name, ctx.Err(), context.Cause(ctx))
					}
				}
				if late, cancel := context.WithCancel(c); !errors.Is(late.Err(), end) {
					t.Errorf("a child that was made too late ended with %v", late.Err())
					cancel()
				} else {
					cancel()
				}
				if !errors.Is(ended.Err(), context.Canceled) {
					t.Errorf("a child that was canceled has %v", ended.Err())
				}
				lateRan := 0
				stopLate := context.AfterFunc(c, func() { lateRan++ })
				synctest.Wait()
				if ran != 1 || stopped != 0 || lateRan != 1 || stopLate() {
					t.Errorf("after the end %d ran, %d that was stopped, %d that came too late", ran, stopped, lateRan)
				}
			})
		})
	}
}

// Nobody asks for the channel of most calls.
func TestCallContextDoneAfterTheEnd(t *testing.T) {
	t.Parallel()
	c := newCallContext(t.Context())
	c.end(context.Canceled)
	select {
	case <-c.Done():
	default:
		t.Error("done is open after the end")
	}
}

// AfterFunc by itself: package context calls it only of a context that has not
// ended, or just so.
func TestCallContextAfterFunc(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCallContext(t.Context())
		var ran atomic.Int32
		stop := c.AfterFunc(func() { ran.Add(1) })
		if !stop() || stop() {
			t.Error("stopping said no the first time, or yes the second")
		}
		late := c.AfterFunc(func() { ran.Add(1) })
		c.end(context.Canceled)
		if late() || len(c.after) != 0 {
			t.Error("what runs is stopped, or kept")
		}
		if c.AfterFunc(func() { ran.Add(1) })() {
			t.Error("what came too late is stopped")
		}
		synctest.Wait()
		if ran.Load() != 2 {
			t.Errorf("%d ran, want 2", ran.Load())
		}
		if c.String() != "flyext.callContext" {
			t.Errorf("it is printed as %q", c)
		}
	})
}
