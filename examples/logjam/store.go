package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite", in pure Go
)

// schema keys everything on the ids that Fly.io sends. Names and e-mail
// addresses may be blank, may collide and may change.
const schema = `
CREATE TABLE IF NOT EXISTS organizations (
	id    TEXT PRIMARY KEY,
	name  TEXT NOT NULL,
	email TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS users (
	id    TEXT PRIMARY KEY,
	email TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS memberships (
	organization_id TEXT NOT NULL REFERENCES organizations (id),
	user_id         TEXT NOT NULL REFERENCES users (id),
	role            TEXT NOT NULL,
	PRIMARY KEY (organization_id, user_id)
) STRICT;
CREATE TABLE IF NOT EXISTS streams (
	id              TEXT PRIMARY KEY,
	organization_id TEXT NOT NULL REFERENCES organizations (id),
	name            TEXT NOT NULL,
	plan            TEXT NOT NULL,
	primary_region  TEXT NOT NULL,
	read_regions    TEXT NOT NULL, -- a JSON array
	ip_address      TEXT NOT NULL,
	sealed_password BLOB NOT NULL,
	created_at      INTEGER NOT NULL DEFAULT (unixepoch())
) STRICT;
CREATE INDEX IF NOT EXISTS streams_by_organization ON streams (organization_id);
CREATE TABLE IF NOT EXISTS deprovisioned (
	id TEXT PRIMARY KEY,
	at INTEGER NOT NULL DEFAULT (unixepoch())
) STRICT;
CREATE TABLE IF NOT EXISTS key_check (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	sealed BLOB NOT NULL
) STRICT;`

// A store is the database file and the key to the secrets in it.
type store struct {
	db         *sql.DB
	box        secretBox
	stateKey   string // for the sign-on
	sessionKey string // for the cookies
}

// openStore opens the database in a file, which it makes if there is none. The
// key is LOGJAM_KEY's value or, where that is empty, in the file beside it.
func openStore(ctx context.Context, path, key string) (_ *store, err error) {
	// SQLite would make it readable to everyone.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(file.Close(), syncDir(filepath.Dir(path))); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dataSource(path))
	if err != nil {
		return nil, err
	}
	// SQLite has one writer at a time. The queue of database/sql is fairer to
	// those who wait than polling for a lock.
	db.SetMaxOpenConns(1)
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if _, err := db.ExecContext(ctx, schema+dashboardSchema); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := &store{db: db}
	if err := s.unlock(ctx, path+".key", key); err != nil {
		return nil, err
	}
	return s, nil
}

// dataSource asks for what survives: in WAL mode, synchronous=FULL has every
// commit on the disk before it returns.
func dataSource(path string) string {
	options := url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)"},
		"_txlock": {"immediate"}, // a transaction that writes later than it reads could not be isolated
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: options.Encode()}).String()
}

// keyCheckOwner is the owner of the sealed text by which a key is known to fit.
// It is no stream's id: Fly.io sends none that is empty.
const keyCheckOwner = ""

var errWrongKey = errors.New("the key (LOGJAM_KEY, or the .key file beside the database) does not fit this database")

// unlock finds the key and makes sure that it is the one that this database's
// secrets are sealed with: a second key would split them in two halves of
// which one is always unreadable.
func (s *store) unlock(ctx context.Context, keyFile, text string) error {
	var sealed []byte
	err := s.db.QueryRowContext(ctx, `SELECT sealed FROM key_check`).Scan(&sealed)
	isNew := errors.Is(err, sql.ErrNoRows)
	if err != nil && !isNew {
		return err
	}
	if isNew && text == "" {
		if err := createKeyFile(keyFile); err != nil {
			return err
		}
	}
	key, err := findKey(keyFile, text)
	if err != nil {
		return err
	}
	if s.box, err = newSecretBox(key); err != nil {
		return err
	}
	if s.stateKey, err = deriveKey(key, forStates); err != nil {
		return err
	}
	if s.sessionKey, err = deriveKey(key, forSessions); err != nil {
		return err
	}
	if isNew {
		_, err := s.db.ExecContext(ctx, `INSERT INTO key_check VALUES (1, ?) ON CONFLICT DO NOTHING`,
			s.box.seal("logjam", keyCheckOwner))
		if err != nil {
			return err
		}
		// Another process may have been faster, and with another key.
		if err := s.db.QueryRowContext(ctx, `SELECT sealed FROM key_check`).Scan(&sealed); err != nil {
			return err
		}
	}
	if _, err := s.box.open(sealed, keyCheckOwner); err != nil {
		return errWrongKey
	}
	return nil
}

func findKey(keyFile, text string) ([]byte, error) {
	if text != "" {
		key, err := parseKey(text)
		if err != nil {
			return nil, fmt.Errorf("LOGJAM_KEY: %w", err)
		}
		return key, nil
	}
	key, err := readKeyFile(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the database has secrets, and its key %s is gone (set LOGJAM_KEY if you keep it elsewhere)", keyFile)
	}
	return key, err
}

func (s *store) close() error { return s.db.Close() }

// inTx runs f in a transaction, of which all is kept or, after an error,
// nothing.
func (s *store) inTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // without effect after the commit
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}
