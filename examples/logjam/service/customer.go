package service

import (
	"context"
	"database/sql"
	"errors"
	"net/http"

	"github.com/flyext/flyext"
)

// Fly.io does not know about changes that customers make on the dashboard. Each
// method that makes such a change therefore enters a webhook job in the
// transaction of the change.

// findStreamOf returns a stream of an organization. The error for another
// organization's stream is the same as for an unknown stream.
func findStreamOf(ctx context.Context, tx *sql.Tx, organizationID, id string) (*stream, error) {
	s, err := findStream(ctx, tx, id)
	if err == nil && s.organizationID != organizationID {
		return nil, errNotFound
	}
	return s, err
}

// setStatus puts a stream to sleep, or wakes it up. It changes nothing if the
// stream already has that status.
func (l *Logjam) setStatus(ctx context.Context, by *session, id string, status flyext.Status) error {
	what := map[flyext.Status]string{asleep: "Put to sleep", flyext.Ready: "Woken up"}[status]
	return l.store.inTx(ctx, func(tx *sql.Tx) error {
		if err := countChange(ctx, tx, id); err != nil {
			return err
		}
		s, err := findStreamOf(ctx, tx, by.OrganizationID, id)
		if err != nil || s.status == status {
			return err
		}
		s.status = status
		if err := saveStream(ctx, tx, s); err != nil {
			return err
		}
		err = recordActivity(ctx, tx, s.organizationID, activity{
			What: what, StreamID: s.id, StreamName: s.name, Who: by.UserName,
		})
		if err != nil {
			return err
		}
		return l.webhooks.tell(ctx, tx, id)
	})
}

// remove deletes a stream.
func (l *Logjam) remove(ctx context.Context, by *session, id string) error {
	return l.store.inTx(ctx, func(tx *sql.Tx) error {
		if err := countChange(ctx, tx, id); err != nil {
			return err
		}
		s, err := findStreamOf(ctx, tx, by.OrganizationID, id)
		if err != nil {
			return err
		}
		if err := removeStream(ctx, tx, s, by.UserName); err != nil {
			return err
		}
		return l.webhooks.tell(ctx, tx, id)
	})
}

func (d *dashboard) sleep(r *http.Request, s *session) (*screen, error) {
	return d.change(r, s, func(id string) (flyext.Destination, error) {
		return flyext.Destination{ExtensionID: id}, d.logjam.setStatus(r.Context(), s, id, asleep)
	})
}

func (d *dashboard) wake(r *http.Request, s *session) (*screen, error) {
	return d.change(r, s, func(id string) (flyext.Destination, error) {
		return flyext.Destination{ExtensionID: id}, d.logjam.setStatus(r.Context(), s, id, flyext.Ready)
	})
}

// confirmDeletion asks the customer to confirm before a stream is deleted.
func (d *dashboard) confirmDeletion(r *http.Request, s *session) (*screen, error) {
	page, err := d.stream(r, s)
	if content, ok := page.contentOfStream(); ok {
		page = &screen{template: deleteTemplate, status: http.StatusOK, title: "Delete " + content.Title() + "?", content: content}
	}
	return page, err
}

func (d *dashboard) remove(r *http.Request, s *session) (*screen, error) {
	return d.change(r, s, func(id string) (flyext.Destination, error) {
		return flyext.Destination{OrganizationID: s.OrganizationID}, d.logjam.remove(r.Context(), s, id)
	})
}

// change answers a customer's request to change a stream. It redirects to the page
// that do returns, which confirms the change.
func (d *dashboard) change(r *http.Request, s *session, do func(id string) (flyext.Destination, error)) (*screen, error) {
	at := flyext.Destination{ExtensionID: r.PathValue("id")}
	if s == nil {
		return d.signInScreen(at), nil
	}
	to, err := do(at.ExtensionID)
	if errors.Is(err, errNotFound) || errors.Is(err, errDeleted) {
		return d.missingScreen("There is no such log stream", at), nil
	}
	if err != nil {
		return nil, err
	}
	return &screen{redirect: destinationPath(to) + "?done"}, nil
}

// doneBy returns the text that confirms a change, on the page that [dashboard.change]
// redirects to. The text comes from the newest activity, so a forged link cannot
// choose it.
func doneBy(r *http.Request, recent []activity) string {
	if !r.URL.Query().Has("done") || len(recent) == 0 {
		return ""
	}
	last := recent[0]
	switch last.What {
	case "Put to sleep":
		return last.StreamTitle() + " is asleep."
	case "Woken up":
		return last.StreamTitle() + " is awake."
	case "Deleted":
		return last.StreamTitle() + " was deleted."
	}
	return ""
}
