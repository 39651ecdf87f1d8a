package service

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/flyext/flyext"
)

// webhooks tell Fly.io what becomes of streams, other than by its own requests:
// at least once, the latest state last, from any number of machines.
//
// A webhook says what a stream is now. So what has to be kept is only "tell
// Fly.io about stream X": one job, entered in the transaction that changes the
// stream. Whoever works it reads the stream as it is by then.
//
// There is one job for a stream at a time, so no two webhooks of it race each
// other. A stream that changes while its job is being worked gets no second
// one; so the worker reads the stream's revision before the stream, and when it
// has sent, it compares, in the transaction that ends the job:
//
//   - The change came first: the revision is another one, and the job starts
//     over.
//   - The end came first: the change waits for it, since both begin by locking
//     the revision, finds no job, and enters one.
//
// A process that dies leaves its job running; another one takes it over after
// rescueAfter, reads and sends anew. A process that was merely frozen for so
// long, and wakes up, may send what is out of date by then, beside another
// worker. It finds that when it compares, and counts as a change itself: then
// another worker, be it done or not, is out of date too, and Fly.io is told
// once more. A request that arrives after its sender has died or given it up is
// all that nobody here can see; its timestamp is how Fly.io can.
//
// A nil *webhooks tells nobody.
type webhooks struct {
	store  *store
	sender *flyext.Webhooks
	client *river.Client[*sql.Tx]
	log    *slog.Logger
}

const (
	providerName = "logjam" // as Fly.io calls it

	sendTimeout = 10 * time.Second
	workTimeout = sendTimeout + 10*time.Second // with the transactions before and after
	rescueAfter = workTimeout + 10*time.Second

	maxWorkers  = 20               // webhooks on their way from one process
	maxBackoff  = time.Hour        // between two attempts
	maxAttempts = 75               // about two days
	keepTold    = 10 * time.Minute // of jobs that are done
)

// tellFlyio is the job. It says nothing of the stream, which changes.
type tellFlyio struct {
	StreamID string `json:"stream_id"`
}

// Kind implements [river.JobArgs].
func (tellFlyio) Kind() string { return "tell-flyio" }

// InsertOpts implements [river.JobArgsWithInsertOpts]: one job for a stream
// until Fly.io was told, also where it was given up.
func (tellFlyio) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		MaxAttempts: maxAttempts,
		UniqueOpts:  river.UniqueOpts{ByArgs: true, ByState: append(unfinished(), givenUp()...)},
	}
}

// unfinished are the states of jobs that will be worked, or are.
func unfinished() []rivertype.JobState {
	return []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
		rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}
}

// givenUp are the states of jobs that Fly.io refused, or that failed for days.
func givenUp() []rivertype.JobState {
	return []rivertype.JobState{rivertype.JobStateCancelled, rivertype.JobStateDiscarded}
}

