package service

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/flyext/flyext"
)

// webhooks tells Fly.io about the changes that customers make on the dashboard.
// Delivery is at least once, and the latest state of a stream comes last. Any number
// of machines can send.
//
// A webhook states what a stream is now. A job therefore says only "tell Fly.io about
// stream X". It is entered in the transaction that changes the stream. The worker
// reads the stream when it works the job.
//
// A stream has at most one job at a time, so its webhooks cannot overtake each other.
// A change while the job is running adds no second job. The worker therefore reads
// the stream's revision before the stream. After sending, it compares the revision in
// the transaction that ends the job:
//
//   - If the change came first, the revision differs, and the job starts over.
//   - If the end came first, the change waits for it, because both begin by locking
//     the revision. The change then finds no job that is running, and enters a new one.
//
// That transaction also ends a job that is given up. River would end the job later, and
// a change in between would find it running, and enter no new job. For the same reason
// River must not count the attempts: its limit is the highest possible number.
//
// A process that dies leaves its job running. After rescueAfter, another worker takes
// the job over, reads the stream and sends again.
//
// A process that was frozen for that long may wake up and send an outdated state,
// while or after the other worker sends. It detects this when it compares the
// revisions, and increments the revision itself. That makes the other worker's state
// outdated too, and enters a new job if the other worker has ended its job. Fly.io
// gets another webhook in either case.
//
// One case cannot be detected here: a request that arrives after its sender has died
// or given up. Fly.io can detect it by the webhook's timestamp.
//
// A nil *webhooks sends nothing.
type webhooks struct {
	store  *store
	sender *flyext.Webhooks
	client *river.Client[*sql.Tx]
	log    *slog.Logger
}

const (
	providerName = "logjam" // the provider's name at Fly.io

	sendTimeout = 10 * time.Second
	workTimeout = sendTimeout + 10*time.Second // includes the transactions before and after
	rescueAfter = workTimeout + 10*time.Second

	maxWorkers  = 20               // webhooks in flight from one process
	maxBackoff  = time.Hour        // between two attempts
	maxAttempts = 75               // about two days; then the job is given up
	keepTold    = 10 * time.Minute // how long completed jobs are kept
)

// tellFlyio is the job. It has only the stream's id, because the stream may change.
type tellFlyio struct {
	StreamID string `json:"stream_id"`
}

// Kind implements [river.JobArgs].
func (tellFlyio) Kind() string { return "tell-flyio" }

// InsertOpts implements [river.JobArgsWithInsertOpts]. A stream has one job at a time,
// including a job that was given up.
func (tellFlyio) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		MaxAttempts: math.MaxInt16, // isFinal has the limit
		UniqueOpts:  river.UniqueOpts{ByArgs: true, ByState: append(unfinished(), givenUp()...)},
	}
}

// unfinished returns the states of jobs that are waiting or running.
func unfinished() []rivertype.JobState {
	return []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
		rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}
}

// givenUp returns the states of jobs that Fly.io refused, or that failed for days.
func givenUp() []rivertype.JobState {
	return []rivertype.JobState{rivertype.JobStateCancelled, rivertype.JobStateDiscarded}
}

// newWebhooks returns the webhooks, and creates the queue's missing tables. Without a
// webhook secret it returns nil.
func newWebhooks(ctx context.Context, c config, s *store, log *slog.Logger) (*webhooks, error) {
	if c.webhookSecret == "" {
		return nil, nil
	}
	sender, err := flyext.NewWebhooks(flyext.WebhookConfig{
		ProviderName: providerName, Secret: c.webhookSecret, Endpoint: c.webhookURL,
		Attempts: 1, Timeout: sendTimeout, // the queue retries
	})
	if err != nil {
		return nil, err
	}
	queueLog := slog.New(warnings{log.Handler()})
	if err := createQueue(ctx, s.queue, queueLog); err != nil {
		return nil, err
	}
	w := &webhooks{store: s, sender: sender, log: log}
	if w.client, err = w.newClient(queueLog); err != nil {
		return nil, err
	}
	return w, nil
}

