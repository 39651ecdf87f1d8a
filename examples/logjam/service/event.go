package service

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"

	"github.com/flyext/flyext"
)

// rememberEvents is how long Logjam remembers an event, in seconds. Senders stop
// retrying earlier.
const rememberEvents = 7 * 24 * 60 * 60

// ReceiveEvent implements [flyext.EventReceiver]. It records an event of a machine
// as an activity of each stream that collects the machine's logs. A duplicate is
// not recorded again, because the event is stored in the transaction of its
// activities. An event of an unknown machine is accepted too: Fly.io would retry
// an event that is refused.
func (l *Logjam) ReceiveEvent(ctx context.Context, e *flyext.Event) error {
	if e.MachineID == "" {
		return nil
	}
	return l.store.inTx(ctx, func(tx *sql.Tx) error {
		isNew, err := enterEvent(ctx, tx, e.Source, e.ID)
		if err != nil || !isNew {
			return err
		}
		streams, err := streamsOfMachine(ctx, tx, e.MachineID)
		if err != nil {
			return err
		}
		for _, s := range streams {
			err := recordActivity(ctx, tx, s.organizationID, activity{
				What:     fmt.Sprintf("Machine %s: %s", e.MachineID, cmp.Or(e.Status, e.Type)),
				StreamID: s.id, StreamName: s.name, Who: "Fly.io",
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// enterEvent reports whether an event is new.
func enterEvent(ctx context.Context, tx *sql.Tx, source, id string) (isNew bool, err error) {
	_, err = tx.ExecContext(ctx, `DELETE FROM events WHERE at < (SELECT max(at) FROM events) - $1`, rememberEvents)
	if err != nil {
		return false, err
	}
	result, err := tx.ExecContext(ctx, `
		INSERT INTO events (source, id) VALUES ($1, $2) ON CONFLICT (source, id) DO NOTHING`, source, id)
	if err != nil {
		return false, err
	}
	entered, err := result.RowsAffected()
	return entered == 1, err
}
