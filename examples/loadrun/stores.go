package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"       // the driver "pgx"
	_ "github.com/ncruces/go-sqlite3/driver" // the driver "sqlite3"

	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/servertest"
)

// baseURL is Logjam's configured base URL. No process listens there: connections go
// to the machines' own addresses.
const baseURL = "http://127.0.0.1:1/flyio"

// Values of the flag -stores.
const (
	onShared     = "shared"     // PostgreSQL and Redis, for two machines
	onPostgreSQL = "postgresql" // only PostgreSQL, for two machines
	onSQLite     = "sqlite"     // a file and memory, for one machine; needs only Go
)

// options configure an environment.
type options struct {
	stores string
	logjam string   // path of the program; "" means to build it
	dir    string   // for Logjam's files
	redis  []string // additional settings of Redis
}

// An environment is a running Logjam: its machines and stores.
type environment struct {
	provider
	faults []fault

	options           options
	clientSecret, key string // secrets of Logjam, in addition to the provider's credentials
	signOn            *http.Server
	args              []string // arguments of each machine
	processes         []*process
}

// newEnvironment builds and starts Logjam. The servers of shared stores belong to t
// and report their errors to it.
func newEnvironment(ctx context.Context, t testing.TB, o options, connections int) (_ *environment, err error) {
	if o.logjam == "" {
		if o.logjam, err = build(ctx, o.dir); err != nil {
			return nil, err
		}
	}
	s := &environment{
		provider: provider{
			baseURL: baseURL, credentials: flytest.Credentials{SigningSecret: rand.Text(), BearerToken: rand.Text()},
			headers: 5 * time.Second, whole: 30 * time.Second, // Logjam's timeouts
			patience: 5 * time.Second, rest: 15 * time.Second,
		},
		options: o, clientSecret: rand.Text(), key: newKey(), args: []string{"-base-url", baseURL},
	}
	if err := s.serveSignOn(connections); err != nil {
		return nil, err
	}
	if err := s.addMachines(t); err != nil {
		s.close()
		return nil, err
	}
	if err := s.startMachines(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// newKey returns a key for Logjam's database.
func newKey() string {
	key := make([]byte, 32)
	rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

// serveSignOn serves the simulated Fly.io sign-in until close.
func (s *environment) serveSignOn(organizations int) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return err
	}
	s.oauthURL = "http://localhost:" + port
	s.signOn = &http.Server{Handler: signOn(s.clientSecret, organizations)}
	go s.signOn.Serve(listener) // until it is closed
	return nil
}

// addMachines starts the stores, and adds the machines that use them, and the
// faults of both.
func (s *environment) addMachines(t testing.TB) error {
	switch s.options.stores {
	case onSQLite:
		s.useSQLite()
	case onPostgreSQL:
		s.usePostgreSQL(t)
	case onShared:
		s.useShared(t)
	default:
		return fmt.Errorf("unknown stores %q; use %s, %s or %s", s.options.stores, onShared, onPostgreSQL, onSQLite)
	}
	return nil
}

// useSQLite adds one machine with a file.
func (s *environment) useSQLite() {
	db := filepath.Join(s.options.dir, "logjam.db")
	s.args = append(s.args, "-db", db)
	s.rows = func(ctx context.Context) (map[string]row, error) { return readRows(ctx, "sqlite3", db) }
	one := s.addMachine("logjam")
	s.faults = []fault{killing(one, "logjam"), freezing(one)}
}

// usePostgreSQL adds two machines with PostgreSQL alone.
func (s *environment) usePostgreSQL(t testing.TB) {
	postgresql := s.startPostgreSQL(t)
	one, two := s.addMachine("logjam-1"), s.addMachine("logjam-2")
	s.faults = []fault{
		killing(one, "logjam"), outage("postgresql", postgresql), killing(two, "logjam"), freezingServer("postgresql", postgresql),
	}
}

// useShared adds two machines with PostgreSQL and Redis.
func (s *environment) useShared(t testing.TB) {
	postgresql := s.startPostgreSQL(t)
	// A killed Redis restores its nonces from the append-only file. "always" syncs
	// each write to disk, which matters only if the power fails.
	redis := servertest.Redis(t, slices.Concat([]string{"--appendfsync", "always"}, s.options.redis)...)
	s.args = append(s.args, "-redis-url", redis.RedisURL())
	one, two := s.addMachine("logjam-1"), s.addMachine("logjam-2")
	s.faults = []fault{
		killing(one, "logjam"), outage("redis", redis), killing(two, "logjam"), outage("postgresql", postgresql),
		freezingServer("redis", redis), freezingServer("postgresql", postgresql),
	}
}

// startPostgreSQL starts PostgreSQL, and configures a new database there for all
// machines.
func (s *environment) startPostgreSQL(t testing.TB) *servertest.Server {
	postgresql := servertest.PostgreSQL(t)
	db := postgresql.NewDatabase()
	s.args = append(s.args, "-database-url", db)
	s.sharedReplays = true
	s.rows = func(ctx context.Context) (map[string]row, error) { return readRows(ctx, "pgx", db) }
	return postgresql
}

// addMachine adds a machine with the arguments so far.
func (s *environment) addMachine(name string) *process {
	p := &process{path: s.options.logjam, env: s.variables(), args: s.args, log: filepath.Join(s.options.dir, name+".log")}
	s.processes, s.machines = append(s.processes, p), append(s.machines, p)
	return p
}

// variables returns the environment variables of each machine.
func (s *environment) variables() []string {
	return []string{
		"TMPDIR=" + s.options.dir,
		"FLYIO_SIGNING_SECRET=" + s.credentials.SigningSecret, "FLYIO_BEARER_TOKEN=" + s.credentials.BearerToken,
		"FLYIO_CLIENT_ID=logjam", "FLYIO_CLIENT_SECRET=" + s.clientSecret, "FLYIO_OAUTH_URL=" + s.oauthURL,
		"LOGJAM_KEY=" + s.key,
	}
}

// startMachines starts the machines. The error contains the log of the machine that
// failed.
func (s *environment) startMachines() error {
	for _, p := range s.processes {
		if err := p.startOnce(); err != nil {
			log, _ := os.ReadFile(p.log)
			return fmt.Errorf("%w\n%s", err, log)
		}
	}
	return nil
}

// finish reports secrets and crashes in the logs of the machines.
func (s *environment) finish(l *ledger) (err error) {
	passwords := map[string]bool{}
	for _, secret := range l.secrets() {
		if u, err := url.Parse(secret); err == nil {
			password, _ := u.User.Password()
			passwords[password] = true
		}
	}
	secrets := []string{s.credentials.SigningSecret, s.credentials.BearerToken, s.clientSecret, s.key}
	for _, p := range s.processes {
		err = errors.Join(err, p.checkLog(l, secrets, passwords))
	}
	return err
}

// close kills the machines, and stops the simulated sign-in.
func (s *environment) close() {
	for _, p := range s.processes {
		p.kill()
	}
	s.signOn.Close()
}

// signOn returns a simulated Fly.io sign-in with one customer, who is a member of
// all organizations.
func signOn(clientSecret string, organizations int) http.Handler {
	fly := &flytest.OAuthServer{ClientID: "logjam", ClientSecret: clientSecret, RedirectURLs: []string{baseURL + "/callback"}}
	u := flytest.User{ID: customer, Name: "Customer"}
	for n := range organizations {
		u.Organizations = append(u.Organizations, flytest.UserOrganization{OrganizationID: organization(n), Role: "admin"})
	}
	fly.SetUsers(u)
	fly.SetChoice(&flytest.Choice{UserID: u.ID})
	return fly
}

// Durations of faults. outageTime is longer than the database clients retry, and
// frozenTime is longer than Logjam waits for its replay store.
const (
	downtime   = 300 * time.Millisecond
	outageTime = time.Second
	frozenTime = 2500 * time.Millisecond
)

func killing(p *process, name string) fault {
	return fault{name + " killed", func() {
		p.kill()
		time.Sleep(downtime)
		if err := p.start(); err != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.unexpected = append(p.unexpected, err.Error())
		}
	}}
}

