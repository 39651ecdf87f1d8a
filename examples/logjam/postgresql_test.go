package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// testKey is LOGJAM_KEY for databases without a key file.
const testKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// errNoPostgreSQL says how to get it.
var errNoPostgreSQL = errors.New("PostgreSQL is not installed (Debian: apt-get install postgresql; macOS: brew install postgresql)")

// A postgresServer is a PostgreSQL of the tests' own, on loopback, whose files
// go when the tests end.
type postgresServer struct {
	bin, data string
	asUser    []string // the command that runs another one as somebody else than root
	port      string
	process   *exec.Cmd
	stdin     io.Closer
	log       bytes.Buffer // to be read when it has ended
	databases atomic.Int64
}

// postgresql starts the server for the first test that needs it.
var postgresql = sync.OnceValues(func() (*postgresServer, error) {
	s := &postgresServer{data: filepath.Join(buildDir, "postgresql")}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // where Debian has it, and not in PATH
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		return nil, errNoPostgreSQL
	}
	s.bin = filepath.Dir(found[len(found)-1])
	if os.Getuid() == 0 { // as whom PostgreSQL refuses to run
		s.asUser = []string{"runuser", "-u", "postgres", "--"}
		if err := errors.Join(os.Mkdir(s.data, 0o700), os.Chmod(buildDir, 0o711), exec.Command("chown", "postgres", s.data).Run()); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, s.port, err = net.SplitHostPort(listener.Addr().String())
	if err := errors.Join(err, listener.Close()); err != nil {
		return nil, err
	}
	initdb := s.command(filepath.Join(s.bin, "initdb"), "--pgdata="+s.data, "--username=logjam",
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	if output, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, output)
	}
	return s, s.start()
})

// untilEOF runs a server until its standard input ends, which it does with the
// tests, however they do.
const untilEOF = `"$0" "$@" & read -r line; kill -QUIT $!; wait $!`

func (s *postgresServer) start() (err error) {
	s.process = s.command("sh", "-c", untilEOF, filepath.Join(s.bin, "postgres"), "-D", s.data, "-h", "127.0.0.1", "-p", s.port,
		"-c", "unix_socket_directories=", "-c", "max_connections=300")
	if s.stdin, err = s.process.StdinPipe(); err != nil {
		return err
	}
	s.process.Stderr = &s.log
	if err := s.process.Start(); err != nil {
		return err
	}
	db, err := sql.Open("pgx", s.url("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	for range 600 {
		if err = db.Ping(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.stop()
	return fmt.Errorf("PostgreSQL does not start: %w\n%s", err, &s.log)
}

func (s *postgresServer) stop() {
	s.stdin.Close()
	_ = s.process.Wait() // it was killed
}

// command is a command that is not run by root.
func (s *postgresServer) command(name string, args ...string) *exec.Cmd {
	words := slices.Concat(s.asUser, []string{name}, args)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = "/" // where anybody may be
	return cmd
}

func (s *postgresServer) url(database string) string {
	return (&url.URL{
		Scheme: "postgres", User: url.User("logjam"), Host: "127.0.0.1:" + s.port, Path: "/" + database, RawQuery: "sslmode=disable",
	}).String()
}

// stopPostgreSQL stops what was started.
func stopPostgreSQL() {
	if _, err := os.Stat(filepath.Join(buildDir, "postgresql")); err != nil {
		return
	}
	if s, err := postgresql(); err == nil {
		s.stop()
	}
}

// newPostgreSQL returns the URL of an empty database.
func newPostgreSQL(t *testing.T) string {
	t.Helper()
	s, err := postgresql()
	if errors.Is(err, errNoPostgreSQL) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", s.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	name := fmt.Sprint("test", s.databases.Add(1))
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return s.url(name)
}

// onEach runs a test on an empty database of each kind: a file's path, or a URL.
func onEach(t *testing.T, test func(t *testing.T, db string)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, dbPath(t))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, newPostgreSQL(t))
	})
}

// another returns an empty database of the same kind.
func another(t *testing.T, db string) string {
	t.Helper()
	if isPostgreSQL(db) {
		return newPostgreSQL(t)
	}
	return dbPath(t)
}

func isPostgreSQL(db string) bool { return strings.HasPrefix(db, "postgres:") }

// databaseConfig is the configuration of one of them.
func databaseConfig(db string) config {
	if isPostgreSQL(db) {
		return config{databaseURL: db, key: testKey}
	}
	return config{db: db}
}

// openDatabase opens one of them.
func openDatabase(ctx context.Context, db string) (*store, error) {
	return openStore(ctx, databaseConfig(db))
}
