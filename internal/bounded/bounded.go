// Package bounded gives a question to a database an end.
package bounded

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	firstPause = 2 * time.Millisecond
	maxPause   = 100 * time.Millisecond
)

// A Question is a question to a database, and when to ask it again.
type Question struct {
	// Timeout bounds the question, all its attempts included.
	Timeout time.Duration
	// Ask is one attempt.
	Ask func(ctx context.Context) (bool, error)
	// Again reports whether an error of Ask is a broken connection, or another
	// reason to ask again. nil means never. What a lost attempt did must be safe to
	// do once more.
	Again func(err error) bool
}

// Answer asks until there is an answer, and returns an error once the time is over
// or the context has ended. It does not wait for Ask to notice that: a driver may
// look at its deadline only between two steps, and one step may be to wait for a
// machine that never answers. What Ask returns then is lost.
//
// A panic of Ask is returned as an error, because it would end the process in a
// goroutine of its own.
func (q Question) Answer(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, q.Timeout)
	type answer struct {
		yes bool
		err error
	}
	answered := make(chan answer, 1)
	var last atomic.Value // the error of the last attempt, as text
	go func() {
		defer cancel()
		var a answer
		defer func() {
			if p := recover(); p != nil {
				a = answer{err: fmt.Errorf("panic: %v", p)}
			}
			answered <- a
		}()
		a.yes, a.err = q.ask(ctx, &last)
	}()
	select {
	case a := <-answered:
		return a.yes && a.err == nil, a.err
	case <-ctx.Done():
		// The goroutine may have answered and ended the context by that.
		select {
		case a := <-answered:
			return a.yes && a.err == nil, a.err
		default:
		}
		return false, q.late(ctx, last.Load())
	}
}

// ask makes attempts until one has an answer.
func (q Question) ask(ctx context.Context, last *atomic.Value) (bool, error) {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		yes, err := q.Ask(ctx)
		switch {
		case err == nil, q.Again == nil, ctx.Err() == nil && !q.Again(err):
			return yes, err
		case ctx.Err() != nil:
			return false, q.late(ctx, last.Load())
		}
		last.Store(err.Error())
		select {
		case <-ctx.Done():
			return false, q.late(ctx, last.Load())
		case <-time.After(pause):
		}
	}
}

// late is the error when there was no answer in time.
func (q Question) late(ctx context.Context, last any) error {
	if last != nil {
		return fmt.Errorf("no answer within %v: %w; the last attempt: %v", q.Timeout, context.Cause(ctx), last)
	}
	return fmt.Errorf("no answer within %v: %w", q.Timeout, context.Cause(ctx))
}
