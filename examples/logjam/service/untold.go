package service

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// untold lists or retries the failed webhooks for an operator, as c.webhookAction
// says. The list returns an error if a webhook was given up, so that a monitor can
// run it. Retry after you have fixed the cause of the failures.
func untold(ctx context.Context, c config, stdout io.Writer, log *slog.Logger) error {
	store, err := openStore(ctx, c)
	if err != nil {
		return &startError{fmt.Errorf("database: %w", err)}
	}
	defer store.close()
	w, err := newWebhooks(ctx, c, store, log)
	if err != nil {
		return &startError{err}
	}
	jobs, err := w.failing(ctx)
	if err != nil {
		return err
	}
	if c.webhookAction == "retry" {
		for _, job := range jobs {
			if err := w.retry(ctx, job); err != nil {
				return err
			}
		}
		fmt.Fprintf(stdout, "%d webhooks will be retried now by the running servers.\n", len(jobs))
		return nil
	}
	return list(stdout, jobs)
}

// failing returns the jobs that were given up, and the failed or postponed jobs that
// will be retried.
func (w *webhooks) failing(ctx context.Context) (jobs []*rivertype.JobRow, err error) {
	params := river.NewJobListParams().Kinds(tellFlyio{}.Kind()).First(1000).
		OrderBy(river.JobListOrderByID, river.SortOrderAsc).States(append(unfinished(), givenUp()...)...)
	for {
		page, err := w.client.JobList(ctx, params)
		if err != nil {
			return nil, err
		}
		for _, job := range page.Jobs {
			if len(job.Errors) > 0 || job.State == rivertype.JobStateScheduled {
				jobs = append(jobs, job)
			}
		}
		if len(page.Jobs) < 1000 {
			return jobs, nil
		}
		params = params.After(page.LastCursor)
	}
}

// retry makes a job available now. A job that was given up is replaced by a new job,
// with all its attempts.
func (w *webhooks) retry(ctx context.Context, job *rivertype.JobRow) error {
	return w.store.inTx(ctx, func(tx *sql.Tx) error {
		if slices.Contains(givenUp(), job.State) {
			id := streamOfJob(job)
			if err := countChange(ctx, tx, id); err != nil {
				return err
			}
			return w.tell(ctx, tx, id)
		}
		_, err := w.client.JobRetryTx(ctx, tx, job.ID)
		return err
	})
}

func streamOfJob(job *rivertype.JobRow) string {
	var args tellFlyio
	_ = json.Unmarshal(job.EncodedArgs, &args) // InsertTx encoded it
	return args.StreamID
}

func list(stdout io.Writer, jobs []*rivertype.JobRow) error {
	if len(jobs) == 0 {
		fmt.Fprintln(stdout, "No failed webhooks.")
		return nil
	}
	lost := 0
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STREAM\tATTEMPTS\tNEXT\tLAST ERROR")
	for _, job := range jobs {
		next := job.ScheduledAt.UTC().Format(time.DateTime)
		if slices.Contains(givenUp(), job.State) {
			lost++
			next = "given up"
		}
		reason := "postponed by Fly.io"
		if n := len(job.Errors); n > 0 {
			reason = job.Errors[n-1].Error
		}
		fmt.Fprintf(table, "%q\t%d\t%s\t%s\n", streamOfJob(job), job.Attempt, next, oneLine(errors.New(reason)))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if lost > 0 {
		return fmt.Errorf("%d webhooks were given up; fix the cause, and run with -webhooks retry", lost)
	}
	return nil
}
