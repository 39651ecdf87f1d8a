// Package servertest runs Redis and PostgreSQL for tests, on loopback, and breaks
// them as machines break: it kills and freezes them, and brings them back on the
// same port with the same data.
//
//	redis := servertest.Redis(t)
//	client := newClient(redis.Addr())
//	redis.Kill() // out of reach
//	redis.Start()
//	redis.Freeze() // there, and silent
//	redis.Thaw()
//
// A server ends with its test, and its files go; both also when the test's process
// is killed. The servers are those that are installed. Where one is missing, a test
// is skipped and told how to get it, but with CI=true it fails.
package servertest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext/internal/programtest"
)

// A Server is a server process of the tests' own. Its methods are for one
// goroutine at a time.
type Server struct {
	kind   *kind
	t      testing.TB // whom its troubles fail
	bin    string     // the directory of the programs
	dir    string     // of its data; it owns it
	port   string
	args   []string // further ones
	asUser []string // the command that runs another one as somebody else than root

	sh    *exec.Cmd // runs the server; see script
	stdin io.WriteCloser
	pid   int // the server's, or 0
}

// A kind of server.
type kind struct {
	program string
	missing error
	find    func() string                  // the directory of its programs, or ""
	init    func(s *Server) error          // makes the data, once
	command func(s *Server) []string       // without further arguments
	ready   func(s *Server) (answer error) // nil once it answers
	quit    string                         // the signal that ends it at once
	user    string                         // whom root runs it as; "" means root
}

// script runs a server until standard input ends, which it does with the tests,
// however they do; then it ends the server and removes its files, unless it was
// told to keep them. A server that is frozen has to be woken first.
const script = `trap : HUP INT TERM; dir=$1; quit=$2; shift 2
"$@" >>"$dir/log" 2>&1 </dev/null & echo $!
read -r word
kill -CONT $! 2>/dev/null; kill -$quit $! 2>/dev/null; wait $!
[ "$word" = keep ] || rm -rf "$dir"`

// patience is far more than a server takes to start.
const patience = 60 * time.Second

// own returns a server for one test.
func own(t testing.TB, k *kind, args []string) *Server {
	t.Helper()
	s, err := newServer(k, args)
	check(t, err)
	s.t = t
	t.Cleanup(func() { s.close() })
	return s
}

// check ends a test that cannot have its server.
func check(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, exec.ErrNotFound):
		programtest.Missing(t, err)
	default:
		t.Fatal(err)
	}
}

func newServer(k *kind, args []string) (_ *Server, err error) {
	s := &Server{kind: k, args: args, bin: k.find()}
	if s.bin == "" {
		return nil, k.missing
	}
	if s.dir, err = os.MkdirTemp("", "flyext-"+k.program+"-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(s.dir)
		}
	}()
	if k.user != "" && os.Getuid() == 0 {
		s.asUser = []string{"runuser", "-u", k.user, "--"}
		if output, err := exec.Command("chown", k.user, s.dir).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, output)
		}
	}
	if err := k.init(s); err != nil {
		return nil, err
	}
	// Somebody may be faster at a port.
	for range 5 {
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = s.start(); err == nil {
			return s, nil
		}
	}
	return nil, err
}

// freePort is one that no client has as its own: those come from higher up. So it
// stays free while the server that had it is down.
func freePort() (port string, err error) {
	for range 100 {
		port = strconv.Itoa(20000 + rand.IntN(12000))
		var listener net.Listener
		if listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			return port, listener.Close()
		}
	}
	return "", err
}

// Addr is where the server listens: 127.0.0.1 and a port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// Kill ends the server as a power cut would, with all of its processes (SIGKILL),
// and returns when it has ended. Its data stay.
func (s *Server) Kill() {
	s.t.Helper()
	s.must(s.kill())
}

// Start starts the server again that was killed, on the same port and with the
// same data, and returns when it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.must(s.start())
}

// Restart is [Server.Kill] and [Server.Start].
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.Start()
}

// Freeze stops all processes of the server where they are (SIGSTOP). It accepts
// connections, as the kernel does that for it, and says nothing.
func (s *Server) Freeze() {
	s.t.Helper()
	s.must(s.signal("STOP"))
}

