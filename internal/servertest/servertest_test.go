package servertest_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext/internal/servertest"
)

// ask sends Redis a command and returns the first line of the reply.
func ask(addr, command string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
	fmt.Fprintf(conn, "%s\r\n", command)
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

func TestRedis(t *testing.T) {
	t.Parallel()
	s := servertest.Redis(t, "--maxmemory", "64mb")
	want := func(command, answer string) {
		t.Helper()
		if got, err := ask(s.Addr(), command); got != answer || err != nil {
			t.Fatalf("%s: got %q, %v, want %q", command, got, err, answer)
		}
	}
	want("SET a 1", "+OK")
	s.Kill()
	if _, err := ask(s.Addr(), "PING"); err == nil {
		t.Error("a killed server replied")
	}
	s.Start()
	want("INCR a", ":2")
	s.Freeze()
	if _, err := ask(s.Addr(), "PING"); err == nil {
		t.Error("a frozen server replied")
	}
	s.Thaw()
	want("INCR a", ":3")
	s.Restart()
	want("INCR a", ":4")
	s.Freeze()
	s.Restart()
	want("INCR a", ":5")
	s.Freeze() // the cleanup must still end it
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	s := servertest.PostgreSQL(t)
	database := s.NewDatabase()
	do := func(args ...string) (string, error) {
		psql := exec.Command("psql", append([]string{"-X", "-t", "-A", database}, args...)...)
		var stdout, stderr bytes.Buffer
		psql.Stdout, psql.Stderr = &stdout, &stderr
		if err := psql.Start(); err != nil {
			t.Fatal(err)
		}
		late := time.AfterFunc(time.Second, func() { psql.Process.Kill() })
		defer late.Stop()
		if err := psql.Wait(); err != nil {
			return "", fmt.Errorf("%w: %s", err, &stderr)
		}
		return strings.TrimSpace(stdout.String()), nil
	}
	want := func(query, answer string) {
		t.Helper()
		if got, err := do("-c", query); got != answer || err != nil {
			t.Fatalf("%s: got %q, %v, want %q", query, got, err, answer)
		}
	}
	want("CREATE TABLE a (b int)", "CREATE TABLE")
	want("INSERT INTO a VALUES (1)", "INSERT 0 1")
	s.Kill()
	if _, err := do("-c", "SELECT 1"); err == nil {
		t.Error("a killed server replied")
	}
	s.Start()
	want("SELECT count(*) FROM a", "1")

	// Freeze also stops the processes of open connections.
	u, err := url.Parse(database)
	if err != nil || u.Host != s.Addr() {
		t.Fatal(u, err)
	}
	s.Freeze()
	if _, err := do("-c", "SELECT 1"); err == nil {
		t.Error("a frozen server replied")
	}
	s.Thaw()
	want("SELECT count(*) FROM a", "1")
	s.Freeze()
	s.Restart()
	want("SELECT count(*) FROM a", "1")
}

func TestShared(t *testing.T) {
	t.Parallel()
	if a, b := servertest.SharedRedis(t), servertest.SharedRedis(t); a != b {
		t.Errorf("got two servers, %s and %s, want one", a, b)
	}
	if a, b := servertest.SharedDatabase(t), servertest.SharedDatabase(t); a == b {
		t.Error("got the same database twice")
	}
}

// TestEndsWithTests kills a test process and checks that nothing is left of its
// servers.
func TestEndsWithTests(t *testing.T) {
	t.Parallel()
	if os.Getenv("SERVERTEST_HANG") != "" {
		redis, postgresql := servertest.Redis(t), servertest.PostgreSQL(t)
		redis.Freeze()
		postgresql.Freeze()
		fmt.Println("started", redis.Addr(), postgresql.Addr())
		os.Stdout.Sync()
		<-t.Context().Done()
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for parent := dir; parent != os.TempDir() && parent != "/"; parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o777); err != nil { // PostgreSQL runs as another user
			t.Fatal(err)
		}
	}
	tests := exec.Command(os.Args[0], "-test.run=^TestEndsWithTests$", "-test.v")
	tests.Env = append(os.Environ(), "SERVERTEST_HANG=1", "TMPDIR="+dir)
	stdout, err := tests.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tests.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tests.Process.Kill(); tests.Wait() })
	var addresses []string
	for lines := bufio.NewScanner(stdout); addresses == nil && lines.Scan(); {
		if text, found := strings.CutPrefix(lines.Text(), "started "); found {
			addresses = strings.Fields(text)
		} else if strings.Contains(lines.Text(), "SKIP") {
			t.Skip("PostgreSQL or Redis is not installed (Debian: apt-get install postgresql redis-server; macOS: brew install postgresql redis)")
		}
	}
	if len(addresses) != 2 {
		t.Fatal("the servers did not start")
	}
	if err := tests.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var listening []string
		for _, address := range addresses {
			if conn, err := net.Dial("tcp", address); err == nil {
				conn.Close()
				listening = append(listening, address)
			}
		}
		if len(left)+len(listening) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(strconv.Itoa(len(left)), " directories are left, and the servers ", listening)
		}
	}
}

// An address stays reserved while nothing listens on it.
func TestFreeAddr(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 200 {
		addr := servertest.FreeAddr(t)
		if seen[addr] {
			t.Fatalf("%s was reserved twice", addr)
		}
		seen[addr] = true
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
	}
}
