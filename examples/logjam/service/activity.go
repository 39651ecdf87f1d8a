package service

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An activity is an entry in the history that an organization's dashboard shows.
// It is recorded in the transaction of the change. The history therefore has an
// activity if and only if the change was committed.
type activity struct {
	At         time.Time
	What       string
	StreamID   string // "" for an activity of the whole organization
	StreamName string // the stream's name at that time
	Who        string // the user's name at that time
}

// keptActivities limits the activities of each organization.
const keptActivities = 100

// recordActivity inserts an activity and deletes the organization's oldest ones.
// It locks the organization first: two transactions that delete the same rows in
// different orders would wait for each other.
func recordActivity(ctx context.Context, tx *sql.Tx, organizationID string, a activity) error {
	_, err := tx.ExecContext(ctx, `UPDATE organizations SET name = name WHERE id = $1`, organizationID)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO activities (organization_id, stream_id, stream_name, what, who) VALUES ($1, $2, $3, $4, $5)`,
		organizationID, a.StreamID, a.StreamName, a.What, a.Who)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		DELETE FROM activities WHERE organization_id = $1 AND id <=
			(SELECT id FROM activities WHERE organization_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)`,
		organizationID, keptActivities)
	return err
}

// recentActivities returns up to 20 activities of an organization, newest first.
// A streamID other than "" limits them to one stream. Activities of the stream in
// an earlier organization are left out, because they name that organization's
// users.
func recentActivities(ctx context.Context, tx *sql.Tx, organizationID, streamID string) ([]activity, error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT at, what, stream_id, stream_name, who FROM activities
		WHERE organization_id = $1 AND $2 IN ('', stream_id) ORDER BY id DESC LIMIT 20`,
		organizationID, streamID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var recent []activity
	for rows.Next() {
		var a activity
		var at int64
		if err := rows.Scan(&at, &a.What, &a.StreamID, &a.StreamName, &a.Who); err != nil {
			return nil, err
		}
		a.At = time.Unix(at, 0).UTC()
		recent = append(recent, a)
	}
	return recent, rows.Err()
}

// StreamTitle returns the stream's name or, if it has no name, its id.
func (a activity) StreamTitle() string { return cmp.Or(a.StreamName, a.StreamID) }

// actor returns the text that identifies the user of a provisioning request.
func actor(email, id string) string { return cmp.Or(email, id, "Fly.io") }

// changeOf describes the changes of an update. It returns "" if nothing changed.
func changeOf(was, is *stream) string {
	var parts []string
	for _, part := range []struct {
		name    string
		changed bool
	}{
		{"name", was.name != is.name},
		{"organization", was.organizationID != is.organizationID},
		{"plan", was.plan != is.plan},
		{"primary region", was.primaryRegion != is.primaryRegion},
		{"read regions", !slices.Equal(was.readRegions, is.readRegions)},
		{"address", was.ipAddress != is.ipAddress},
		{"machine", was.machineID != is.machineID},
	} {
		if part.changed {
			parts = append(parts, part.name)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("Changed the %s", strings.Join(parts, ", "))
}
