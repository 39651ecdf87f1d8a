package handoff

import (
	"testing"
	"testing/synctest"
	"time"
)

type funcs struct{ run, late func() }

func (f funcs) Run()   { f.run() }
func (funcs) TimeOut() {}
func (f funcs) Late()  { f.late() }

// What only happens when Run ends and the timer fires at one instant, step by
// step.
func TestWhoIsFirst(t *testing.T) {
	t.Parallel()
	t.Run("the timer comes too late", func(t *testing.T) {
		t.Parallel()
		h := &handoff{timeout: time.Hour, task: funcs{run: func() {}, late: func() { t.Error("late was called") }}}
		h.iterate(func(int) bool { t.Error("it yielded"); return false })
		if !h.settled.Load() {
			t.Error("the timer is not told")
		}
		h.timeOut()
	})
	t.Run("Run ends while Do is on its way back, and while the timer yields", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h, late, stopped, over := &handoff{timeout: time.Second}, false, false, false
			h.task = funcs{run: func() { time.Sleep(time.Second); synctest.Wait() }, late: func() { late = true }}
			h.stop = func() { stopped = true }
			yielding := make(chan int)
			go func() {
				h.iterate(func(how int) bool { yielding <- how; return false })
				over = true
			}()
			check := func(when string, wantStopped, wantOver bool) {
				t.Helper()
				synctest.Wait()
				if !late || stopped != wantStopped || over != wantOver {
					t.Errorf("%s: late %t, stopped %t, over %t", when, late, stopped, over)
				}
			}
			time.Sleep(2 * time.Second)
			check("Do has not come back", false, false)
			close(h.resumed)
			check("the timer still yields", true, false)
			if how := <-yielding; how != timedOut {
				t.Errorf("it yields %d", how)
			}
			check("the timer is done", true, true)
		})
	})
}
