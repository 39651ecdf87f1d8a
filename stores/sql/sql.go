// Package sqlstore is a [flyext.ReplayStore] and [flyext.ReplayLookup] in
// PostgreSQL or SQLite, for a provider that runs on several machines or in several
// processes. It uses database/sql and includes no driver. It is tested with
// github.com/jackc/pgx/v5/stdlib and github.com/ncruces/go-sqlite3/driver. Its tests
// also passed with modernc.org/sqlite v1.62.0.
//
// Each nonce is a row of a table that [Store.Migrate] creates. Using a nonce takes
// one statement in its own transaction. The statement leaves no state in the
// session, so it works through PgBouncer in any mode if the driver does (pgx:
// default_query_exec_mode=exec or simple_protocol). If the database is unreachable,
// slow, full, locked or read-only, the store returns an error within
// [Options.Timeout], and flyext answers the request with 503.
//
// # Broken connections
//
// A connection can break before the response to a commit arrives. The store then
// retries within Options.Timeout. The row names the call that inserted it, so the
// retry can distinguish its own row from a duplicate's. A database that restarts
// within that time therefore makes no request fail, and none is accepted twice.
//
// # Concurrent duplicates
//
// The statement is INSERT … ON CONFLICT. At READ COMMITTED, PostgreSQL's default
// isolation level, a statement that conflicts with a row of an open transaction
// waits for that transaction to end. Exactly one of several concurrent duplicates
// therefore inserts the row. At a stricter isolation level the others may get a
// serialization error. SQLite has one writer at a time: set a busy_timeout below
// Options.Timeout, or concurrent writers get an error.
//
// # Time
//
// The database's clock decides when a nonce has expired: now() in PostgreSQL, the
// machine's clock in SQLite. The row with an empty key is the horizon: the latest
// expiry of the deleted rows. The store returns [flyext.ErrNonceExpired] for a
// nonce that expires at or before that clock or the horizon. A used nonce therefore
// stays used when the clock is set forwards and back. After the clock was set back,
// the store may refuse new requests with that error, until their nonces expire after
// the horizon: for six minutes at most with the default [flyext.Policy]. Events do
// not raise the horizon.
//
// # Expired rows
//
// The store deletes expired rows at its first entry and after every 256 entries, up
// to 500 rows at a time. Deletion runs in the background, so requests do not wait
// for it. The store first commits the new horizon, then waits for Options.Timeout.
// After that, no statement that began with the old horizon can still accept a
// request. This requires the same Timeout on all machines. The table holds the live
// rows, and some hundred expired ones for each machine. Autovacuum reclaims the
// space of deleted rows.
//
// # Data loss
//
// A database can lose used nonces:
//
//   - In a crash it loses the rows not yet on disk: the most recent ones with
//     synchronous_commit=off in PostgreSQL or synchronous=NORMAL in SQLite.
//   - On failover to an asynchronous replica, it loses the rows not yet replicated.
//
// An attacker who has captured a request can then replay it until the request is
// too old: five minutes after it was signed by default.
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

// Options configure a [Store]. Dialect is required.
type Options struct {
	// Dialect is the database's SQL dialect: [PostgreSQL] or [SQLite].
	Dialect Dialect

	// Table is the name of the table, in lower case, such as "logjam_nonces"; ""
	// means "flyext_nonces". It may be qualified by a schema, or by SQLite's
	// attached database: "extension.nonces". Each part has at most 48 characters of
	// a-z, 0-9 and _. Providers that share a database need different tables.
	Table string

	// Timeout limits each call, even if the driver ignores its context. It includes
	// waiting for a connection of the pool and retrying after a broken connection.
	// All machines need the same value; 0 means 1 second.
	Timeout time.Duration

	// Logger receives a record when expired rows cannot be deleted. If it is nil,
	// nothing is logged.
	Logger *slog.Logger
}

const (
	defaultTable   = "flyext_nonces"
	defaultTimeout = time.Second
)

// tableName matches names that need no escaping. 48 bytes leave room for the suffix
// of the index, because PostgreSQL allows 63.
var tableName = regexp.MustCompile(`^(?:([a-z_][a-z0-9_]{0,47})\.)?([a-z_][a-z0-9_]{0,47})$`)

// A Store is a [flyext.ReplayLookup] in a database. It is safe for concurrent use.
type Store struct {
	db      *sql.DB
	text    statements
	timeout time.Duration
	settle  func() // waits between committing the horizon and deleting rows
	log     *slog.Logger

	entries  atomic.Int64 // since the last sweep
	sweeping atomic.Bool
}

var _ flyext.ReplayLookup = (*Store)(nil)

// New returns a store that uses db. It does not connect, so a service can start
// while the database is down. The table must exist before the first request: see
// [Store.Migrate]. Each concurrent call needs one connection for a moment. New
// returns an error for a nil db or invalid options. The caller remains responsible
// for closing db.
func New(db *sql.DB, o Options) (*Store, error) {
	if db == nil {
		return nil, errors.New("sqlstore: the database is nil; pass the *sql.DB to use")
	}
	if o.Table == "" {
		o.Table = defaultTable
	}
	text, err := o.Dialect.statements(o.Table, o.Dialect.now())
	if err != nil {
		return nil, err
	}
	if o.Timeout < 0 {
		return nil, errors.New("sqlstore: Options.Timeout is negative; use 0 for the default")
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{db: db, text: text, timeout: o.Timeout, log: o.Logger}
	s.settle = func() { time.Sleep(s.timeout) }
	s.entries.Store(perSweep - 1) // an earlier process may have left expired rows
	return s, nil
}

// Use implements [flyext.ReplayStore]. An error, such as [flyext.ErrNonceExpired],
// is returned within [Options.Timeout].
func (s *Store) Use(ctx context.Context, n flyext.Nonce) (fresh bool, err error) {
	// A retry after a lost response recognizes its own row by the owner.
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

// enter makes one attempt to insert a nonce.
func (s *Store) enter(ctx context.Context, n flyext.Nonce, owner int64) (fresh bool, err error) {
	var of sql.NullInt64 // null in rows of versions before the column existed
	err = s.db.QueryRowContext(ctx, s.text.use, n.Key[:], n.Expires.UnixMilli(), owner).Scan(&of)
	if errors.Is(err, sql.ErrNoRows) {
		return false, flyext.ErrNonceExpired
	}
	return err == nil && of.Int64 == owner, err
}

// Used implements [flyext.ReplayLookup]. It may report an expired nonce as used
// until the store deletes its row.
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

// ask retries a query within the timeout.
func (s *Store) ask(ctx context.Context, ask func(context.Context) (bool, error)) (bool, error) {
	return bounded.Question{Timeout: s.timeout, Ask: ask, Again: isLost}.Answer(ctx)
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	return nil
}
