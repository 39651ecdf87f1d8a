// Package bounded limits the time of a database query and retries it within that
// time.
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

// A Question is a database query with its timeout and its condition for a retry.
type Question struct {
	// Timeout limits the query with all its attempts.
	Timeout time.Duration
	// Ask makes one attempt. Repeating an attempt whose result was lost must be
	// safe.
	Ask func(ctx context.Context) (bool, error)
	// Again reports whether to retry after an error of Ask, such as a broken
	// connection. nil means never.
	Again func(err error) bool
}

// Answer retries until an attempt is final. It returns an error if the timeout
// expires or ctx ends first. It then does not wait for Ask to return: a driver may
// ignore its deadline while it waits for an unresponsive machine. The result of
// that attempt is discarded.
//
// A panic of Ask is returned as an error, because a panic in a separate goroutine
// would end the process.
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
		// The goroutine may have ended the context after sending its answer.
		select {
		case a := <-answered:
			return a.yes && a.err == nil, a.err
		default:
		}
		return false, q.late(ctx, last.Load())
	}
}

// ask makes attempts until one is final.
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

// late returns the error for a query that took too long.
func (q Question) late(ctx context.Context, last any) error {
	if last != nil {
		return fmt.Errorf("no response within %v: %w; last error: %v", q.Timeout, context.Cause(ctx), last)
	}
	return fmt.Errorf("no response within %v: %w", q.Timeout, context.Cause(ctx))
}
