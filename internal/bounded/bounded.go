// Package bounded gives a question to a database an end.
package bounded

import (
	"context"
	"fmt"
	"time"
)

// Ask runs f and returns what it does, or an error once the time is over or the
// context has ended. It does not wait for f to notice: a driver may look at its
// deadline between two steps alone, and a step may be to wait for a machine that
// never answers. What f returns then is lost, so it must be safe not to know.
//
// A panic of f is returned as an error: it must not end the process, as it would
// in a goroutine of its own.
func Ask(ctx context.Context, timeout time.Duration, f func(ctx context.Context) (bool, error)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	type answer struct {
		yes bool
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		defer cancel()
		var a answer
		defer func() {
			if p := recover(); p != nil {
				a = answer{err: fmt.Errorf("panic: %v", p)}
			}
			answered <- a
		}()
		a.yes, a.err = f(ctx)
	}()
	select {
	case a := <-answered:
		return a.yes && a.err == nil, a.err
	case <-ctx.Done():
		// f may have answered and ended the context by that.
		select {
		case a := <-answered:
			return a.yes && a.err == nil, a.err
		default:
		}
		return false, fmt.Errorf("no answer within %v: %w", timeout, context.Cause(ctx))
	}
}
