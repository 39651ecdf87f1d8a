package service

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// newLogjam returns a Logjam on a database, without webhooks.
func newLogjam(t *testing.T, db string) *Logjam {
	t.Helper()
	store, err := openDatabase(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.close() })
	return &Logjam{store: store}
}

func dbPath(t *testing.T) string { return filepath.Join(t.TempDir(), "logjam.db") }

// TestDatabasePath checks paths that contain URL syntax.
func TestDatabasePath(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b.db", "a?b=c.db", "a#b.db", "a%41.db", "a&b.db", "ü.db", "file:x.db"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := newLogjam(t, filepath.Join(dir, name))
			provision(t, l, order42())
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, entry := range entries {
				got = append(got, entry.Name())
			}
			if want := []string{name, name + "-shm", name + "-wal", name + ".key"}; !slices.Equal(got, want) {
				t.Errorf("the files are %q, want %q", got, want)
			}
		})
	}
}

// TestDurability checks the settings that keep committed data after SIGKILL or a
// loss of power.
func TestDurability(t *testing.T) {
	t.Parallel()
	l := newLogjam(t, dbPath(t))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"} {
		var got string
		if err := l.store.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", pragma, got, err, want)
		}
	}
}
