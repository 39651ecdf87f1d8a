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
	finish func(*ledger) error
	close  func()
}

// newEnvironment builds and starts Logjam. The servers of shared stores belong to t
// and report their errors to it.
func newEnvironment(ctx context.Context, t testing.TB, o options, connections int) (_ *environment, err error) {
	stores, logjam, dir := o.stores, o.logjam, o.dir
	if logjam == "" {
		if logjam, err = build(ctx, dir); err != nil {
			return nil, err
		}
	}
	credentials := flytest.Credentials{SigningSecret: rand.Text(), BearerToken: rand.Text()}
	clientSecret, keyBytes := rand.Text(), make([]byte, 32)
	rand.Read(keyBytes)
	key := base64.StdEncoding.EncodeToString(keyBytes)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, err
	}
	s := &environment{provider: provider{
		baseURL: baseURL, oauthURL: "http://localhost:" + port, credentials: credentials,
		headers: 5 * time.Second, whole: 30 * time.Second, // Logjam's timeouts
		patience: 5 * time.Second, rest: 15 * time.Second,
	}}
	oauth := &http.Server{Handler: signOn(clientSecret, connections)}
	go oauth.Serve(listener) // until it is closed
	env := []string{
		"TMPDIR=" + dir, "FLYIO_SIGNING_SECRET=" + credentials.SigningSecret, "FLYIO_BEARER_TOKEN=" + credentials.BearerToken,
		"FLYIO_CLIENT_ID=logjam", "FLYIO_CLIENT_SECRET=" + clientSecret, "FLYIO_OAUTH_URL=" + s.oauthURL,
		"LOGJAM_KEY=" + key,
	}
	args := []string{"-base-url", baseURL}
	var processes []*process
	machine := func(name string) *process {
		p := &process{path: logjam, env: env, args: args, log: filepath.Join(dir, name+".log")}
		processes, s.machines = append(processes, p), append(s.machines, p)
		return p
	}
	s.close = func() {
		for _, p := range processes {
			p.kill()
		}
		oauth.Close()
	}
	s.finish = func(l *ledger) (err error) {
		passwords := map[string]bool{}
		for _, secret := range l.secrets() {
			if u, err := url.Parse(secret); err == nil {
				password, _ := u.User.Password()
				passwords[password] = true
			}
		}
		for _, p := range processes {
			secrets := []string{credentials.SigningSecret, credentials.BearerToken, clientSecret, key}
			err = errors.Join(err, p.checkLog(l, secrets, passwords))
		}
		return err
	}

	switch stores {
	case onSQLite:
		db := filepath.Join(dir, "logjam.db")
		args = append(args, "-db", db)
		one := machine("logjam")
		s.faults = []fault{killing(one, "logjam"), freezing(one)}
		s.rows = func(ctx context.Context) (map[string]row, error) { return readRows(ctx, "sqlite3", db) }
	case onShared, onPostgreSQL:
		postgresql := servertest.PostgreSQL(t)
		db := postgresql.NewDatabase()
		args = append(args, "-database-url", db)
		s.sharedReplays = true
		s.rows = func(ctx context.Context) (map[string]row, error) { return readRows(ctx, "pgx", db) }
		if stores == onPostgreSQL {
			one, two := machine("logjam-1"), machine("logjam-2")
			s.faults = []fault{
				killing(one, "logjam"), outage("postgresql", postgresql), killing(two, "logjam"), freezingServer("postgresql", postgresql),
			}
			break
		}
		// A killed Redis restores its nonces from the append-only file. "always" syncs
		// each write to disk, which matters only if the power fails.
		redis := servertest.Redis(t, slices.Concat([]string{"--appendfsync", "always"}, o.redis)...)
		args = append(args, "-redis-url", redis.RedisURL())
		one, two := machine("logjam-1"), machine("logjam-2")
		s.faults = []fault{
			killing(one, "logjam"), outage("redis", redis), killing(two, "logjam"), outage("postgresql", postgresql),
			freezingServer("redis", redis), freezingServer("postgresql", postgresql),
		}
	default:
		s.close()
		return nil, fmt.Errorf("unknown stores %q; use %s, %s or %s", stores, onShared, onPostgreSQL, onSQLite)
	}
	for _, p := range processes {
		if err := p.startOnce(); err != nil {
			log, _ := os.ReadFile(p.log)
			s.close()
			return nil, fmt.Errorf("%w\n%s", err, log)
		}
	}
	return s, nil
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
