package service

import (
	"context"
	"strings"
	"testing"

	"github.com/flyext/flyext/examples/logjam/shared"
	"github.com/flyext/flyext/internal/servertest"
)

// testServers opens the databases that the tests start.
var testServers = shared.New()

// testKey is the value of LOGJAM_KEY for databases without a key file.
const testKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// newPostgreSQL returns the URL of an empty database.
func newPostgreSQL(t *testing.T) string {
	t.Helper()
	return servertest.SharedDatabase(t)
}

// onEach runs a test on an empty database of each kind. The argument db is the path
// of a SQLite file or the URL of a PostgreSQL database.
func onEach(t *testing.T, test func(t *testing.T, db string)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, dbPath(t))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, newPostgreSQL(t))
	})
}

// another returns an empty database of the same kind.
func another(t *testing.T, db string) string {
	t.Helper()
	if isPostgreSQL(db) {
		return newPostgreSQL(t)
	}
	return dbPath(t)
}

func isPostgreSQL(db string) bool { return strings.HasPrefix(db, "postgres:") }

// databaseConfig returns the configuration for the database db.
func databaseConfig(db string) config {
	if isPostgreSQL(db) {
		return config{databaseURL: db, key: testKey, servers: &testServers}
	}
	return config{db: db}
}

// openDatabase opens the database db.
func openDatabase(ctx context.Context, db string) (*store, error) {
	return openStore(ctx, databaseConfig(db))
}
