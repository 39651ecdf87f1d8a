package service

import (
	"database/sql"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const webhookSecret = "a webhook secret"

// A told is a Logjam with webhooks, and a receiver for them. The workers run only
// when a test calls work.
type told struct {
	t *testing.T
	*Logjam
	fly *flytest.WebhookReceiver
}

func newTold(t *testing.T, db string) *told {
	t.Helper()
	fly := &flytest.WebhookReceiver{Secret: webhookSecret}
	server := httptest.NewServer(fly)
	t.Cleanup(server.Close)
	return newToldAt(t, db, fly, server.URL+"/hook")
}

func newToldAt(t *testing.T, db string, fly *flytest.WebhookReceiver, url string) *told {
	t.Helper()
	l := newLogjam(t, db)
	c := config{webhookSecret: webhookSecret, webhookURL: url}
	w, err := newWebhooks(t.Context(), c, l.store, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	l.webhooks = w
	return &told{t, l, fly}
}

// nathanOf returns a session of the user nathan for an organization.
func nathanOf(organizationID string) *session {
	return &session{UserID: nathan, UserName: "Nathan", OrganizationID: organizationID}
}

// do stops the test if err is not nil.
func (d *told) do(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *told) sleep(id string) {
	d.t.Helper()
	d.do(d.setStatus(d.t.Context(), nathanOf("org"), id, asleep))
}

func (d *told) wake(id string) {
	d.t.Helper()
	d.do(d.setStatus(d.t.Context(), nathanOf("org"), id, flyext.Ready))
}

// jobs returns the jobs in the given states, or all jobs if none is given.
func (d *told) jobs(states ...rivertype.JobState) []*rivertype.JobRow {
	d.t.Helper()
	if len(states) == 0 {
		states = rivertype.JobStates()
	}
	list, err := d.webhooks.client.JobList(d.t.Context(), river.NewJobListParams().States(states...).First(1000))
	d.do(err)
	return list.Jobs
}

// work starts the workers, and stops them when all jobs have ended.
func (d *told) work() {
	d.t.Helper()
	d.do(d.webhooks.start(d.t.Context()))
	deadline := time.Now().Add(time.Minute)
	for len(d.jobs(unfinished()...)) > 0 {
		if time.Now().After(deadline) {
			d.t.Fatal("jobs are left after a minute")
		}
		time.Sleep(20 * time.Millisecond)
	}
	d.do(d.webhooks.stop(d.t.Context()))
}

// wantTold checks the last webhook that Fly.io received for a stream: its status,
// "deleted", or "" for none.
func (d *told) wantTold(id, want string) {
	d.t.Helper()
	got := ""
	if hook, ok := d.fly.Resource(id); ok {
		got = string(hook.Resource.Status)
		if hook.Deleted() {
			got = "deleted"
		}
	}
	if got != want {
		d.t.Errorf("Fly.io has the status %q of stream %s, want %q", got, id, want)
	}
}

// TestTold checks which changes send which webhook.
func TestTold(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(d *told)
		want   string // status in the webhook for stream 42; "" means no webhook
	}{
		{"put to sleep", func(d *told) { d.sleep("42") }, "asleep"},
		{"put to sleep twice", func(d *told) { d.sleep("42"); d.sleep("42") }, "asleep"},
		{"woken up", func(d *told) { d.sleep("42"); d.wake("42") }, "ready"},
		{"awake already", func(d *told) { d.wake("42") }, ""},
		{"deleted", func(d *told) { d.do(d.remove(d.t.Context(), nathanOf("org"), "42")) }, "deleted"},
		{"deleted before the first webhook", func(d *told) {
			d.sleep("42")
			d.do(d.remove(d.t.Context(), nathanOf("org"), "42"))
		}, "deleted"},
		{"deleted by Fly.io before the first webhook", func(d *told) {
			d.sleep("42")
			d.do(d.Deprovision(d.t.Context(), "42"))
		}, "deleted"},
		{"changed only by Fly.io", func(d *told) {
			_, err := d.Update(d.t.Context(), "42", &flyext.UpdateRequest{Name: flyext.OptionalOf("new")})
			d.do(err)
		}, ""},
		{"another's stream", func(d *told) {
			for _, err := range []error{
				d.setStatus(d.t.Context(), nathanOf("another"), "42", asleep), d.remove(d.t.Context(), nathanOf("another"), "42"),
			} {
				wantError(d.t, err, errNotFound)
			}
		}, ""},
		{"rolled back", func(d *told) {
			failure := errors.New("the disk is full")
			err := d.store.inTx(d.t.Context(), func(tx *sql.Tx) error {
				if err := d.webhooks.tell(d.t.Context(), tx, "42"); err != nil {
					return err
				}
				return failure
			})
			if !errors.Is(err, failure) {
				d.t.Fatal(err)
			}
		}, ""},
	}
	onEach(t, func(t *testing.T, db string) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				d := newTold(t, another(t, db))
				provision(t, d.Logjam, order42())
				test.change(d)
				if jobs := len(d.jobs()); jobs > 1 || (jobs == 1) != (test.want != "") {
					t.Errorf("%d jobs, want one only if a webhook is due", jobs)
				}
				d.work()
				d.wantTold("42", test.want)
				if hooks := d.fly.Webhooks(); len(hooks) > 1 {
					t.Errorf("%d webhooks, want at most one", len(hooks))
				}
				if hook, ok := d.fly.Resource("42"); ok && !hook.Deleted() {
					x, err := d.Fetch(t.Context(), "42")
					if err != nil || x.Name != hook.Resource.Name || string(x.Extra["plan"]) != string(hook.Resource.Extra["plan"]) {
						t.Errorf("the webhook has %+v, but Fetch returns %+v, %v", hook.Resource, x, err)
					}
				}
			})
		}
	})
}

