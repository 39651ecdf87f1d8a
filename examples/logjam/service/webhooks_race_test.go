package service

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"slices"
	"strconv"
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

// clientOf returns a client of the queue with another worker.
func (d *told) clientOf(worker river.Worker[tellFlyio]) *river.Client[*sql.Tx] {
	d.t.Helper()
	workers := river.NewWorkers()
	river.AddWorker(workers, worker)
	client, err := river.NewClient(d.store.queue, &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}},
		Workers: workers, PollOnly: true, Logger: testLog(d.t),
	})
	d.do(err)
	return client
}

// workLate is like work, and calls do before the queue knows that the first job has
// ended.
func (d *told) workLate(do func()) {
	d.t.Helper()
	usual := d.webhooks.client
	d.webhooks.client = d.clientOf(&lateTeller{teller: &teller{webhooks: d.webhooks}, do: do})
	d.work()
	d.webhooks.client = usual
}

// setAttempt sets the number of attempts of all jobs.
func (d *told) setAttempt(n int) {
	d.t.Helper()
	_, err := d.store.db.ExecContext(d.t.Context(), `UPDATE river_job SET attempt = $1`, n)
	d.do(err)
}

// TestChangeAtTheEnd checks that a job ends in the transaction that compares the
// revisions. A later change then finds no job, and enters a new one.
func TestChangeAtTheEnd(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		d := newTold(t, db)
		provision(t, d.Logjam, order42())
		d.sleep("42")
		d.workLate(func() { d.wake("42") })
		d.work()
		d.wantTold("42", "ready")
	})
}

// TestChangeAfterGivingUp checks that a job is given up in the transaction that
// compares the revisions. A later change then replaces it.
func TestChangeAfterGivingUp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		status   int // Fly.io's answer
		attempts int // the number of earlier attempts
	}{
		{"refused", http.StatusUnprocessableEntity, 0},
		{"the last attempt", http.StatusServiceUnavailable, maxAttempts - 1},
	}
	onEach(t, func(t *testing.T, db string) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				d := newTold(t, another(t, db))
				provision(t, d.Logjam, order42())
				d.sleep("42")
				d.setAttempt(test.attempts)
				d.fly.SetFault(flytest.StatusAnswer(test.status))
				d.workLate(func() {
					jobs := d.jobs(givenUp()...)
					if len(jobs) != 1 || len(jobs[0].Errors) != 1 || !strings.Contains(jobs[0].Errors[0].Error, strconv.Itoa(test.status)) {
						t.Errorf("the jobs that were given up are %+v, want one with the status %d", jobs, test.status)
					}
					d.fly.SetFault(nil)
					d.wake("42")
				})
				d.work()
				d.wantTold("42", "ready")
				if jobs := d.jobs(givenUp()...); len(jobs) != 0 {
					t.Errorf("%d jobs are given up, want none", len(jobs))
				}
			})
		}
	})
}

// A failingTeller fails before it reads the stream, as a teller does whose database is
// away. It then calls do.
type failingTeller struct {
	river.WorkerDefaults[tellFlyio]
	do func()
}

func (w *failingTeller) Work(context.Context, *river.Job[tellFlyio]) error {
	w.do()
	return errors.New("the database is away")
}

// TestQueueGivesNothingUp checks that a job which fails outside of settle at its last
// attempt is kept for another attempt.
func TestQueueGivesNothingUp(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		d := newTold(t, db)
		provision(t, d.Logjam, order42())
		d.sleep("42")
		d.setAttempt(maxAttempts)
		worked := make(chan struct{})
		client := d.clientOf(&failingTeller{do: sync.OnceFunc(func() { close(worked) })})
		d.do(client.Start(t.Context()))
		<-worked
		d.do(client.Stop(t.Context())) // waits for the job's new state
		jobs := d.jobs(unfinished()...)
		if len(jobs) != 1 || len(jobs[0].Errors) == 0 {
			t.Errorf("got the jobs %+v, want one that will be retried", d.jobs())
		}
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
		again, err := frozen.settle(t.Context(), &river.Job[tellFlyio]{JobRow: job, Args: tellFlyio{"42"}}, revision, nil)
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