// newWebhooks makes the queue's tables where they are missing. Without a secret
// it returns nil.
func newWebhooks(ctx context.Context, c config, s *store, log *slog.Logger) (*webhooks, error) {
	if c.webhookSecret == "" {
		return nil, nil
	}
	sender, err := flyext.NewWebhooks(flyext.WebhookConfig{
		ProviderName: providerName, Secret: c.webhookSecret, Endpoint: c.webhookURL,
		Attempts: 1, Timeout: sendTimeout, // the queue tries again
	})
	if err != nil {
		return nil, err
	}
	queueLog := slog.New(warnings{log.Handler()})
	migrator, err := rivermigrate.New(s.queue, &rivermigrate.Config{Logger: queueLog})
	if err != nil {
		return nil, err
	}
	err = migrate(ctx, func() error {
		_, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tables of the job queue: %w", oneLine(err))
	}
	w := &webhooks{store: s, sender: sender, log: log}
	workers := river.NewWorkers()
	river.AddWorker(workers, &teller{webhooks: w})
	w.client, err = river.NewClient(s.queue, &river.Config{
		Queues:   map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: maxWorkers}},
		Workers:  workers,
		Logger:   queueLog,
		PollOnly: true, // every second, which both databases can
		// A job that was given up stays until somebody has seen to it.
		CancelledJobRetentionPeriod: -1,
		DiscardedJobRetentionPeriod: -1,
		CompletedJobRetentionPeriod: keepTold,
		JobTimeout:                  workTimeout,
		RescueStuckJobsAfter:        rescueAfter,
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// start works jobs until stop.
func (w *webhooks) start(ctx context.Context) error {
	if w == nil {
		return nil
	}
	return w.client.Start(context.WithoutCancel(ctx))
}

// stop ends once the webhooks on their way have arrived, or failed.
func (w *webhooks) stop(ctx context.Context) error {
	if w == nil {
		return nil
	}
	return w.client.Stop(ctx)
}

// tell has Fly.io told about a stream once the transaction is committed. The
// transaction has called [countChange].
func (w *webhooks) tell(ctx context.Context, tx *sql.Tx, streamID string) error {
	if w == nil {
		return nil
	}
	entered, err := w.client.InsertTx(ctx, tx, tellFlyio{streamID}, nil)
	if err != nil || !entered.UniqueSkippedAsDuplicate || !slices.Contains(givenUp(), entered.Job.State) {
		return err
	}
	// What was given up begins anew, with all of its attempts.
	if _, err := w.client.JobDeleteTx(ctx, tx, entered.Job.ID); err != nil {
		return err
	}
	_, err = w.client.InsertTx(ctx, tx, tellFlyio{streamID}, nil)
	return err
}

// countChange is the beginning of every transaction that changes a stream. In
// PostgreSQL it makes the transactions of one id wait for each other, whether or
// not there is a stream yet; SQLite has one writer anyway.
func countChange(ctx context.Context, tx *sql.Tx, streamID string) error {
	if !isText(streamID) {
		return errNotFound
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO revisions (stream_id, revision) VALUES ($1, 1)
		ON CONFLICT (stream_id) DO UPDATE SET revision = revisions.revision + 1`, streamID)
	return err
}

// lockRevision returns a stream's revision, which stays so until the end of the
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
	again, settleErr := t.settle(ctx, job, revision, err == nil)
	switch {
	case err != nil:
		return t.failed(job, err, again)
	case settleErr != nil:
		return settleErr
	case again:
		return river.JobSnooze(0)
	}
	return nil
}

// read returns a stream, or nil if it is no more, and a revision that it had
// then or before.
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

// settle ends a job that was sent, or says that it has to be sent again. One
// that failed may have arrived all the same, so it is compared too.
func (t *teller) settle(ctx context.Context, job *river.Job[tellFlyio], revision int64, sent bool) (again bool, err error) {
	// The context may have ended for what was sent a moment before.
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
			return t.tell(ctx, tx, id) // which is this very job, unless it was taken over
		case sent:
			_, err = river.JobCompleteTx[riverQueue](ctx, tx, job)
			return err
		}
		return nil
	})
	return again, err
}

// failed decides what becomes of a job whose webhook was not accepted. It is not
// given up for what is out of date: what the stream is now was not tried yet.
func (t *teller) failed(job *river.Job[tellFlyio], err error, outdated bool) error {
	attrs := []any{slog.String("stream", job.Args.StreamID), slog.Int("attempt", job.Attempt), slog.String("error", err.Error())}
	webhook, ok := errors.AsType[*flyext.WebhookError](err)
	refused, lastTime := ok && !webhook.Temporary(), job.Attempt >= job.MaxAttempts
	switch {
	case ok && !refused && webhook.RetryAfter > 0:
		wait := min(webhook.RetryAfter, maxBackoff)
		t.log.Warn("webhook put off by Fly.io", append(attrs, slog.Duration("wait", wait))...)
		return river.JobSnooze(wait)
	case (refused || lastTime) && outdated:
		t.log.Warn("webhook failed and is out of date", attrs...)
		return river.JobSnooze(time.Second)
	case refused:
		t.log.Error("webhook refused and given up", attrs...)
		return river.JobCancel(err)
	case lastTime:
		t.log.Error("webhook failed too often and given up", attrs...)
	default:
		t.log.Warn("webhook failed and will be sent again", attrs...)
	}
	return err
}

// NextRetry implements [river.Worker]: after about 1, 2, 4, … seconds and at
// last every hour, somewhere in the later half of that, so that many spread.
func (t *teller) NextRetry(job *river.Job[tellFlyio]) time.Time {
	wait := maxBackoff
	if doublings := job.Attempt - 1; doublings < 12 {
		wait = min(time.Second<<doublings, maxBackoff)
	}
	return time.Now().Add(wait/2 + rand.N(wait/2))
}

// warnings are what is worth a line of what a job queue has to say.
type warnings struct{ slog.Handler }

// Enabled implements [slog.Handler].
func (warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// WithAttrs implements [slog.Handler].
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
