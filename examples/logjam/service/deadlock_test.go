package service

import (
	"database/sql"
	"strings"
	"sync"
	"testing"
)

// TestDeadlock makes two transactions lock the same two streams in opposite
// orders. PostgreSQL ends one of them, and both must succeed.
func TestDeadlock(t *testing.T) {
	t.Parallel()
	s, err := openDatabase(t.Context(), newPostgreSQL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var both, done sync.WaitGroup
	both.Add(2)
	attempts := make([]int, 2)
	failures := make([]error, 2)
	for i, streams := range [][2]string{{"a", "b"}, {"b", "a"}} {
		done.Go(func() {
			failures[i] = s.inTx(t.Context(), func(tx *sql.Tx) error {
				attempts[i]++
				if err := countChange(t.Context(), tx, streams[0]); err != nil {
					return err
				}
				if attempts[i] == 1 {
					both.Done()
					both.Wait()
				}
				return countChange(t.Context(), tx, streams[1])
			})
		})
	}
	done.Wait()
	for i, err := range failures {
		if err != nil {
			t.Errorf("transaction %d after %d attempts: %v", i, attempts[i], err)
		}
	}
	if attempts[0]+attempts[1] < 3 {
		t.Errorf("%v attempts, want at least 3 in all: PostgreSQL ends one transaction of two", attempts)
	}
	var revisions int
	err = s.db.QueryRowContext(t.Context(), `SELECT sum(revision) FROM revisions`).Scan(&revisions)
	if err != nil || revisions != 4 {
		t.Errorf("%d changes were committed (%v), want 4", revisions, err)
	}
}

// TestActivityLocksOrganization checks that a transaction holds the lock of the
// organization while it deletes the organization's oldest activities.
func TestActivityLocksOrganization(t *testing.T) {
	t.Parallel()
	s, err := openDatabase(t.Context(), newPostgreSQL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	err = s.inTx(t.Context(), func(tx *sql.Tx) error {
		return saveOwner(t.Context(), tx, owner{organizationID: "org", userID: nathan})
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.inTx(t.Context(), func(tx *sql.Tx) error {
		if err := recordActivity(t.Context(), tx, "org", activity{What: "Created"}); err != nil {
			return err
		}
		_, err := s.db.ExecContext(t.Context(), `SELECT 1 FROM organizations WHERE id = 'org' FOR NO KEY UPDATE NOWAIT`)
		if err == nil || !strings.Contains(err.Error(), "55P03") { // lock_not_available
			t.Errorf("another transaction gets the lock: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