// Thaw lets a frozen server go on.
func (s *Server) Thaw() {
	s.t.Helper()
	s.must(s.signal("CONT"))
}

func (s *Server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) start() (err error) {
	if s.sh != nil {
		return fmt.Errorf("servertest: %s runs already", s.kind.program)
	}
	words := append([]string{"sh", "-c", script, "sh", s.dir, s.kind.quit}, s.kind.command(s)...)
	sh := s.command(append(words, s.args...)...)
	stdin, err := sh.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := sh.StdoutPipe()
	if err != nil {
		return err
	}
	if err := sh.Start(); err != nil {
		return err
	}
	s.sh, s.stdin = sh, stdin
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		s.pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	for deadline := time.Now().Add(patience); err == nil; {
		var answer error
		switch answer = s.kind.ready(s); {
		case answer == nil:
			return nil
		case !alive(s.pid) || time.Now().After(deadline):
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			err = fmt.Errorf("servertest: %s does not start: %w\n%s", s.kind.program, answer, log)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.Join(err, s.kill())
}

// kill ends the server and leaves its data.
func (s *Server) kill() error {
	if s.sh == nil {
		return nil
	}
	// First it is stopped, so that it has no more children than are killed.
	err := errors.Join(s.signal("STOP"), s.signal("KILL"))
	io.WriteString(s.stdin, "keep\n")
	s.stdin.Close()
	_ = s.sh.Wait() // how the server ended, which is known
	s.sh, s.pid = nil, 0
	return err
}

// close ends the server and removes its data.
func (s *Server) close() {
	if s.sh == nil {
		os.RemoveAll(s.dir)
		return
	}
	s.stdin.Close()
	_ = s.sh.Wait()
	s.sh, s.pid = nil, 0
}

// command is a command that is not run by root where the server must not be.
func (s *Server) command(words ...string) *exec.Cmd {
	words = append(append([]string(nil), s.asUser...), words...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = "/" // where anybody may be
	return cmd
}

// signal signals all processes of the server, the first one first.
func (s *Server) signal(name string) error {
	if s.pid == 0 {
		return fmt.Errorf("servertest: %s does not run", s.kind.program)
	}
	if name == "CONT" {
		return kill(name, descendants(s.pid))
	}
	// The first one may have children until it is stopped.
	if err := kill("STOP", []int{s.pid}); err != nil {
		return err
	}
	return kill(name, descendants(s.pid))
}

// kill uses the shell's: syscall has none on every system.
func kill(signal string, pids []int) error {
	words := []string{"-c", `for pid; do kill -` + signal + ` $pid 2>/dev/null; done; true`, "sh"}
	for _, pid := range pids {
		words = append(words, strconv.Itoa(pid))
	}
	return exec.Command("sh", words...).Run()
}

func alive(pid int) bool {
	return slices.ContainsFunc(processes(), func(p process) bool { return p.pid == pid })
}

// descendants returns a process and those that come of it.
func descendants(pid int) []int {
	children := map[int][]int{}
	for _, p := range processes() {
		children[p.parent] = append(children[p.parent], p.pid)
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

type process struct{ pid, parent int }

// processes lists all of this machine that have not ended, on Linux without a
// program that may not be there.
func processes() (all []process) {
	var list []byte
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		// The pid, the name in parentheses, which may hold any, and on.
		stat, _ := os.ReadFile(file)
		if open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')'); open >= 0 && end > open {
			list = fmt.Appendf(list, "%s%s\n", stat[:open], stat[end+1:])
		}
	}
	if len(files) == 0 {
		list, _ = exec.Command("ps", "-A", "-o", "pid=", "-o", "stat=", "-o", "ppid=").Output()
	}
	for line := range strings.Lines(string(list)) {
		var p process
		var state string
		fmt.Sscan(line, &p.pid, &state, &p.parent)
		if !strings.HasPrefix(state, "Z") {
			all = append(all, p)
		}
	}
	return all
}

// once runs a server that tests share.
func once(k *kind, args ...string) func() (*Server, error) {
	return sync.OnceValues(func() (*Server, error) { return newServer(k, args) })
}
