package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

// newLogjam is Logjam on a database, without webhooks.
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

// wantError checks that an error is what a customer is to be told.
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
			t.Error("a repeated POST has other secrets")
		}
		if other := provision(t, l, &flyext.ProvisionRequest{ID: "43", OrganizationID: "org"}); other == first {
			t.Error("two streams have the same secrets")
		}
		if err := l.store.close(); err != nil {
			t.Fatal(err)
		}
		l = newLogjam(t, db)
		if again := provision(t, l, order42()); again != first {
			t.Error("after a restart a repeated POST has other secrets")
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

// The id is the key, and its secrets are its organization's.
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

// A transaction that fails late leaves nothing of its beginning.
func TestProvisionIsOneTransaction(t *testing.T) {
	t.Parallel()
	l := newLogjam(t, dbPath(t))
	_, err := l.store.db.ExecContext(t.Context(),
		`CREATE TRIGGER refuse BEFORE INSERT ON streams BEGIN SELECT raise(ABORT, 'the disk is full'); END`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Provision(t.Context(), order42()); err == nil {
		t.Fatal("provisioned, though the row of the stream could not be written")
	}
	var rows int
	err = l.store.db.QueryRowContext(t.Context(),
		`SELECT (SELECT count(*) FROM organizations) + (SELECT count(*) FROM users) + (SELECT count(*) FROM memberships)`).Scan(&rows)
	if err != nil || rows != 0 {
		t.Errorf("%d rows are left of a failed transaction, %v", rows, err)
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
				t.Errorf("got error %v, want one of code %q", err, flyext.CodeInvalid)
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
			t.Error("there is no such plan")
		}
		if name := find(t, l, "42").name; name != "collider" {
			t.Errorf("the name is %q", name)
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
			t.Errorf("%d streams are left, %v", streams, err)
		}
	})
}

// What cannot be an id is none's, and no failure of the database.
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

// Whoever copies the files of the database has no secret of it.
func TestSecretsAreSealed(t *testing.T) {
	t.Parallel()
	path := dbPath(t)
	l := newLogjam(t, path)
	_, rest, _ := strings.Cut(provision(t, l, order42()), "://42:")
	password, _, ok := strings.Cut(rest, "@")
	if !ok || len(password) < 26 {
		t.Fatal("no password of 128 bits in the URL")
	}
	for _, file := range []string{path, path + "-wal"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(password)) {
			t.Errorf("%s has the password in the clear", filepath.Base(file))
		}
	}
	for _, file := range []string{path, path + "-wal", path + ".key"} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %o", filepath.Base(file), info.Mode().Perm())
		}
	}
}

// Whoever writes to the database cannot have a secret by moving it to a stream
// of their own, nor put one of their choice.
func TestSecretsStayWithTheirStream(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, attack string }{
		{"moved", `UPDATE streams SET sealed_password = (SELECT sealed_password FROM streams WHERE id = '42') WHERE id = '43'`},
		{"key check", `UPDATE streams SET sealed_password = (SELECT sealed FROM key_check) WHERE id = '43'`},
		{"altered", `UPDATE streams SET sealed_password = CAST(substr(sealed_password, 1, 20) ||
			iif(substr(sealed_password, 21, 1) = x'00', x'01', x'00') || substr(sealed_password, 22) AS BLOB) WHERE id = '43'`},
		{"cut", `UPDATE streams SET sealed_password = substr(sealed_password, 1, 8) WHERE id = '43'`},
		{"empty", `UPDATE streams SET sealed_password = x'' WHERE id = '43'`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLogjam(t, dbPath(t))
			provision(t, l, order42())
			own := order42()
			own.ID = "43"
			provision(t, l, own)
			if _, err := l.store.db.ExecContext(t.Context(), test.attack); err != nil {
				t.Fatal(err)
			}
			if x, err := l.Provision(t.Context(), own); err == nil {
				t.Errorf("it opens: %q", fmt.Sprint(x.Secrets))
			}
		})
	}
}

func TestWrongKey(t *testing.T) {
	t.Parallel()
	const otherKey = testKey
	tests := []struct {
		name  string
		key   string // LOGJAM_KEY
		spoil func(keyFile string) error
		want  string
	}{
		{"other key", otherKey, nil, "does not fit this database"},
		{"no base64", "secret", nil, "not 32 bytes in base64"},
		{"short", "c2hvcnQ=", nil, "not 32 bytes in base64"},
		{"other key file", "", func(f string) error { return os.WriteFile(f, []byte(otherKey), 0o600) }, "does not fit this database"},
		{"no key file", "", os.Remove, "is gone"},
		{"empty key file", "", func(f string) error { return os.Truncate(f, 0) }, "not 32 bytes in base64"},
		{"readable by the group", "", func(f string) error { return os.Chmod(f, 0o640) }, "others may read the key file"},
		{"readable by others", "", func(f string) error { return os.Chmod(f, 0o604) }, "others may read the key file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := dbPath(t)
			provision(t, newLogjam(t, path), order42())
			if test.spoil != nil {
				if err := test.spoil(path + ".key"); err != nil {
					t.Fatal(err)
				}
			}
			store, err := openStore(t.Context(), config{db: path, key: test.key})
			if err == nil {
				store.close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want a line with %q", err, test.want)
			}
		})
	}
}

func TestKeyFromEnvironment(t *testing.T) {
	t.Parallel()
	const key = testKey
	path := dbPath(t)
	for range 2 {
		store, err := openStore(t.Context(), config{db: path, key: key})
		if err != nil {
			t.Fatal(err)
		}
		store.close()
	}
	if _, err := os.Stat(path + ".key"); err == nil {
		t.Error("a key file was made beside a key in the environment")
	}
}

// A path may hold what means something in a URL.
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

// What the promise about SIGKILL and power rests on.
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
