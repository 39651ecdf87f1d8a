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

// whileOnItsWay calls do once, while Fly.io has received the first webhook and has not
// answered it.
func (d *told) whileOnItsWay(do func()) {
	var once sync.Once
	d.fly.SetFault(func(sound http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			once.Do(do)
			sound.ServeHTTP(w, r)
		})
	})
}

// TestChangeWhileOnItsWay checks that a change that follows the worker's read of the
// stream gets a webhook too, and that this webhook comes last.
func TestChangeWhileOnItsWay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(d *told)
		want   string
	}{
		{"woken up", func(d *told) { d.wake("42") }, "ready"},
		{"deleted", func(d *told) { d.do(d.remove(d.t.Context(), nathanOf("org"), "42")) }, "deleted"},
		{"deleted by Fly.io", func(d *told) { d.do(d.Deprovision(d.t.Context(), "42")) }, "deleted"},
		{"woken up and put to sleep", func(d *told) { d.wake("42"); d.sleep("42") }, "asleep"},
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

// TestRefusedAndOutOfDate checks that a refused webhook is retried if the stream has
// changed since.
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

// A lateTeller works like a teller. After its first job it calls do, before the queue
// knows that the job has ended.
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

// TestChangeAtTheEnd checks that a job ends in the transaction that compares the
// revisions. A later change then finds no job, and enters a new one.
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

// TestFrozenWorker checks a worker that was frozen, lost its job to another worker,
// and then sends an outdated state. The worker must have the webhook sent again.
func TestFrozenWorker(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		d := newTold(t, db)
		provision(t, d.Logjam, order42())
		d.sleep("42")
		frozen := &teller{webhooks: d.webhooks}
		revision, s, err := frozen.read(t.Context(), "42")
		d.do(err)

		// Another worker takes the job over and ends it. The stream changes, and Fly.io
		// gets a webhook for that too.
		d.wake("42")
		d.work()
		d.wantTold("42", "ready")
		job := d.jobs()[0]

		d.do(frozen.sender.Updated(t.Context(), s.resource())) // the frozen worker wakes up
		d.wantTold("42", "asleep")
		again, err := frozen.settle(t.Context(), &river.Job[tellFlyio]{JobRow: job, Args: tellFlyio{"42"}}, revision, true)
		if !again || err != nil {
			t.Errorf("settle returned %t, %v; want true", again, err)
		}
		d.work()
		d.wantTold("42", "ready")

		// The other worker may still be sending. The new revision tells it that its state
		// is outdated too.
		current, _, err := frozen.read(t.Context(), "42")
		d.do(err)
		if current <= revision+1 {
			t.Errorf("revision %d after %d: a worker that is sending cannot detect the change", current, revision)
		}
	})
}

// TestProvisionOnTwoMachines checks that simultaneous requests for one stream get the
// same secret from both machines.
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
				t.Fatal("the answers for one stream have different secrets")
			}
		}
	})
}