// TestWebhooksOff checks that without a webhook secret there are no webhooks and no
// queue.
func TestWebhooksOff(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		l := newLogjam(t, db)
		w, err := newWebhooks(t.Context(), config{}, l.store, testLog(t))
		if w != nil || err != nil {
			t.Fatalf("got %v, %v", w, err)
		}
		provision(t, l, order42())
		if err := l.setStatus(t.Context(), nathanOf("org"), "42", asleep); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.start(t.Context()), w.stop(t.Context())); err != nil {
			t.Error(err)
		}
		if _, err := l.store.db.ExecContext(t.Context(), `SELECT 1 FROM river_job`); err == nil {
			t.Error("the queue's tables exist")
		}
	})
}

// TestGivenUp checks that a refused webhook is listed for the operator. It is retried
// when the operator asks, or when the stream changes.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		d := newTold(t, db)
		c := databaseConfig(db)
		c.webhookSecret, c.webhookURL = webhookSecret, "http://127.0.0.1:1/"
		operator := func(action string) (string, error) {
			var out strings.Builder
			c.webhookAction = action
			err := untold(t.Context(), c, &out, testLog(t))
			return out.String(), err
		}
		for _, id := range []string{"42", "43"} {
			order := order42()
			order.ID = id
			provision(t, d.Logjam, order)
			d.sleep(id)
		}
		if text, err := operator("list"); err != nil || !strings.Contains(text, "No failed webhooks") {
			t.Errorf("the list before the failure is %s, %v", text, err)
		}
		d.fly.SetFault(flytest.StatusAnswer(http.StatusUnauthorized))
		d.work()
		text, err := operator("list")
		if err == nil || !strings.Contains(err.Error(), "2 webhooks were given up") || strings.Count(text, "given up") != 2 ||
			!strings.Contains(text, `"42"`) || !strings.Contains(text, "status 401") {
			t.Errorf("the list after the failure is %s, %v", text, err)
		}

		d.fly.SetFault(nil)
		d.wake("43") // a change retries without an operator
		d.work()
		d.wantTold("43", "ready")
		d.wantTold("42", "")
		if text, err = operator("retry"); err != nil || !strings.HasPrefix(text, "1 webhooks") {
			t.Errorf("retry printed %s, %v", text, err)
		}
		d.work()
		d.wantTold("42", "asleep")
		if text, err := operator("list"); err != nil || !strings.Contains(text, "No failed webhooks") {
			t.Errorf("the list at the end is %s, %v", text, err)
		}
	})
}

