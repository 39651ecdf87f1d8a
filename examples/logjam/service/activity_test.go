package service

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/flyext/flyext"
)

func activities(t *testing.T, s *store, organizationID, streamID string) (texts []string) {
	t.Helper()
	err := s.inTx(t.Context(), func(tx *sql.Tx) error {
		recent, err := recentActivities(t.Context(), tx, organizationID, streamID)
		for _, a := range recent {
			texts = append(texts, fmt.Sprintf("%s %s: %s", a.What, a.StreamTitle(), a.Who))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func TestActivities(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		l := newLogjam(t, db)
		provision(t, l, order42())
		provision(t, l, order42()) // a retry
		provision(t, l, &flyext.ProvisionRequest{ID: "43", OrganizationID: "org"})
		update := func(req flyext.UpdateRequest) {
			t.Helper()
			if _, err := l.Update(t.Context(), "42", &req); err != nil {
				t.Fatal(err)
			}
		}
		update(flyext.UpdateRequest{ReadRegions: flyext.OptionalOf([]string{"syd"}), Name: flyext.OptionalOf("new"), UserID: flyext.OptionalOf("user")})
		update(flyext.UpdateRequest{Name: flyext.OptionalOf("new")}) // nothing new
		ofStream := []string{"Changed the name, read regions new: user", "Created collider: user@example.com"}
		if got := activities(t, l.store, "org", "42"); !slices.Equal(got, ofStream) {
			t.Errorf("activities of the stream: %q, want %q", got, ofStream)
		}

		// The new organization does not see the users of the old one.
		update(flyext.UpdateRequest{OrganizationID: flyext.OptionalOf("another")})
		if got, want := activities(t, l.store, "another", "42"), []string{"Changed the organization new: Fly.io"}; !slices.Equal(got, want) {
			t.Errorf("activities in another organization: %q, want %q", got, want)
		}
		if err := l.Deprovision(t.Context(), "42"); err != nil {
			t.Fatal(err)
		}
		if got, want := activities(t, l.store, "another", ""), []string{"Deleted new: Fly.io", "Changed the organization new: Fly.io"}; !slices.Equal(got, want) {
			t.Errorf("activities after the deletion: %q, want %q", got, want)
		}
		ofOrganization := append(ofStream[:1:1], "Created 43: Fly.io", ofStream[1])
		if got := activities(t, l.store, "org", ""); !slices.Equal(got, ofOrganization) {
			t.Errorf("activities of the organization: %q, want %q", got, ofOrganization)
		}
	})
}

// TestActivityOfFailure checks that a transaction that is rolled back leaves no
// activity.
func TestActivityOfFailure(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		l := newLogjam(t, db)
		provision(t, l, order42())
		failure := errors.New("the disk is full")
		err := l.store.inTx(t.Context(), func(tx *sql.Tx) error {
			if err := recordActivity(t.Context(), tx, "org", activity{What: "Happened"}); err != nil {
				return err
			}
			return failure
		})
		if !errors.Is(err, failure) {
			t.Fatal(err)
		}
		if got := activities(t, l.store, "org", ""); len(got) != 1 {
			t.Errorf("got activities %q, want only the first one", got)
		}
	})
}

func TestActivitiesAreBounded(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		l := newLogjam(t, db)
		provision(t, l, order42())
		provision(t, l, &flyext.ProvisionRequest{ID: "43", OrganizationID: "quiet"})
		err := l.store.inTx(t.Context(), func(tx *sql.Tx) error {
			for range keptActivities + 10 {
				if err := recordActivity(t.Context(), tx, "org", activity{What: "Happened"}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var kept int
		if err := l.store.db.QueryRowContext(t.Context(), `SELECT count(*) FROM activities WHERE organization_id = 'org'`).Scan(&kept); err != nil {
			t.Fatal(err)
		}
		if kept != keptActivities {
			t.Errorf("%d activities are kept, want %d", kept, keptActivities)
		}
		if got := activities(t, l.store, "quiet", ""); len(got) != 1 {
			t.Errorf("another organization has the activities %q, want one", got)
		}
	})
}