// createQueue creates the queue's missing tables.
func createQueue(ctx context.Context, queue riverQueue, log *slog.Logger) error {
	migrator, err := rivermigrate.New(queue, &rivermigrate.Config{Logger: log})
	if err != nil {
		return err
	}
	err = migrate(ctx, func() error {
		_, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("tables of the job queue: %w", oneLine(err))
	}
	return nil
}

// newClient returns the queue's client, which also works the jobs.
func (w *webhooks) newClient(log *slog.Logger) (*river.Client[*sql.Tx], error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, &teller{webhooks: w})
	return river.NewClient(w.store.queue, &river.Config{
		Queues:   map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: maxWorkers}},
		Workers:  workers,
		Logger:   log,
		PollOnly: true, // every second, because SQLite cannot notify
		// A job that was given up stays until it is retried.
		CancelledJobRetentionPeriod: -1,
		DiscardedJobRetentionPeriod: -1,
		CompletedJobRetentionPeriod: keepTold,
		JobTimeout:                  workTimeout,
		RescueStuckJobsAfter:        rescueAfter,
	})
}

// start works jobs until stop.
func (w *webhooks) start(ctx context.Context) error {
	if w == nil {
		return nil
	}
	return w.client.Start(context.WithoutCancel(ctx))
}

// stop stops the workers. It returns when the webhooks in flight have ended, or with
// an error when the context ends.
func (w *webhooks) stop(ctx context.Context) error {
	if w == nil {
		return nil
	}
	return w.client.Stop(ctx)
}

// tell enters a job for a stream, which runs after the transaction has committed. The
// transaction must have called [countChange].
func (w *webhooks) tell(ctx context.Context, tx *sql.Tx, streamID string) error {
	if w == nil {
		return nil
	}
	entered, err := w.client.InsertTx(ctx, tx, tellFlyio{streamID}, nil)
	if err != nil || !entered.UniqueSkippedAsDuplicate || !slices.Contains(givenUp(), entered.Job.State) {
		return err
	}
	// Replace the job that was given up by a new job, with all its attempts.
	if _, err := w.client.JobDeleteTx(ctx, tx, entered.Job.ID); err != nil {
		return err
	}
	_, err = w.client.InsertTx(ctx, tx, tellFlyio{streamID}, nil)
	return err
}

// countChange increments a stream's revision. Every transaction that changes a stream
// begins with it. In PostgreSQL, transactions for the same id thereby wait for each
// other, even before the stream exists. SQLite has only one writer.
func countChange(ctx context.Context, tx *sql.Tx, streamID string) error {
	if !isText(streamID) {
		return errNotFound
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO revisions (stream_id, revision) VALUES ($1, 1)
		ON CONFLICT (stream_id) DO UPDATE SET revision = revisions.revision + 1`, streamID)
	return err
}

// lockRevision returns a stream's revision, and locks it until the end of the
// transaction.
func lockRevision(ctx context.Context, tx *sql.Tx, streamID string) (revision int64, err error) {
	err = tx.QueryRowContext(ctx, `
		UPDATE revisions SET revision = revision WHERE stream_id = $1 RETURNING revision`, streamID).Scan(&revision)
	return revision, err
}

// A teller works the jobs.
type teller struct {
	river.WorkerDefaults[tellFlyio]
	*webhooks
}

// Work implements [river.Worker].
func (t *teller) Work(ctx context.Context, job *river.Job[tellFlyio]) error {
	id := job.Args.StreamID
	revision, s, err := t.read(ctx, id)
	if err != nil {
		return err
	}
	if s == nil {
		err = t.sender.Deleted(ctx, &flyext.Extension{ID: id})
	} else {
		err = t.sender.Updated(ctx, s.resource())
	}
	again, settleErr := t.settle(ctx, job, revision, err)
	switch {
	case settleErr != nil:
		return errors.Join(settleErr, err)
	case err != nil:
		return t.failed(job, err, again)
	case again:
		return river.JobSnooze(0)
	}
	return nil
}

// read returns a stream, or nil if it was deleted. The revision is read first, so it
// is the stream's revision or an earlier one.
func (t *teller) read(ctx context.Context, id string) (revision int64, s *stream, err error) {
	err = t.store.inTx(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT revision FROM revisions WHERE stream_id = $1`, id).Scan(&revision)
		if err != nil {
			return err
		}
		if s, err = findStream(ctx, tx, id); errors.Is(err, errDeleted) {
			return nil
		}
		return err
	})
	return revision, s, err
}