// TestFailed checks which failed jobs are cancelled, snoozed or retried.
func TestFailed(t *testing.T) {
	t.Parallel()
	d := newTold(t, dbPath(t))
	teller := &teller{webhooks: d.webhooks}
	refusal := func(status int, after time.Duration) *flyext.WebhookError {
		return &flyext.WebhookError{Status: status, RetryAfter: after, Attempts: 1}
	}
	cancelled, snoozed := errors.New("cancelled"), errors.New("snoozed")
	for _, test := range []struct {
		name     string
		err      error
		attempt  int
		outdated bool
		want     error // nil means that failed returns err itself
		snooze   time.Duration
	}{
		{"no answer", &flyext.WebhookError{Err: errors.New("connection refused")}, 1, false, nil, 0},
		{"server error", refusal(503, 0), 1, false, nil, 0},
		{"server error, the last time", refusal(503, 0), maxAttempts, false, cancelled, 0},
		{"server error, out of date", refusal(503, 0), 1, true, nil, 0},
		{"server error, the last time, out of date", refusal(503, 0), maxAttempts, true, snoozed, time.Second},
		{"refused", refusal(422, 0), 1, false, cancelled, 0},
		{"refused, out of date", refusal(422, 0), 1, true, snoozed, time.Second},
		{"refused until later", refusal(403, time.Minute), 1, false, cancelled, 0},
		{"secret refused", refusal(401, 0), 1, false, cancelled, 0},
		{"too many", refusal(429, 30*time.Second), 1, false, snoozed, 30 * time.Second},
		{"too many, the last time", refusal(429, 30*time.Second), maxAttempts, false, snoozed, 30 * time.Second},
		{"too many for days", refusal(429, 100*time.Hour), 1, false, snoozed, maxBackoff},
		{"database", sql.ErrConnDone, 1, false, nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			job := &river.Job[tellFlyio]{JobRow: &rivertype.JobRow{Attempt: test.attempt}, Args: tellFlyio{"42"}}
			err := teller.failed(job, test.err, test.outdated)
			var got error
			if _, ok := errors.AsType[*rivertype.JobCancelError](err); ok {
				got = cancelled
			} else if snooze, ok := errors.AsType[*rivertype.JobSnoozeError](err); ok {
				got = snoozed
				if snooze.Duration != test.snooze {
					t.Errorf("snoozed for %v, want %v", snooze.Duration, test.snooze)
				}
			} else if err != test.err {
				t.Errorf("got %v, want %v", err, test.err)
			}
			if got != test.want {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestNextRetry(t *testing.T) {
	t.Parallel()
	var total time.Duration
	for attempt := 1; attempt < maxAttempts; attempt++ {
		wait := time.Until((&teller{}).NextRetry(&river.Job[tellFlyio]{JobRow: &rivertype.JobRow{Attempt: attempt}}))
		longest := maxBackoff
		if attempt < 20 {
			longest = min(time.Second<<(attempt-1), maxBackoff)
		}
		if wait > longest || wait < longest/2-time.Second/10 {
			t.Errorf("after attempt %d the wait is %v, want %v to %v", attempt, wait, longest/2, longest)
		}
		total += wait
	}
	if total < 24*time.Hour {
		t.Errorf("the job is given up after %v, want at least a day", total)
	}
}

// TestStartedAtOnce checks that machines that start at the same time create one set
// of tables and one key check.
func TestStartedAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		errs := make([]error, 6)
		var starting sync.WaitGroup
		for i := range errs {
			starting.Go(func() {
				s, err := openDatabase(t.Context(), db)
				if err == nil {
					defer s.close()
					_, err = newWebhooks(t.Context(), config{webhookSecret: "w"}, s, testLog(t))
				}
				errs[i] = err
			})
		}
		starting.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		d := newTold(t, db)
		provision(t, d.Logjam, order42())
		d.sleep("42")
		d.work()
		d.wantTold("42", "asleep")
	})
}
