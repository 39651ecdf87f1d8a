package service

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/flyext/flyext/examples/logjam/backend"
)

// A riverQueue is the job queue in either database.
type riverQueue = backend.Queue

// A store is the database and the key to the secrets in it. The queries are
// the same for SQLite and PostgreSQL, with parameters that both know as $1; the
// tables are in sqlite.sql and in package shared.
type store struct {
	db         *sql.DB
	queue      riverQueue
	box        secretBox
	stateKey   string // for the sign-on
	sessionKey string // for the cookies
}

// openStore opens the database that the configuration names.
func openStore(ctx context.Context, c config) (*store, error) {
	if c.databaseURL != "" {
		return openPostgreSQL(ctx, c)
	}
	return openSQLite(ctx, c.db, c.key)
}

// migrationAttempts is more than there are steps.
const migrationAttempts = 20

// migrate runs steps that do nothing where they were done before. Of processes
// that start at once, each may take the same step, and all but one fail at it:
// when they have, the step is done, and they go on behind it.
func migrate(ctx context.Context, steps func() error) error {
	for attempt := 1; ; attempt++ {
		err := steps()
		if err == nil || attempt == migrationAttempts || ctx.Err() != nil {
			return err
		}
	}
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
	if isNew && text == "" && keyFile != "" {
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
		_, err := s.db.ExecContext(ctx, `INSERT INTO key_check VALUES (1, $1) ON CONFLICT DO NOTHING`,
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

// transactionAttempts limits how often inTx runs a transaction.
const transactionAttempts = 5

// inTx runs f in a transaction. It commits the transaction if f returns nil, and
// rolls it back otherwise. PostgreSQL ends one of the transactions that wait for
// each other. inTx then runs f again, so f must overwrite the variables that it
// sets.
func (s *store) inTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := s.tryTx(ctx, f)
		if !isDeadlock(err) || attempt == transactionAttempts || ctx.Err() != nil {
			return err
		}
	}
}

func (s *store) tryTx(ctx context.Context, f func(tx *sql.Tx) error) error {
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

// isDeadlock reports whether PostgreSQL ended a transaction because it and others
// waited for each other (SQLSTATE 40P01, deadlock_detected).
func isDeadlock(err error) bool {
	answer, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err)
	return ok && answer.SQLState() == "40P01"
}