// settle ends the job if the webhook was sent or is given up, and the stream has not
// changed since. It returns true if the stream has changed, and the webhook must be
// sent again. It also compares after a failure, because a webhook that failed may have
// arrived.
func (t *teller) settle(ctx context.Context, job *river.Job[tellFlyio], revision int64, sendErr error) (again bool, err error) {
	// The job's context may have ended while the webhook was sent.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workTimeout-sendTimeout)
	defer cancel()
	id := job.Args.StreamID
	err = t.store.inTx(ctx, func(tx *sql.Tx) error {
		now, err := lockRevision(ctx, tx, id)
		again = err == nil && now != revision
		switch {
		case err != nil:
			return err
		case again:
			if err := countChange(ctx, tx, id); err != nil {
				return err
			}
			return t.tell(ctx, tx, id) // finds this job, unless another worker has ended it
		case sendErr == nil:
			_, err = river.JobCompleteTx[riverQueue](ctx, tx, job)
			return err
		case isFinal(job, sendErr):
			return t.giveUp(ctx, tx, job, sendErr)
		}
		return nil
	})
	return again, err
}

// isFinal reports whether a webhook that failed is not sent again: Fly.io has refused
// it, or it has failed for days.
func isFinal(job *river.Job[tellFlyio], err error) bool {
	webhook, ok := errors.AsType[*flyext.WebhookError](err)
	switch {
	case ok && !webhook.Temporary():
		return true
	case ok && webhook.RetryAfter > 0:
		return false // postponed by Fly.io
	}
	return job.Attempt >= maxAttempts
}

// giveUp ends a job that has failed, as [river.JobCompleteTx] ends a job that has
// succeeded. River has no such function. The driver's functions may change in another
// version of River.
func (t *teller) giveUp(ctx context.Context, tx *sql.Tx, job *river.Job[tellFlyio], reason error) error {
	now := time.Now().UTC()
	failure, err := json.Marshal(rivertype.AttemptError{At: now, Attempt: job.Attempt, Error: reason.Error()})
	if err != nil {
		return err
	}
	end := riverdriver.JobSetStateCancelled(job.ID, now, failure, nil)
	_, err = t.store.queue.UnwrapExecutor(tx).JobSetStateIfRunningMany(ctx, &riverdriver.JobSetStateIfRunningManyParams{
		ID:              []int64{end.ID},
		Attempt:         []*int{end.Attempt},
		ErrData:         [][]byte{end.ErrData},
		FinalizedAt:     []*time.Time{end.FinalizedAt},
		MetadataDoMerge: []bool{end.MetadataDoMerge},
		MetadataUpdates: [][]byte{end.MetadataUpdates},
		ScheduledAt:     []*time.Time{end.ScheduledAt},
		State:           []rivertype.JobState{end.State},
	})
	return err
}

// failed logs a failure, and returns what the queue does with the job. An outdated job
// is not given up, because the stream's current state has not been sent yet.
func (t *teller) failed(job *river.Job[tellFlyio], err error, outdated bool) error {
	attrs := []any{slog.String("stream", job.Args.StreamID), slog.Int("attempt", job.Attempt), slog.String("error", err.Error())}
	webhook, ok := errors.AsType[*flyext.WebhookError](err)
	switch {
	case isFinal(job, err) && outdated:
		t.log.Warn("outdated webhook failed; sending the current state", attrs...)
		return river.JobSnooze(time.Second)
	case isFinal(job, err):
		t.log.Error("webhook failed; giving up", attrs...)
		return river.JobCancel(err) // settle has ended the job
	case ok && webhook.RetryAfter > 0:
		wait := min(webhook.RetryAfter, maxBackoff)
		t.log.Warn("webhook postponed by Fly.io", append(attrs, slog.Duration("wait", wait))...)
		return river.JobSnooze(wait)
	}
	t.log.Warn("webhook failed; retrying", attrs...)
	return err
}

// NextRetry implements [river.Worker]. The waits are 1, 2, 4, … seconds, and at most an
// hour. Each wait is reduced by a random part of up to a half, so that the retries of
// many jobs spread.
func (t *teller) NextRetry(job *river.Job[tellFlyio]) time.Time {
	wait := maxBackoff
	if doublings := job.Attempt - 1; doublings < 12 {
		wait = min(time.Second<<doublings, maxBackoff)
	}
	return time.Now().Add(wait/2 + rand.N(wait/2))
}

// warnings drops the queue's log records below the level of warnings.
type warnings struct{ slog.Handler }

// Enabled implements [slog.Handler].
func (warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// WithAttrs implements [slog.Handler].
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
