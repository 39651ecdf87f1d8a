package service

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// findStream returns a stream. If the stream does not exist, the error is the answer
// to the request.
func findStream(ctx context.Context, tx *sql.Tx, id string) (*stream, error) {
	if !isText(id) {
		return nil, errNotFound
	}
	s, err := scanStream(tx.QueryRowContext(ctx, `SELECT `+streamColumns+` FROM streams WHERE id = $1`, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, missing(ctx, tx, id)
	}
	return s, err
}

// isText reports whether PostgreSQL can store an id as text. A request may contain an
// id that it cannot store.
func isText(id string) bool { return utf8.ValidString(id) && !strings.Contains(id, "\x00") }

// missing returns errDeleted for a stream that was deleted, and errNotFound for a
// stream that never existed.
func missing(ctx context.Context, tx *sql.Tx, id string) error {
	var was bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM deprovisioned WHERE id = $1)`, id).Scan(&was)
	switch {
	case err != nil:
		return err
	case was:
		return errDeleted
	}
	return errNotFound
}

// streamColumns are the columns that [scanStream] reads.
const streamColumns = `id, organization_id, name, plan, primary_region, read_regions, ip_address, sealed_password, status, machine_id`

// streamsOf returns an organization's streams, sorted by name.
func streamsOf(ctx context.Context, tx *sql.Tx, organizationID string) ([]*stream, error) {
	return queryStreams(ctx, tx, `SELECT `+streamColumns+` FROM streams WHERE organization_id = $1 ORDER BY name, id`, organizationID)
}

// streamsOfMachine returns the streams that collect a machine's logs. The order
// by organization keeps two events from locking organizations in different orders.
func streamsOfMachine(ctx context.Context, tx *sql.Tx, machineID string) ([]*stream, error) {
	return queryStreams(ctx, tx, `SELECT `+streamColumns+` FROM streams WHERE machine_id = $1 ORDER BY organization_id, id`, machineID)
}

// claimMachine returns an error if a stream of another organization collects the logs
// of the machine that s names. Fly.io's requests and events do not say which
// organization owns a machine. The first organization that names a machine therefore
// gets its events, until none of that organization's streams names it.
func claimMachine(ctx context.Context, tx *sql.Tx, s *stream) error {
	if s.machineID == "" {
		return nil
	}
	// Transactions that claim the same machine wait for each other here.
	_, err := tx.ExecContext(ctx, `
		INSERT INTO machines (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET id = excluded.id`, s.machineID)
	if err != nil {
		return err
	}
	var taken bool
	err = tx.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM streams WHERE machine_id = $1 AND organization_id <> $2 AND id <> $3)`,
		s.machineID, s.organizationID, s.id).Scan(&taken)
	if err == nil && taken {
		err = errForeignMachine
	}
	return err
}

func queryStreams(ctx context.Context, tx *sql.Tx, query string, args ...any) (streams []*stream, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		s, err := scanStream(rows.Scan)
		if err != nil {
			return nil, err
		}
		streams = append(streams, s)
	}
	return streams, rows.Err()
}

// scanStream reads a row of [streamColumns].
func scanStream(scan func(columns ...any) error) (*stream, error) {
	var s stream
	var readRegions, ipAddress string
	err := scan(&s.id, &s.organizationID, &s.name, &s.plan, &s.primaryRegion, &readRegions, &ipAddress,
		&s.sealedPassword, &s.status, &s.machineID)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(readRegions), &s.readRegions); err != nil {
		return nil, err
	}
	if ipAddress != "" {
		s.ipAddress, err = netip.ParseAddr(ipAddress)
	}
	return &s, err
}

// saveStream inserts or updates a stream.
func saveStream(ctx context.Context, tx *sql.Tx, s *stream) error {
	readRegions, err := json.Marshal(s.readRegions)
	if err != nil {
		return err
	}
	ipAddress := ""
	if s.ipAddress.IsValid() {
		ipAddress = s.ipAddress.String()
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO streams (id, organization_id, name, plan, primary_region, read_regions, ip_address, sealed_password, status, machine_id)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (id) DO UPDATE SET
			organization_id = excluded.organization_id, name = excluded.name, plan = excluded.plan,
			primary_region = excluded.primary_region, read_regions = excluded.read_regions, ip_address = excluded.ip_address,
			status = excluded.status, machine_id = excluded.machine_id`,
		s.id, s.organizationID, s.name, s.plan, s.primaryRegion, string(readRegions), ipAddress, s.sealedPassword,
		s.status, s.machineID)
	return err
}

// removeStream deletes a stream. It remembers the id, so that later requests get
// errDeleted.
func removeStream(ctx context.Context, tx *sql.Tx, s *stream, who string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM streams WHERE id = $1`, s.id); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO deprovisioned (id) VALUES ($1)`, s.id); err != nil {
		return err
	}
	return recordActivity(ctx, tx, s.organizationID, activity{
		What: "Deleted", StreamID: s.id, StreamName: s.name, Who: who,
	})
}

// An owner is the organization that owns a stream, and the user of the request. In
// generation 1 of the protocol the user may be missing.
type owner struct {
	organizationID, organizationName, organizationEmail string
	userID, userEmail, userRole                         string
}

// saveOwner creates or updates the organization and the user of a request, as Fly.io
// recommends. Empty fields of the request leave the stored values unchanged.
func saveOwner(ctx context.Context, tx *sql.Tx, o owner) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO organizations (id, name, email) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET
			name = coalesce(nullif(excluded.name, ''), organizations.name),
			email = coalesce(nullif(excluded.email, ''), organizations.email)`,
		o.organizationID, o.organizationName, o.organizationEmail)
	if err != nil || o.userID == "" {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO users (id, email) VALUES ($1, $2)
		ON CONFLICT (id) DO UPDATE SET email = coalesce(nullif(excluded.email, ''), users.email)`,
		o.userID, o.userEmail)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO memberships (organization_id, user_id, role) VALUES ($1, $2, $3)
		ON CONFLICT (organization_id, user_id) DO UPDATE SET role = coalesce(nullif(excluded.role, ''), memberships.role)`,
		o.organizationID, o.userID, o.userRole)
	return err
}
