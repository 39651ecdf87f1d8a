// Package sqlstore remembers nonces in PostgreSQL or SQLite, for a provider on
// several machines or in several processes: a [flyext.ReplayStore] and
// [flyext.ReplayLookup] over database/sql. It brings no driver. It is tested with
// github.com/jackc/pgx/v5/stdlib and modernc.org/sqlite.
//
// A nonce is a row of a table that [Store.Migrate] makes. It takes one statement, in
// a transaction of its own. The statement leaves nothing behind in the session, so
// it works through PgBouncer in any mode, as long as the driver does (pgx:
// default_query_exec_mode=exec, or simple_protocol). Where the database is out of
// reach, slow, full, locked or read-only, the store returns an error within
// [Options.Timeout], and the request is answered with 503.
//
// # Broken connections
//
// A connection can break before the answer to a commit comes. The store then asks
// again within Options.Timeout. The row says which call has entered it, so the
// second attempt knows the row of the first from the row of a copy. A database that
// restarts within that time therefore costs no request, and admits none twice.
//
// # Exactly one of several at once
//
// The statement is INSERT … ON CONFLICT. At READ COMMITTED, PostgreSQL's usual
// isolation, a statement that meets a row of an open transaction waits for it, and
// then goes by what that has committed: of several at once one inserts. At a
// stricter isolation the others may get a serialization error. SQLite has one writer
// at a time. Set a busy_timeout below Options.Timeout, or the others get an error.
//
// # Time
//
// The database's clock decides when a nonce has expired: now() in PostgreSQL, the
// machine's clock in SQLite. One row, with an empty key, is the horizon: the latest
// expiry of the rows that the store has deleted. A nonce that expires at or before
// that clock or the horizon is [flyext.ErrNonceExpired]. A clock that is set
// forwards and back therefore brings no used nonce back. After such a step the store
// may refuse requests until they expire after the horizon, which is six minutes at
// most with the default [flyext.Policy]. Events do not raise the horizon.
//
// # Expired rows
//
// The store deletes them after every 256 entries, and at its first one, 500 rows at
// a time and apart from the requests, which do not wait for it. It first commits the
// new horizon and waits for Options.Timeout, so that no statement that began with
// the old horizon can still admit a request. All machines need the same Timeout for
// that. So the table holds the rows that live at the same time, and some hundred more
// for each machine. Autovacuum takes care of their space.
//
// # What a database may forget
//
// After a crash a database has lost what was not on a disk: with
// synchronous_commit=off in PostgreSQL or synchronous=NORMAL in SQLite, the last
// moments. When an asynchronous replica takes over, it has lost what had not reached
// the replica. An attacker who has captured a request can replay it then, until the
// message is too old: six minutes after it was signed by default.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
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

	// Timeout bounds each call, whatever the driver and the caller's context do. It
	// includes waiting for a connection of the pool, and further attempts after a
	// broken connection. All machines need the same one; 0 means 1 second.
	Timeout time.Duration

	// Logger receives a record when expired rows cannot be deleted; nil is silent.
	Logger *slog.Logger
}

const (
	defaultTable   = "flyext_nonces"
	defaultTimeout = time.Second
)

// tableName is one that needs no thought about quotes, and leaves room for the
// name of the index, of 63 bytes in all.
var tableName = regexp.MustCompile(`^(?:([a-z_][a-z0-9_]{0,47})\.)?([a-z_][a-z0-9_]{0,47})$`)

// A Store is a [flyext.ReplayLookup] in a database. It is safe for concurrent use.
type Store struct {
	db      *sql.DB
	text    statements
	timeout time.Duration
	settle  func() // waits from announcing the horizon to deleting what is before it
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
	text, err := o.Dialect.statements(o.Table, o.Dialect.now())
	if err != nil {
		return nil, err
	}
	if o.Timeout < 0 {
		return nil, errors.New("sqlstore: Options.Timeout is negative")
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{db: db, text: text, timeout: o.Timeout, log: o.Logger}
	s.settle = func() { time.Sleep(s.timeout) }
	s.entries.Store(perSweep - 1) // there may be rows of a process before
	return s, nil
}

// Use implements [flyext.ReplayStore].
func (s *Store) Use(ctx context.Context, n flyext.Nonce) (fresh bool, err error) {
	// An attempt whose answer was lost is made again, and finds its own row.
	owner := rand.Int64N(math.MaxInt64) + 1
	if n.OnReceipt {
		owner = -owner
	}
	fresh, err = s.ask(ctx, func(ctx context.Context) (bool, error) { return s.enter(ctx, n, owner) })
	if fresh && s.entries.Add(1) >= perSweep {
		s.startSweep(context.WithoutCancel(ctx))
	}
	return fresh, wrap(err)
}

// enter is one attempt.
func (s *Store) enter(ctx context.Context, n flyext.Nonce, owner int64) (fresh bool, err error) {
	var of sql.NullInt64 // no owner: by a version of the store that had none
	err = s.db.QueryRowContext(ctx, s.text.use, n.Key[:], n.Expires.UnixMilli(), owner).Scan(&of)
	if errors.Is(err, sql.ErrNoRows) {
		return false, flyext.ErrNonceExpired
	}
	return err == nil && of.Int64 == owner, err
}

// Used implements [flyext.ReplayLookup]. It may report a nonce that has expired as
// used, until the store deletes its row.
func (s *Store) Used(ctx context.Context, n flyext.Nonce) (used bool, err error) {
	used, err = s.ask(ctx, func(ctx context.Context) (bool, error) {
		var one int
		err := s.db.QueryRowContext(ctx, s.text.used, n.Key[:]).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return false, nil
		}
		return err == nil, err
	})
	return used, wrap(err)
}

// ask asks until there is an answer.
func (s *Store) ask(ctx context.Context, ask func(context.Context) (bool, error)) (bool, error) {
	return bounded.Question{Timeout: s.timeout, Ask: ask, Again: isLost}.Answer(ctx)
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	return nil
}
