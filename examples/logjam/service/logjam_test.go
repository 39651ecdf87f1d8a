package service

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"github.com/flyext/flyext"
)

func order42() *flyext.ProvisionRequest {
	return &flyext.ProvisionRequest{
		ID: "42", Name: "collider", OrganizationID: "org", OrganizationName: "Supercollider", OrganizationEmail: "org@example.com",
		UserID: "user", UserEmail: "user@example.com", UserRole: "admin",
		PrimaryRegion: "mad", ReadRegions: []string{"fra"}, IPAddress: netip.MustParseAddr("fdaa::3"),
	}
}

func provision(t *testing.T, l *Logjam, req *flyext.ProvisionRequest) string {
	t.Helper()
	x, err := l.Provision(t.Context(), req)
	if err != nil {
		t.Fatalf("provision: %v", err)
	}
	return x.Secrets["LOGJAM_URL"]
}

func find(t *testing.T, l *Logjam, id string) *stream {
	t.Helper()
	tx, err := l.store.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	s, err := findStream(t.Context(), tx, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantError checks that err is the given error for the customer.
func wantError(t *testing.T, err error, want *flyext.Error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

func TestProvisionAgain(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		l := newLogjam(t, db)
		first := provision(t, l, order42())

		retry := order42()
		retry.Name, retry.ReadRegions, retry.OrganizationName = "", nil, ""
		if again := provision(t, l, retry); again != first {
			t.Error("a retried POST returned different secrets")
		}
		if other := provision(t, l, &flyext.ProvisionRequest{ID: "43", OrganizationID: "org"}); other == first {
			t.Error("two streams have the same secrets")
		}
		if err := l.store.close(); err != nil {
			t.Fatal(err)
		}
		l = newLogjam(t, db)
		if again := provision(t, l, order42()); again != first {
			t.Error("after a restart, a retried POST returned different secrets")
		}

		s := find(t, l, "42")
		s.sealedPassword = nil
		want := &stream{
			id: "42", organizationID: "org", name: "collider", plan: "starter",
			primaryRegion: "mad", readRegions: []string{"fra"}, ipAddress: netip.MustParseAddr("fdaa::3"), status: flyext.Ready,
		}
		if !reflect.DeepEqual(s, want) {
			t.Errorf("the stream is %+v, want %+v", s, want)
		}
		var row string
		err := l.store.db.QueryRowContext(t.Context(), `
			SELECT concat_ws(' ', o.name, o.email, u.email, m.role) FROM memberships m
			JOIN organizations o ON o.id = m.organization_id JOIN users u ON u.id = m.user_id`).Scan(&row)
		if want := "Supercollider org@example.com user@example.com admin"; err != nil || row != want {
			t.Errorf("the owner is %q, %v; want %q", row, err, want)
		}
	})
}

// TestProvisionForAnotherOrganization checks that an organization cannot get
// another's stream by its id.
func TestProvisionForAnotherOrganization(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		l := newLogjam(t, db)
		provision(t, l, order42())
		foreign := order42()
		foreign.OrganizationID = "another"
		x, err := l.Provision(t.Context(), foreign)
		if x != nil {
			t.Error("another organization got the stream")
		}
		wantError(t, err, errForeign)
	})
}

