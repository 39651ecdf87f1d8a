package servertest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var redis = &kind{
	program: "redis-server",
	missing: fmt.Errorf("Redis is not installed (Debian: apt-get install redis-server; macOS: brew install redis): %w", exec.ErrNotFound),
	find: func() string {
		path, err := exec.LookPath("redis-server")
		if err != nil {
			return ""
		}
		return filepath.Dir(path)
	},
	init: func(*Server) error { return nil },
	command: func(s *Server) []string {
		return []string{filepath.Join(s.bin, "redis-server"), "--bind", "127.0.0.1", "--port", s.port, "--dir", s.dir,
			"--save", "", "--appendonly", "yes", "--appendfsync", "always"}
	},
	ready: func(s *Server) error {
		conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Second))
		fmt.Fprint(conn, "PING\r\n")
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "+PONG") && !strings.HasPrefix(line, "-NOAUTH") {
			err = errors.New(strings.TrimSpace(line)) // still loading its data
		}
		return err
	},
	quit: "KILL",
}

var sharedRedis = once(redis)

// Redis starts a Redis server for one test. Its data survive [Server.Kill], because
// it writes to an append-only file before each reply. With "--appendfsync",
// "everysec", the default of Redis, the last writes may be lost. The arguments are
// additional settings, such as "--maxmemory", "4mb".
func Redis(t testing.TB, args ...string) *Server {
	t.Helper()
	return own(t, redis, args)
}

// SharedRedis returns the address of a Redis server that all tests of a package
// share. Each test needs its own keys. That server cannot be killed or frozen.
func SharedRedis(t testing.TB) (addr string) {
	t.Helper()
	s, err := sharedRedis()
	check(t, err)
	return s.Addr()
}

// RedisURL returns the URL of the server's database 0.
func (s *Server) RedisURL() string { return "redis://" + s.Addr() + "/0" }
