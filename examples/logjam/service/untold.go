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

// untold is for an operator: it lists what Fly.io could not be told so far, or
// has it tried again at once, such as after a mistake was mended. It fails if
// anything is given up, so that a monitor can run it.
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
		fmt.Fprintf(stdout, "%d webhooks will be tried again at once.\n", len(jobs))
		return nil
	}
	return list(stdout, jobs)
}

// failing returns the jobs that were given up, and those that failed and will be
// tried again.
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

// retry has a job worked at once. One that was given up begins anew.
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
	_ = json.Unmarshal(job.EncodedArgs, &args) // it was written as one
	return args.StreamID
}

func list(stdout io.Writer, jobs []*rivertype.JobRow) error {
	if len(jobs) == 0 {
		fmt.Fprintln(stdout, "Fly.io was told everything, or will be in a moment.")
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
		reason := "put off by Fly.io"
		if n := len(job.Errors); n > 0 {
			reason = job.Errors[n-1].Error
		}
		fmt.Fprintf(table, "%q\t%d\t%s\t%s\n", streamOfJob(job), job.Attempt, next, oneLine(errors.New(reason)))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if lost > 0 {
		return fmt.Errorf("%d webhooks were given up; mend the cause, and run this with -webhooks retry", lost)
	}
	return nil
}
