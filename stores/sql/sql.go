// Package sqlstore remembers nonces in PostgreSQL or SQLite, for a provider on
// several machines or in several processes: a [flyext.ReplayStore] and
// [flyext.ReplayLookup] over database/sql. It brings no driver; it is tested with
// github.com/jackc/pgx/v5/stdlib and modernc.org/sqlite.
//
// A nonce is a row, which [Store.Migrate] makes the table for; it takes one
// statement, in a transaction of its own. That leaves nothing behind in the
// session, so that it works through PgBouncer in any mode, as long as the driver
// does (pgx: default_query_exec_mode=exec, or simple_protocol). Where the database
// is out of reach, slow, full, locked or read-only, the store returns an error
// within [Options.Timeout], and the request is answered with 503. It comes back
// when the database does.
//
// # Exactly one of several at once
//
// The statement is INSERT … ON CONFLICT. At READ COMMITTED, PostgreSQL's usual
// isolation, one that meets a row of a transaction which has not ended waits for
// it, and then goes by what it has committed: of several at once one inserts. At a
// stricter isolation the others may be told that they could not be serialized,
// which is an error and no pass. SQLite has one writer at a time; let the others
// wait for it, with a busy_timeout below Options.Timeout, or they get an error,
// too. Should the answer to a commit be lost, that is an error as well, and the
// nonce may be used up. A driver sends a statement again by itself where it is sure
// that it was not executed, and only there.
//
// # Expired rows
//
// They count as absent, and are deleted by the store: after every 256 entries, and
// at its first one, it deletes what has expired, 500 rows at a time and beside the
// requests, none of which waits for it. So the table holds as many rows as live at
// the same time, and at most some hundred more for each machine. Autovacuum takes
// care of their space.
//
// # What a database may forget
//
// What it has not on a disk, after a crash: with synchronous_commit=off in
// PostgreSQL or synchronous=NORMAL in SQLite, the last moments. And when an
// asynchronous replica takes over, what had not reached it. What is forgotten can
// be replayed until the message is too old, six minutes after it was signed at
// most, by somebody who has captured it.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/bounded"
)

// Options are what a [Store] may be told. Dialect is required.
type Options struct {
	// Dialect is which database it is.
	Dialect Dialect

	// Table is the name of the table, in lower case, such as "logjam_nonces"; ""
	// means "flyext_nonces". Before a dot it may have the schema, or SQLite's
	// attached database. Providers that share a database need different ones.
	Table string

	// Timeout bounds each call, whatever the driver and the caller's context do,
	// waiting for a connection of the pool included; 0 means 1 second.
	Timeout time.Duration

	// Now is the clock that nonces expire by, the one of flyext.Config.Now; nil
	// means [time.Now].
	Now func() time.Time

	// Logger receives a record when expired rows cannot be deleted; nil is silent.
	Logger *slog.Logger
}

const (
	defaultTable   = "flyext_nonces"
	defaultTimeout = time.Second
	// minLife is longer than what the clocks of two machines should differ by: it
	// is for a verifier that leaves no time for that. flyext's own do.
	minLife = time.Minute
	maxLife = 100 * 365 * 24 * time.Hour // which the database can still add to its clock

	perSweep     = 256 // entries from one sweep to the next
	sweepRows    = 500 // for some milliseconds
	sweepTimeout = 30 * time.Second
)

// tableName is one that needs no thought about quotes, and leaves room for the
// name of the index, of 63 bytes in all.
var tableName = regexp.MustCompile(`^(?:([a-z_][a-z0-9_]{0,47})\.)?([a-z_][a-z0-9_]{0,47})$`)

// A Store is a [flyext.ReplayLookup] in a database. It is safe for concurrent use.
type Store struct {
	db      *sql.DB
	text    statements
	timeout time.Duration
	now     func() time.Time
	log     *slog.Logger

	entries  atomic.Int64 // since the last sweep
	sweeping atomic.Bool
}

var _ flyext.ReplayLookup = (*Store)(nil)

