package service

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/flyext/flyext/examples/logjam/backend"
)

// A riverQueue is River's driver for either database.
type riverQueue = backend.Queue

// A store is the database, with the keys for its secrets. SQLite and PostgreSQL run
// the same queries, because both accept parameters such as $1. The tables are in
// sqlite.sql and in package shared.
type store struct {
	db         *sql.DB
	queue      riverQueue
	box        secretBox
	stateKey   string // signs the state of sign-ons
	sessionKey string // signs session cookies
}

// openStore opens the database that the configuration names.
func openStore(ctx context.Context, c config) (*store, error) {
	if c.databaseURL != "" {
		return openPostgreSQL(ctx, c)
	}
	return openSQLite(ctx, c.db, c.key)
}

// migrationAttempts exceeds the number of steps.
const migrationAttempts = 20

// migrate runs steps until they succeed, at most migrationAttempts times. A step must
// do nothing if it is already done. If several processes start at once and take the
// same step, all but one may fail. The step is done then, so the next attempt gets
// further.
func migrate(ctx context.Context, steps func() error) error {
	for attempt := 1; ; attempt++ {
		err := steps()
		if err == nil || attempt == migrationAttempts || ctx.Err() != nil {
			return err
		}
	}
}

// keyCheckOwner is the owner of the sealed text in the table key_check. It is empty,
// so it cannot be the id of a stream.
const keyCheckOwner = ""

var errWrongKey = errors.New("the key (LOGJAM_KEY, or the .key file next to the database) does not fit this database; restore the key that the database was created with")

// unlock reads the key, and checks that this database's secrets are sealed with it.
// Two keys in one database would leave some secrets unreadable.
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
	if err := s.setKey(key); err != nil {
		return err
	}
	if isNew {
		if sealed, err = s.sealKeyCheck(ctx); err != nil {
			return err
		}
	}
	if _, err := s.box.open(sealed, keyCheckOwner); err != nil {
		return errWrongKey
	}
	return nil
}

// setKey sets the keys that are derived from Logjam's key.
func (s *store) setKey(key []byte) (err error) {
	if s.box, err = newSecretBox(key); err != nil {
		return err
	}
	if s.stateKey, err = deriveKey(key, forStates); err != nil {
		return err
	}
	s.sessionKey, err = deriveKey(key, forSessions)
	return err
}

// sealKeyCheck stores the sealed text of a new database, and returns the text that
// the database has. Another process may have stored its own first, with another key.
func (s *store) sealKeyCheck(ctx context.Context) (sealed []byte, err error) {
	_, err = s.db.ExecContext(ctx, `INSERT INTO key_check VALUES (1, $1) ON CONFLICT DO NOTHING`,
		s.box.seal("logjam", keyCheckOwner))
	if err != nil {
		return nil, err
	}
	err = s.db.QueryRowContext(ctx, `SELECT sealed FROM key_check`).Scan(&sealed)
	return sealed, err
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
		return nil, fmt.Errorf("missing key file %s; restore it, or set LOGJAM_KEY", keyFile)
	}
	return key, err
}

func (s *store) close() error { return s.db.Close() }

const (
	transactionAttempts = 5 // limits how often inTx runs a transaction

	// deadlockWait is the time before the next attempt. The other transaction gets the
	// lock meanwhile. Otherwise the next attempt could take it, for another deadlock.
	deadlockWait = 50 * time.Millisecond
)

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
		time.Sleep(deadlockWait)
	}
}

// transactionTimeout ends a transaction whose database hangs. It is longer than the
// deadline of any caller.
const transactionTimeout = time.Minute

// tryTx runs f in a transaction. Statements end with ctx. The transaction itself does
// not: database/sql would close the connection, and SQLite writes all its data to the
// database when its only connection closes.
func (s *store) tryTx(ctx context.Context, f func(tx *sql.Tx) error) (err error) {
	defer func() {
		// SQLite's driver returns its own error if the context ends in a statement.
		if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}()
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // returns it to the pool
	txCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	tx, err := conn.BeginTx(txCtx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // no effect after the commit
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
