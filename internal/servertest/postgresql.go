package servertest

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
)

var postgresql = &kind{
	program: "postgres",
	missing: fmt.Errorf("PostgreSQL is not installed (Debian: apt-get install postgresql; macOS: brew install postgresql): %w", exec.ErrNotFound),
	find: func() string {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // Debian's directory, which is not in PATH
		slices.Reverse(found)
		if path, err := exec.LookPath("initdb"); err == nil {
			if path, err = filepath.EvalSymlinks(path); err == nil {
				found = append(found, filepath.Dir(path))
			}
		}
		for _, dir := range found {
			if all(dir, "initdb", "postgres", "pg_isready", "createdb") {
				return dir
			}
		}
		return ""
	},
	init: func(s *Server) error {
		initdb := s.command(filepath.Join(s.bin, "initdb"), "--pgdata="+filepath.Join(s.dir, "data"), "--username="+owner,
			"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
		if output, err := initdb.CombinedOutput(); err != nil {
			return fmt.Errorf("initdb: %w\n%s", err, output)
		}
		return nil
	},
	command: func(s *Server) []string {
		return []string{filepath.Join(s.bin, "postgres"), "-D", filepath.Join(s.dir, "data"), "-h", "127.0.0.1", "-p", s.port,
			"-c", "unix_socket_directories=", "-c", "max_connections=300"}
	},
	ready: func(s *Server) error {
		return exec.Command(filepath.Join(s.bin, "pg_isready"), "-q", "-h", "127.0.0.1", "-p", s.port, "-U", owner, "-t", "1").Run()
	},
	quit: "QUIT",
	user: "postgres",
}

// all reports whether a directory contains all programs.
func all(dir string, programs ...string) bool {
	return !slices.ContainsFunc(programs, func(program string) bool {
		_, err := os.Stat(filepath.Join(dir, program))
		return err != nil
	})
}

// owner is the user who owns the databases. It has no password.
const owner = "flyext"

var sharedPostgreSQL = once(postgresql)

// PostgreSQL starts a PostgreSQL server for one test. The arguments are additional
// settings, such as "-c", "fsync=off".
func PostgreSQL(t testing.TB, args ...string) *Server {
	t.Helper()
	return own(t, postgresql, args)
}

// SharedDatabase returns the URL of an empty database on a PostgreSQL server that
// all tests of a package share. That server cannot be killed or frozen.
func SharedDatabase(t testing.TB) (url string) {
	t.Helper()
	s, err := sharedPostgreSQL()
	check(t, err)
	url, err = s.newDatabase()
	check(t, err)
	return url
}

// NewDatabase creates an empty database on the server and returns its URL.
func (s *Server) NewDatabase() string {
	s.t.Helper()
	url, err := s.newDatabase()
	s.must(err)
	return url
}

var databases atomic.Int64

func (s *Server) newDatabase() (string, error) {
	name := fmt.Sprint("test", databases.Add(1))
	create := exec.Command(filepath.Join(s.bin, "createdb"), "-h", "127.0.0.1", "-p", s.port, "-U", owner, "-w", name)
	if output, err := create.CombinedOutput(); err != nil {
		return "", fmt.Errorf("createdb: %w\n%s", err, output)
	}
	database := url.URL{Scheme: "postgres", User: url.User(owner), Host: s.Addr(), Path: "/" + name, RawQuery: "sslmode=disable"}
	return database.String(), nil
}
