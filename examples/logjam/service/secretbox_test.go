package service

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecretsAreSealed checks that a copy of the database files reveals no secret.
func TestSecretsAreSealed(t *testing.T) {
	t.Parallel()
	path := dbPath(t)
	l := newLogjam(t, path)
	_, rest, _ := strings.Cut(provision(t, l, order42()), "://42:")
	password, _, ok := strings.Cut(rest, "@")
	if !ok || len(password) < 26 {
		t.Fatal("the URL does not have a password of at least 128 bits")
	}
	for _, file := range []string{path, path + "-wal"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(password)) {
			t.Errorf("%s contains the password in clear text", filepath.Base(file))
		}
	}
	for _, file := range []string{path, path + "-wal", path + "-shm", path + ".key"} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", filepath.Base(file), info.Mode().Perm())
		}
	}
}

// TestSecretsStayWithTheirStream checks that an attacker who can write to the
// database cannot read a secret by moving it to the attacker's stream, and cannot
// set a secret.
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
				t.Errorf("the secret opens: %q", fmt.Sprint(x.Secrets))
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
		{"not base64", "secret", nil, "must be 32 bytes in base64"},
		{"short", "c2hvcnQ=", nil, "must be 32 bytes in base64"},
		{"other key file", "", func(f string) error { return os.WriteFile(f, []byte(otherKey), 0o600) }, "does not fit this database"},
		{"no key file", "", os.Remove, "missing key file"},
		{"empty key file", "", func(f string) error { return os.Truncate(f, 0) }, "must be 32 bytes in base64"},
		{"readable by the group", "", func(f string) error { return os.Chmod(f, 0o640) }, "other users may read the key file"},
		{"readable by others", "", func(f string) error { return os.Chmod(f, 0o604) }, "other users may read the key file"},
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
				t.Fatal("the database opened")
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line with %q", err, test.want)
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
		t.Error("Logjam made a key file although LOGJAM_KEY is set")
	}
}
