package sqlstore

import (
	"errors"
	"fmt"
	"strings"
)

// A Dialect is the SQL dialect of a database.
type Dialect int

const (
	// PostgreSQL is PostgreSQL 9.6 or later.
	PostgreSQL Dialect = iota + 1
	// SQLite is SQLite 3.35 or later, for several processes on one machine. It uses
	// that machine's clock.
	SQLite
)

// String returns the database's name.
func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "PostgreSQL"
	case SQLite:
		return "SQLite"
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

// Schema returns the SQL that [Store.Migrate] runs for a new table, for use in your
// own migrations. Running it again changes nothing. An empty table name means the
// default of [Options.Table]. A table created by a version without the column owner
// also needs "ALTER TABLE flyext_nonces ADD COLUMN owner bigint" (SQLite: INTEGER).
// It returns an error for an invalid table name or an unknown dialect.
func (d Dialect) Schema(table string) (string, error) {
	if table == "" {
		table = defaultTable
	}
	text, err := d.statements(table, d.now())
	if err != nil {
		return "", err
	}
	return strings.Join(text.schema, ";\n") + ";\n", nil
}

// statements are the SQL statements for one table.
type statements struct {
	schema  []string
	probe   string // fails if the table or a column is missing
	upgrade string // adds the column that earlier versions lack

	// use takes a key, its expiry in milliseconds since 1970 and an owner. It
	// returns the owner of the row, or no row if the nonce has expired.
	use  string
	used string // takes a key and returns a row if the key is in the table
	// announce raises the horizon to the latest expiry that has passed and returns
	// it. It returns no row if nothing has expired.
	announce string
	clean    string // takes the value that announce returned, in the dialect's unit
}

// now returns SQL for the database's clock.
func (d Dialect) now() string {
	if d == SQLite {
		return sqliteNow
	}
	return "now()"
}

// statements returns the statements for a table and a clock.
func (d Dialect) statements(table, now string) (statements, error) {
	name := tableName.FindStringSubmatch(table)
	if name == nil {
		return statements{}, errors.New("sqlstore: invalid table name; use up to 48 characters of a-z, 0-9 and _ that do not start with a digit, optionally after a schema name and a dot")
	}
	schema, base := "", `"`+name[2]+`"`
	if name[1] != "" {
		schema = `"` + name[1] + `".`
	}
	index := `"` + name[2] + `_expires_at"`
	switch d {
	case PostgreSQL:
		return postgresql.with("{table}", schema+base, "{index}", index, "{on}", schema+base, "{now}", now), nil
	case SQLite: // CREATE INDEX has the schema before the index instead of the table
		return sqlite.with("{table}", schema+base, "{index}", schema+index, "{on}", base, "{now}", now), nil
	}
	return statements{}, fmt.Errorf("sqlstore: Options.Dialect is %v; use PostgreSQL or SQLite", d)
}

