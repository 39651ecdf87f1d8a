// Package handoff runs a function that may take too long on a goroutine of its
// own, and waits for it as long as there is time.
//
// Starting a goroutine and waiting for it on a channel would do the same. But
// both wake another processor, which finds nothing to do: on a machine that is
// not busy that can cost as much as all else that a request needs. A coroutine,
// which is what [iter.Pull] makes of an iterator, is switched to and back
// directly.
package handoff

import (
	"iter"
	"sync/atomic"
	"time"
)

// A Task is what may take too long.
type Task interface {
	// Run does it. It must recover from its panics. It may end its goroutine
	// ([runtime.Goexit]), but must not leave it locked to a thread
	// ([runtime.LockOSThread]): a coroutine ends on the thread that it began on,
	// and the runtime stops a program in which it cannot.
	Run()
	// TimeOut is called when the time is over and Run has not ended, be it that
	// it ends at that very moment.
	TimeOut()
	// Late is called when Run has ended after its time, on Run's goroutine.
	Late()
}

// Do runs a task, and returns true when Run has ended. When the time is over
// before that, it returns false and leaves Run alone; Late is called in the end.
// Exactly one of the two happens, so that each may clean up without asking.
func Do(timeout time.Duration, task Task) (ended bool) {
	h := &handoff{task: task, timeout: timeout}
	next, stop := iter.Pull(h.iterate)
	h.stop = stop
	switch how, _ := next(); how {
	case timedOut:
		close(h.resumed)
		return false
	case exited:
		go stop() // which ends its goroutine with that of Run
	}
	return true
}

// How an iteration came back to Do.
const (
	_        = iota // Run returned: the iteration is over
	exited          // Run ended its goroutine
	timedOut        // Run goes on
)

type handoff struct {
	task    Task
	timeout time.Duration
	stop    func()
	yield   func(int) bool

	// settled is set by whoever is first: Run when it ends, or the timer, which
	// makes the channels before.
	settled atomic.Bool
	resumed chan struct{} // closed when Do has come back without Run
	yielded chan struct{} // closed when the timer has nothing more to do
}

// iterate is an iterator over nothing, if Run returns in time. Otherwise the
// timer yields in its place: a value is for whoever waits in next, no matter
// from which goroutine it comes, and nobody has to ask Run.
func (h *handoff) iterate(yield func(int) bool) {
	h.yield = yield
	timer := time.AfterFunc(h.timeout, h.timeOut)
	ended := false
	defer func() {
		if h.settled.CompareAndSwap(false, true) {
			timer.Stop()
			if !ended {
				yield(exited) // and so to Do, before the goroutine is gone
			}
			return
		}
		h.task.Late()
		<-h.resumed
		go h.stop() // lets yield return, and waits for this iteration to end
		<-h.yielded
	}()
	h.task.Run()
	ended = true
}

func (h *handoff) timeOut() {
	h.task.TimeOut()
	h.resumed, h.yielded = make(chan struct{}), make(chan struct{})
	if h.settled.CompareAndSwap(false, true) {
		h.yield(timedOut)
		close(h.yielded)
	}
}