func freezing(p *process) fault {
	return fault{"logjam frozen", func() {
		p.signal(syscall.SIGSTOP)
		time.Sleep(frozenTime)
		p.signal(syscall.SIGCONT)
	}}
}

func outage(name string, s *servertest.Server) fault {
	return fault{name + " killed", func() {
		s.Kill()
		time.Sleep(outageTime)
		s.Start()
	}}
}

func freezingServer(name string, s *servertest.Server) fault {
	return fault{name + " frozen", func() {
		s.Freeze()
		time.Sleep(frozenTime)
		s.Thaw()
	}}
}

// readRows reads Logjam's streams and the number of changes of each.
func readRows(ctx context.Context, driver, source string) (map[string]row, error) {
	db, err := sql.Open(driver, source)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `
		SELECT r.stream_id, r.revision, s.id IS NOT NULL, coalesce(s.name, '')
		FROM revisions r LEFT JOIN streams s ON s.id = r.stream_id
		UNION ALL SELECT id, 0, TRUE, name FROM streams WHERE id NOT IN (SELECT stream_id FROM revisions)`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]row{}
	for rows.Next() {
		var id string
		var r row
		if err := rows.Scan(&id, &r.changes, &r.exists, &r.name); err != nil {
			return nil, err
		}
		all[id] = r
	}
	return all, rows.Err()
}
