package handoff_test

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext/internal/handoff"
)

type task struct {
	run, late func()
	timedOut  *atomic.Int32
}

func (t task) Run()     { t.run() }
func (t task) TimeOut() { t.timedOut.Add(1) }
func (t task) Late()    { t.late() }

// do is [handoff.Do] for two functions.
func do(timeout time.Duration, run, late func()) bool {
	var timedOut atomic.Int32
	ended := handoff.Do(timeout, task{run, late, &timedOut})
	if !ended && timedOut.Load() != 1 {
		panic("it is late, and was not told so first")
	}
	return ended
}

func never(t *testing.T) func() { return func() { t.Error("late was called") } }

func TestInTime(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		f    func()
	}{
		{"returns", func() {}},
		{"waits and returns", func() { time.Sleep(time.Second - 1) }},
		{"ends its goroutine", runtime.Goexit},
		{"waits and ends its goroutine", func() { time.Sleep(time.Second - 1); runtime.Goexit() }},
		{"recovers from a panic", func() { defer func() { _ = recover() }(); panic("no") }},
		{"waits for another goroutine", func() {
			c := make(chan int)
			go func() { c <- 1 }()
			<-c
		}},
		{"is switched to and from once more", func() {
			if !do(time.Second, func() { time.Sleep(time.Millisecond) }, nil) {
				panic("the inner one was late")
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // which ends when no goroutine is left
				did := false
				if !do(time.Second, func() { did = true; test.f() }, never(t)) || !did {
					t.Errorf("ended is false, or it never began (%t)", did)
				}
			})
		})
	}
}

func TestTooLate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  func()
	}{
		{"returns", func() {}},
		{"ends its goroutine", runtime.Goexit},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var done, lateCalls atomic.Int32
				if do(time.Second, func() { time.Sleep(time.Minute); done.Add(1); test.end() }, func() { lateCalls.Add(1) }) {
					t.Error("ended is true")
				}
				if took := time.Since(start); took != time.Second {
					t.Errorf("it came back after %v", took)
				}
				synctest.Wait()
				if lateCalls.Load() != 0 {
					t.Error("late was called before it ended")
				}
				time.Sleep(time.Hour)
				if done.Load() != 1 || lateCalls.Load() != 1 {
					t.Errorf("it ended %d times, and late was called %d times", done.Load(), lateCalls.Load())
				}
			})
		})
	}
}

// What is left alone for ever costs its goroutine, and holds nobody up.
func TestNeverEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		for range 100 {
			if do(time.Second, func() { <-release }, func() {}) {
				t.Error("ended is true")
			}
		}
		close(release)
	})
}

// At the very moment of the deadline either of them is first, and never both.
func TestAtTheDeadline(t *testing.T) {
	t.Parallel()
	var ended, late, wrong atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				var finished atomic.Int32
				lateDone := make(chan struct{})
				in := do(50*time.Microsecond, func() {
					for start := time.Now(); time.Since(start) < 50*time.Microsecond; {
						runtime.Gosched()
					}
					finished.Add(1)
				}, func() { finished.Add(1); close(lateDone) })
				switch {
				case in && finished.Load() == 1:
					ended.Add(1)
				case !in:
					<-lateDone
					late.Add(1)
					if finished.Load() != 2 {
						wrong.Add(1)
					}
				default:
					wrong.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if ended.Load()+late.Load() != 8*500 || wrong.Load() != 0 {
		t.Errorf("%d ended, %d were late, %d neither or both", ended.Load(), late.Load(), wrong.Load())
	}
	t.Logf("%d ended, %d were late", ended.Load(), late.Load())
}

// No goroutine is left behind, whichever way it went.
func TestLeavesNothingBehind(t *testing.T) {
	for range 100 {
		do(time.Minute, func() {}, nil)
		do(time.Minute, runtime.Goexit, nil)
		lateDone := make(chan struct{})
		do(1, func() { time.Sleep(time.Millisecond) }, func() { close(lateDone) })
	}
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !strings.Contains(string(stacks), "internal/handoff.") || !strings.Contains(string(stacks), "iter.Pull") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("goroutines are left:\n%s", stacks)
		}
	}
}

func BenchmarkDo(b *testing.B) {
	var nothing handoff.Task = task{run: func() {}}
	b.ReportAllocs()
	for b.Loop() {
		handoff.Do(time.Minute, nothing)
	}
}

// BenchmarkGoroutine is what Do saves.
func BenchmarkGoroutine(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ended := make(chan struct{})
		timer := time.NewTimer(time.Minute)
		go func() { close(ended) }()
		select {
		case <-ended:
		case <-timer.C:
		}
		timer.Stop()
	}
}