// New returns a store in a database. It does not connect, so that a service starts
// while the database is down; the table must be there by the first request, see
// [Store.Migrate]. The database stays the caller's to close. What it needs of
// connections is one for each request at a time, for a moment.
func New(db *sql.DB, o Options) (*Store, error) {
	if db == nil {
		return nil, errors.New("sqlstore: the database is nil")
	}
	if o.Table == "" {
		o.Table = defaultTable
	}
	text, err := o.Dialect.statements(o.Table)
	if err != nil {
		return nil, err
	}
	if o.Timeout < 0 {
		return nil, errors.New("sqlstore: Options.Timeout is negative")
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{db: db, text: text, timeout: o.Timeout, now: o.Now, log: o.Logger}
	s.entries.Store(perSweep - 1) // there may be rows of a process before
	return s, nil
}

// migrationAttempts is more than there are statements.
const migrationAttempts = 5

// Migrate makes the table and its index where they are not there yet: what
// [Dialect.Schema] has, for those who would rather do that themselves. Several
// machines may do it at once.
func (s *Store) Migrate(ctx context.Context) error {
	var err error
	// PostgreSQL's IF NOT EXISTS fails for all but one of several at once.
	for range migrationAttempts {
		if err = s.migrate(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	return wrap(err)
}

func (s *Store) migrate(ctx context.Context) error {
	for _, statement := range s.text.schema {
		if _, err := s.db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// Use implements [flyext.ReplayStore]. A nonce that has expired is an error.
//
// How long a nonce has to live is by this machine's clock, rounded up, and a minute
// at least. When that is over is by the database's, which is one for all: a machine
// whose clock is ahead must not delete what still lives for the others.
func (s *Store) Use(ctx context.Context, n flyext.Nonce) (fresh bool, err error) {
	life, err := s.life(n)
	if err != nil {
		return false, err
	}
	fresh, err = s.ask(ctx, s.text.use, n.Key[:], life.Milliseconds())
	if fresh && s.entries.Add(1) >= perSweep {
		s.startSweep(context.WithoutCancel(ctx))
	}
	return fresh, err
}

// Used implements [flyext.ReplayLookup].
func (s *Store) Used(ctx context.Context, n flyext.Nonce) (used bool, err error) {
	return s.ask(ctx, s.text.used, n.Key[:])
}

// ask says whether a statement returns a row.
func (s *Store) ask(ctx context.Context, statement string, args ...any) (bool, error) {
	found, err := bounded.Ask(ctx, s.timeout, func(ctx context.Context) (bool, error) {
		var one int
		err := s.db.QueryRowContext(ctx, statement, args...).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return false, nil
		}
		return err == nil, err
	})
	return found, wrap(err)
}

// life is how long to remember a nonce, in whole milliseconds. One that has
// expired is not for now: either the clock is another one than the verifier's, and
// then no time is long enough, or the message came through too late.
func (s *Store) life(n flyext.Nonce) (time.Duration, error) {
	left := n.Expires.Sub(s.now())
	if left <= 0 {
		return 0, errors.New("sqlstore: the nonce has expired (is Options.Now another clock than flyext.Config.Now?)")
	}
	left = min(max(left, minLife), maxLife)
	return (left + time.Millisecond - 1).Truncate(time.Millisecond), nil
}

// startSweep deletes what has expired, beside the requests: a sweep that is slow,
// as it is while an old transaction holds up vacuum, costs none of them its time.
// There is one at a time, which ends by itself.
func (s *Store) startSweep(ctx context.Context) {
	if !s.sweeping.CompareAndSwap(false, true) {
		return
	}
	s.entries.Store(0)
	go func() {
		defer s.sweeping.Store(false)
		ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
		defer cancel()
		if err := s.sweep(ctx); err != nil {
			s.log.ErrorContext(ctx, "expired nonces not deleted", slog.String("error", err.Error()))
		}
	}()
}

// sweep deletes little at a time, so that nobody waits for its locks.
func (s *Store) sweep(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("sqlstore: panic: %v", p)
		}
	}()
	for {
		result, err := s.db.ExecContext(ctx, s.text.sweep)
		if err != nil {
			return wrap(err)
		}
		if n, err := result.RowsAffected(); err != nil || n < sweepRows {
			return wrap(err)
		}
	}
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	return nil
}
