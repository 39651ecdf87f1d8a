package service

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/flyext/flyext/flytest"
)

// whileOnItsWay runs something while a webhook is on its way, the first time: Fly.io
// has it, and has not answered.
func (d *told) whileOnItsWay(do func()) {
	var once sync.Once
	d.fly.SetFault(func(sound http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			once.Do(do)
			sound.ServeHTTP(w, r)
		})
	})
}

// TestChangeWhileOnItsWay: what changes after the worker has read the stream is
// told too, and last, whoever changed it.
func TestChangeWhileOnItsWay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(d *told)
		want   string
	}{
		{"woken up", func(d *told) { d.wake("42") }, "ready"},
		{"removed", func(d *told) { d.do(d.remove(d.t.Context(), nathanOf("org"), "42")) }, "deleted"},
		{"deleted by Fly.io", func(d *told) { d.do(d.Deprovision(d.t.Context(), "42")) }, "deleted"},
		{"woken up, and put to sleep", func(d *told) { d.wake("42"); d.sleep("42") }, "asleep"},
	}
	onEach(t, func(t *testing.T, db string) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				d := newTold(t, another(t, db))
				provision(t, d.Logjam, order42())
				d.sleep("42")
				d.whileOnItsWay(func() { test.change(d) })
				d.work()
				d.wantTold("42", test.want)
				if hooks := d.fly.Webhooks(); len(hooks) != 2 {
					t.Errorf("%d webhooks, want 2", len(hooks))
				}
			})
		}
	})
}

// TestRefusedAndOutOfDate: what Fly.io refuses is not given up where the stream
// has changed since.
func TestRefusedAndOutOfDate(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		d := newTold(t, db)
		provision(t, d.Logjam, order42())
		d.sleep("42")
		var once sync.Once
		d.fly.SetFault(func(sound http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answer := sound
				once.Do(func() {
					d.do(d.Deprovision(t.Context(), "42"))
					answer = flytest.StatusAnswer(http.StatusUnprocessableEntity)(sound)
				})
				answer.ServeHTTP(w, r)
			})
		})
		d.work()
		d.wantTold("42", "deleted")
	})
}

// A lateTeller works as a teller does, and something happens just then, the
// first time: when it is done, and the queue does not know yet.
type lateTeller struct {
	*teller
	once sync.Once
	do   func()
}

func (w *lateTeller) Work(ctx context.Context, job *river.Job[tellFlyio]) error {
	err := w.teller.Work(ctx, job)
	w.once.Do(w.do)
	return err
}

// TestChangeAtTheEnd: the job of a stream ends in the transaction that compares,
// so that what changes after it finds none.
func TestChangeAtTheEnd(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		d := newTold(t, db)
		provision(t, d.Logjam, order42())
		d.sleep("42")
		workers := river.NewWorkers()
		river.AddWorker(workers, &lateTeller{teller: &teller{webhooks: d.webhooks}, do: func() { d.wake("42") }})
		client, err := river.NewClient(d.store.queue, &river.Config{
			Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}},
			Workers: workers, PollOnly: true, Logger: testLog(t),
		})
		d.do(err)
		usual := d.webhooks.client
		d.webhooks.client = client
		d.work()
		d.webhooks.client = usual
		d.work()
		d.wantTold("42", "ready")
	})
}

// TestFrozenWorker: a worker that was taken for dead, and sends what is out of
// date by then, sees to it that Fly.io is told again.
func TestFrozenWorker(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		d := newTold(t, db)
		provision(t, d.Logjam, order42())
		d.sleep("42")
		frozen := &teller{webhooks: d.webhooks}
		revision, s, err := frozen.read(t.Context(), "42")
		d.do(err)

		// Another worker took the job over and has ended it; the stream changed,
		// and that was told too.
		d.wake("42")
		d.work()
		d.wantTold("42", "ready")
		job := d.jobs()[0]

		d.do(frozen.sender.Updated(t.Context(), s.resource())) // it wakes up
		d.wantTold("42", "asleep")
		again, err := frozen.settle(t.Context(), &river.Job[tellFlyio]{JobRow: job, Args: tellFlyio{"42"}}, revision, true)
		if !again || err != nil {
			t.Errorf("got %t, %v", again, err)
		}
		d.work()
		d.wantTold("42", "ready")

		// The other one may be at it still: it is out of date by that, too.
		current, _, err := frozen.read(t.Context(), "42")
		d.do(err)
		if current <= revision+1 {
			t.Errorf("revision %d after %d: who sends now does not find out", current, revision)
		}
	})
}

// TestProvisionOnTwoMachines: whoever comes second gets the first one's secret.
func TestProvisionOnTwoMachines(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		machines := []*Logjam{newLogjam(t, db), newLogjam(t, db)}
		for range 20 {
			order := order42()
			order.ID = strings.Repeat("x", 1+len(order.ID)) + time.Now().Format(time.RFC3339Nano)
			secrets := make([]string, 8)
			var calls sync.WaitGroup
			for i := range secrets {
				calls.Go(func() {
					x, err := machines[i%2].Provision(t.Context(), order)
					if err != nil {
						t.Error(err)
						return
					}
					secrets[i] = x.Secrets[secretName]
				})
			}
			calls.Wait()
			if slices.Sort(secrets); secrets[0] != secrets[len(secrets)-1] {
				t.Fatal("one stream has two secrets")
			}
		}
	})
}
