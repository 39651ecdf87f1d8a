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

// An activity is what happened in an organization, for its dashboard. It is
// recorded in the transaction in which it happens: what is not there did not
// happen, and the other way round.
type activity struct {
	At         time.Time
	What       string
	StreamID   string // "" where it concerns all of the organization
	StreamName string // at that time
	Who        string // as they were called at that time
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

// recentActivities returns the last of an organization, or of one of its
// streams, the newest first. What happened to a stream in another organization
// stays there: it has the names of people who are none of this one's business.
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

// StreamTitle is what a person knows the stream by.
func (a activity) StreamTitle() string { return cmp.Or(a.StreamName, a.StreamID) }

// actor is what a provisioning request calls its user.
func actor(email, id string) string { return cmp.Or(email, id, "Fly.io") }

// changeOf says what an update changed, or "".
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
