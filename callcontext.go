package flyext

import (
	"context"
	"sync"
	"time"
)

// A callContext is the context of a call: that of its request without its end,
// and with one of its own. [context.WithTimeout] would have a timer beside the
// one that the call has anyway.
type callContext struct {
	context.Context // never ends
	deadline        time.Time

	mu    sync.Mutex
	err   error
	done  chan struct{} // once somebody asked for it
	after map[*func()]struct{}
}

// Deadline implements [context.Context].
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements [context.Context].
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
	}
	return c.done
}

// Err implements [context.Context].
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc is what package context asks a context of another package for, so
// that a context made from it needs no goroutine to wait for its end.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = make(map[*func()]struct{})
	}
	c.after[&f] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, there := c.after[&f]
		delete(c.after, &f)
		return there
	}
}

// String keeps fmt from reading what others may be writing.
func (c *callContext) String() string { return "flyext.callContext" }

// end ends the context, for the first reason that is given.
func (c *callContext) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	if c.done != nil {
		close(c.done)
	}
	for f := range c.after {
		go (*f)()
	}
	c.after = nil
}