// In both dialects:
//
//   - The row with an empty key is the horizon.
//   - A row of an event has a negative owner. It does not raise the horizon.
//   - A row of an earlier version has no owner.
//
// PostgreSQL's clean skips rows that another machine is deleting.
var postgresql = statements{
	schema: []string{
		`CREATE TABLE IF NOT EXISTS {table} (key bytea PRIMARY KEY, expires_at timestamptz NOT NULL, owner bigint)`,
		`CREATE INDEX IF NOT EXISTS {index} ON {on} (expires_at)`,
	},
	probe:   `SELECT key, expires_at, owner FROM {table} WHERE false`,
	upgrade: `ALTER TABLE {table} ADD COLUMN IF NOT EXISTS owner bigint`,
	use: `INSERT INTO {table} AS kept (key, expires_at, owner)
		SELECT $1::bytea, expires_at, owner FROM (SELECT timestamptz 'epoch' + $2::bigint * interval '1 millisecond', $3::bigint) AS entry (expires_at, owner)
		WHERE expires_at > {now} AND NOT EXISTS (SELECT 1 FROM {table} horizon WHERE horizon.key = '' AND horizon.expires_at >= entry.expires_at)
		ON CONFLICT (key) DO UPDATE SET owner = kept.owner
		RETURNING owner`,
	used: `SELECT 1 FROM {table} WHERE key = $1 AND expires_at > {now}`,
	announce: `INSERT INTO {table} AS kept (key, expires_at)
		(SELECT ''::bytea, expires_at FROM {table} WHERE expires_at <= {now} AND key <> '' AND coalesce(owner, 0) >= 0
			ORDER BY expires_at DESC LIMIT 1)
		ON CONFLICT (key) DO UPDATE SET expires_at = greatest(kept.expires_at, excluded.expires_at)
		RETURNING (extract(epoch FROM expires_at) * 1000000)::bigint`,
	clean: fmt.Sprintf(`DELETE FROM {table} WHERE key = ANY (ARRAY (
		SELECT key FROM (SELECT timestamptz 'epoch' + $1::bigint * interval '1 microsecond') AS announced (horizon), {table} AS kept WHERE expires_at <= greatest(horizon, {now})
			AND key <> '' AND CASE WHEN owner < 0 THEN expires_at <= {now} ELSE expires_at <= horizon END
		ORDER BY expires_at LIMIT %d FOR UPDATE OF kept SKIP LOCKED))`, sweepRows),
}

// sqliteNow is the time in milliseconds since 1970, rounded down. SQLite has a
// modifier for this only from 3.42 on.
const sqliteNow = `CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)`

var sqlite = statements{
	schema: []string{
		`CREATE TABLE IF NOT EXISTS {table} (key BLOB PRIMARY KEY, expires_at INTEGER NOT NULL, owner INTEGER) WITHOUT ROWID`,
		`CREATE INDEX IF NOT EXISTS {index} ON {on} (expires_at)`,
	},
	probe:   `SELECT key, expires_at, owner FROM {table} WHERE false`,
	upgrade: `ALTER TABLE {table} ADD COLUMN owner INTEGER`,
	use: `INSERT INTO {table} AS kept (key, expires_at, owner)
		SELECT $1, $2, $3
		WHERE $2 > {now} AND NOT EXISTS (SELECT 1 FROM {table} horizon WHERE horizon.key = x'' AND horizon.expires_at >= $2)
		ON CONFLICT (key) DO UPDATE SET owner = kept.owner
		RETURNING owner`,
	used: `SELECT 1 FROM {table} WHERE key = $1 AND expires_at > {now}`,
	announce: `INSERT INTO {table} AS kept (key, expires_at)
		SELECT x'', expires_at FROM (SELECT expires_at FROM {table} WHERE expires_at <= {now} AND key <> x'' AND coalesce(owner, 0) >= 0
			ORDER BY expires_at DESC LIMIT 1) WHERE true
		ON CONFLICT (key) DO UPDATE SET expires_at = max(kept.expires_at, excluded.expires_at)
		RETURNING expires_at`,
	clean: fmt.Sprintf(`DELETE FROM {table} WHERE key IN (
		SELECT key FROM {table} WHERE expires_at <= max($1, {now})
			AND key <> x'' AND CASE WHEN owner < 0 THEN expires_at <= {now} ELSE expires_at <= $1 END
		ORDER BY expires_at LIMIT %d)`, sweepRows),
}

// with replaces the placeholders.
func (s statements) with(oldnew ...string) statements {
	replace := strings.NewReplacer(oldnew...).Replace
	text := statements{
		probe: replace(s.probe), upgrade: replace(s.upgrade), use: replace(s.use), used: replace(s.used),
		announce: replace(s.announce), clean: replace(s.clean),
	}
	for _, statement := range s.schema {
		text.schema = append(text.schema, replace(statement))
	}
	return text
}
