package sqlstore_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	sqlstore "github.com/flyext/flyext/stores/sql"

	"github.com/flyext/flyext/internal/storetest"
)

// earlier is the schema of the version without owners.
var earlier = map[sqlstore.Dialect]string{
	sqlstore.PostgreSQL: "CREATE TABLE flyext_nonces (key bytea PRIMARY KEY, expires_at timestamptz NOT NULL)",
	sqlstore.SQLite:     "CREATE TABLE flyext_nonces (key BLOB PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID",
}

// TestMigrateEarlier migrates a table of an earlier version, whose nonces stay
// used.
func TestMigrateEarlier(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		db := d.open(t)
		execute(t, db, earlier[d.dialect])
		used := storetest.Numbered(1)
		at := any(used.Expires)
		if d.dialect == sqlstore.SQLite {
			at = used.Expires.UnixMilli()
		}
		execute(t, db, "INSERT INTO flyext_nonces VALUES ($1, $2)", used.Key[:], at)
		store, _ := d.machine(t, sqlstore.Options{})
		if err := store.Migrate(t.Context()); err != nil {
			t.Errorf("again: %v", err)
		}
		storetest.WantUsed(t, store, used, true)
		storetest.WantUse(t, store, used, false)
		storetest.WantUse(t, store, storetest.Numbered(2), true)
	})
}

// TestMigrateWithoutCreate uses a role that may use the table but not CREATE.
func TestMigrateWithoutCreate(t *testing.T) {
	t.Parallel()
	d := newPostgreSQL(t)
	admin := d.open(t)
	u, err := url.Parse(d.source)
	if err != nil {
		t.Fatal(err)
	}
	role := "modest_" + strings.Trim(u.Path, "/")
	execute(t, admin, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	execute(t, admin, "CREATE ROLE "+role+" LOGIN")
	u.User = url.User(role)
	modest := database{dialect: d.dialect, source: u.String()}
	store, err := sqlstore.New(modest.open(t), sqlstore.Options{Dialect: d.dialect, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("without a table: got %v", err)
	}
	d.machine(t, sqlstore.Options{}) // creates the table
	execute(t, admin, "GRANT SELECT, INSERT, UPDATE, DELETE ON flyext_nonces TO "+role)
	if err := store.Migrate(t.Context()); err != nil {
		t.Errorf("with the table: got %v", err)
	}
	storetest.WantUse(t, store, storetest.Numbered(1), true)
}