// TestProvisionIsOneTransaction checks that a failed provisioning leaves no rows.
func TestProvisionIsOneTransaction(t *testing.T) {
	t.Parallel()
	l := newLogjam(t, dbPath(t))
	_, err := l.store.db.ExecContext(t.Context(),
		`CREATE TRIGGER refuse BEFORE INSERT ON streams BEGIN SELECT raise(ABORT, 'the disk is full'); END`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Provision(t.Context(), order42()); err == nil {
		t.Fatal("Provision succeeded although the row of the stream could not be written")
	}
	var rows int
	err = l.store.db.QueryRowContext(t.Context(),
		`SELECT (SELECT count(*) FROM organizations) + (SELECT count(*) FROM users) + (SELECT count(*) FROM memberships)`).Scan(&rows)
	if err != nil || rows != 0 {
		t.Errorf("the failed transaction left %d rows, %v", rows, err)
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, plan, want string // want is "" for an error
	}{
		{"absent", "", "pro"},
		{"known", `"scale"`, "scale"},
		{"null is the default", `null`, "starter"},
		{"unknown", `"enterprise"`, ""},
		{"empty", `""`, ""},
		{"number", `1`, ""},
		{"object", `{"name":"pro"}`, ""},
		{"other case", `"Pro"`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			extra := map[string]json.RawMessage{}
			if test.plan != "" {
				extra["plan"] = json.RawMessage(test.plan)
			}
			got, err := planOf(extra, "pro")
			if got != test.want {
				t.Errorf("got plan %q, want %q", got, test.want)
			}
			if test.want != "" && err != nil {
				t.Error(err)
			}
			if e, ok := errors.AsType[*flyext.Error](err); test.want == "" && (!ok || e.Code != flyext.CodeInvalid) {
				t.Errorf("got error %v, want one with code %q", err, flyext.CodeInvalid)
			}
		})
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	before := stream{
		id: "42", organizationID: "org", name: "collider", plan: "starter",
		primaryRegion: "mad", readRegions: []string{"fra"}, ipAddress: netip.MustParseAddr("fdaa::3"), status: flyext.Ready,
	}
	tests := []struct {
		name   string
		req    flyext.UpdateRequest
		change func(s *stream)
	}{
		{"nothing", flyext.UpdateRequest{}, func(*stream) {}},
		{"regions", flyext.UpdateRequest{ReadRegions: flyext.OptionalOf([]string{"syd", "gru"})},
			func(s *stream) { s.readRegions = []string{"syd", "gru"} }},
		{"no regions", flyext.UpdateRequest{ReadRegions: flyext.OptionalOf([]string{})},
			func(s *stream) { s.readRegions = []string{} }},
		{"null regions", flyext.UpdateRequest{ReadRegions: flyext.OptionalNull[[]string]()},
			func(s *stream) { s.readRegions = nil }},
		{"plan", flyext.UpdateRequest{Extra: map[string]json.RawMessage{"plan": json.RawMessage(`"pro"`)}},
			func(s *stream) { s.plan = "pro" }},
		{"machine", flyext.UpdateRequest{Extra: map[string]json.RawMessage{"machine_id": json.RawMessage(`"5683977ad31768"`)}},
			func(s *stream) { s.machineID = "5683977ad31768" }},
		{"unknown member", flyext.UpdateRequest{Extra: map[string]json.RawMessage{"colour": json.RawMessage(`1`)}},
			func(*stream) {}},
		{"null address", flyext.UpdateRequest{IPAddress: flyext.OptionalNull[netip.Addr]()},
			func(s *stream) { s.ipAddress = netip.Addr{} }},
		{"name", flyext.UpdateRequest{Name: flyext.OptionalOf("")}, func(s *stream) { s.name = "" }},
		{"organization", flyext.UpdateRequest{OrganizationID: flyext.OptionalOf("new"), UserID: flyext.OptionalOf("new")},
			func(s *stream) { s.organizationID = "new" }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, db string) {
				l := newLogjam(t, db)
				secret := provision(t, l, order42())
				x, err := l.Update(t.Context(), "42", &test.req)
				if err != nil {
					t.Fatal(err)
				}
				if x.Secrets["LOGJAM_URL"] != secret {
					t.Error("the update changed the secrets")
				}
				want := before
				test.change(&want)
				got := find(t, l, "42")
				got.sealedPassword = nil
				if !reflect.DeepEqual(*got, want) {
					t.Errorf("got %+v, want %+v", *got, want)
				}
			})
		})
	}
}

func TestUpdateWithUnknownPlanChangesNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		l := newLogjam(t, db)
		provision(t, l, order42())
		_, err := l.Update(t.Context(), "42", &flyext.UpdateRequest{
			Name:  flyext.OptionalOf("changed"),
			Extra: map[string]json.RawMessage{"plan": json.RawMessage(`"enterprise"`)},
		})
		if err == nil {
			t.Error("Update accepted an unknown plan")
		}
		if name := find(t, l, "42").name; name != "collider" {
			t.Errorf("the refused update changed the name to %q", name)
		}
	})
}

func TestDeprovision(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		l := newLogjam(t, db)
		wantError(t, l.Deprovision(t.Context(), "42"), errNotFound)
		_, err := l.Fetch(t.Context(), "42")
		wantError(t, err, errNotFound)
		_, err = l.Update(t.Context(), "42", &flyext.UpdateRequest{})
		wantError(t, err, errNotFound)

		provision(t, l, order42())
		for range 2 {
			if err := l.Deprovision(t.Context(), "42"); err != nil {
				t.Error(err)
			}
		}
		_, err = l.Fetch(t.Context(), "42")
		wantError(t, err, errDeleted)
		_, err = l.Update(t.Context(), "42", &flyext.UpdateRequest{})
		wantError(t, err, errDeleted)
		_, err = l.Provision(t.Context(), order42())
		wantError(t, err, errDeleted)
		var streams int
		if err := l.store.db.QueryRowContext(t.Context(), `SELECT count(*) FROM streams`).Scan(&streams); err != nil || streams != 0 {
			t.Errorf("%d streams are left, %v; want 0", streams, err)
		}
	})
}

// TestImpossibleID checks that ids that PostgreSQL cannot store are unknown ids, and
// not internal errors.
func TestImpossibleID(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		l := newLogjam(t, db)
		for _, id := range []string{"a\x00b", "\xff"} {
			_, err := l.Fetch(t.Context(), id)
			wantError(t, err, errNotFound)
			wantError(t, l.Deprovision(t.Context(), id), errNotFound)
			wantError(t, l.setStatus(t.Context(), nathanOf("org"), id, asleep), errNotFound)
		}
	})
}
