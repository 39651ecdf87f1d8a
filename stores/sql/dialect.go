package sqlstore

import (
	"errors"
	"fmt"
	"strings"
)

// A Dialect is a database's SQL.
type Dialect int

const (
	// PostgreSQL is PostgreSQL 9.5 or later.
	PostgreSQL Dialect = iota + 1
	// SQLite is SQLite 3.35 or later: for several processes on one machine. Times
	// are that machine's.
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

// Schema returns the SQL that [Store.Migrate] runs for a table ("" is
// [Options.Table]'s default), to be copied into migrations. It may be run again.
func (d Dialect) Schema(table string) (string, error) {
	if table == "" {
		table = defaultTable
	}
	text, err := d.statements(table)
	if err != nil {
		return "", err
	}
	return strings.Join(text.schema, ";\n") + ";\n", nil
}

// statements are for one table. use returns a row if the nonce is fresh, used if
// it was used.
type statements struct {
	schema           []string
	use, used, sweep string
}

func (d Dialect) statements(table string) (statements, error) {
	name := tableName.FindStringSubmatch(table)
	if name == nil {
		return statements{}, errors.New("sqlstore: the table's name is not made of a-z, 0-9 and _, 48 bytes at most, with at most a schema's and a dot before it")
	}
	schema, base := "", `"`+name[2]+`"`
	if name[1] != "" {
		schema = `"` + name[1] + `".`
	}
	index := `"` + name[2] + `_expires_at"`
	switch d {
	case PostgreSQL:
		return replaceIn(postgresql, "{table}", schema+base, "{index}", index, "{on}", schema+base), nil
	case SQLite: // where the index has the schema's name instead
		return replaceIn(sqlite, "{table}", schema+base, "{index}", schema+index, "{on}", base), nil
	}
	return statements{}, fmt.Errorf("sqlstore: Options.Dialect is neither PostgreSQL nor SQLite but %v", d)
}

// The sweep of PostgreSQL leaves alone what another machine deletes, or a request
// renews, at the moment. Its index brings it to what expired first.
var postgresql = statements{
	schema: []string{
		`CREATE TABLE IF NOT EXISTS {table} (key bytea PRIMARY KEY, expires_at timestamptz NOT NULL)`,
		`CREATE INDEX IF NOT EXISTS {index} ON {on} (expires_at)`,
	},
	use: `INSERT INTO {table} AS kept (key, expires_at) VALUES ($1, now() + $2::bigint * interval '1 millisecond')
		ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at WHERE kept.expires_at < now()
		RETURNING 1`,
	used: `SELECT 1 FROM {table} WHERE key = $1 AND expires_at >= now()`,
	sweep: fmt.Sprintf(`DELETE FROM {table} WHERE key = ANY (ARRAY (
		SELECT key FROM {table} WHERE expires_at < now() ORDER BY expires_at LIMIT %d FOR UPDATE SKIP LOCKED))`, sweepRows),
}

// sqliteNow is unix milliseconds, rounded down; SQLite has them by name from 3.42
// on.
const sqliteNow = `CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)`

var sqlite = statements{
	schema: []string{
		`CREATE TABLE IF NOT EXISTS {table} (key BLOB PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID`,
		`CREATE INDEX IF NOT EXISTS {index} ON {on} (expires_at)`,
	},
	use: `INSERT INTO {table} AS kept (key, expires_at) VALUES ($1, ` + sqliteNow + ` + 1 + $2)
		ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at WHERE kept.expires_at < ` + sqliteNow + `
		RETURNING 1`,
	used: `SELECT 1 FROM {table} WHERE key = $1 AND expires_at >= ` + sqliteNow,
	sweep: fmt.Sprintf(`DELETE FROM {table} WHERE key IN (
		SELECT key FROM {table} WHERE expires_at < `+sqliteNow+` ORDER BY expires_at LIMIT %d)`, sweepRows),
}

func replaceIn(s statements, oldnew ...string) statements {
	replace := strings.NewReplacer(oldnew...).Replace
	text := statements{use: replace(s.use), used: replace(s.used), sweep: replace(s.sweep)}
	for _, statement := range s.schema {
		text.schema = append(text.schema, replace(statement))
	}
	return text
}
