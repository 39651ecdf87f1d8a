// Package servertest runs Redis and PostgreSQL for tests on loopback. It simulates
// failures: a test can kill or freeze a server, and bring it back on the same port
// with the same data.
//
//	redis := servertest.Redis(t)
//	client := newClient(redis.Addr())
//	redis.Kill() // refuses connections
//	redis.Start()
//	redis.Freeze() // accepts connections but does not reply
//	redis.Thaw()
//
// Each server and its files are removed when its test ends, even if the test's
// process is killed. The programs must be installed. If one is missing, the test is
// skipped with a hint how to install it, or fails with CI=true.
package servertest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
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

// A Server is a server process for tests. Its methods are not safe for concurrent
// use.
type Server struct {
	kind   *kind
	t      testing.TB // the test that errors of the server fail
	bin    string     // the directory of the programs
	dir    string     // holds the data; close removes it
	port   string
	args   []string // additional settings
	asUser []string // prefix of commands that runs them as another user than root

	sh    *exec.Cmd // runs the server; see script
	stdin io.WriteCloser
	pid   int // of the server, or 0

	releasePort func()
}

// A kind is a kind of server.
type kind struct {
	program string
	missing error
	find    func() string                  // the directory of its programs, or ""
	init    func(s *Server) error          // creates the data
	command func(s *Server) []string       // without the additional settings
	ready   func(s *Server) (answer error) // nil once the server replies
	quit    string                         // the signal that ends the server immediately
	user    string                         // the user to run as instead of root; "" means root
}

// script runs a server until standard input ends, which happens when the test
// process ends for any reason. It then kills the server and removes its files,
// unless it reads the word keep. A frozen server is continued first, so that it
// receives the signal.
const script = `trap : HUP INT TERM; dir=$1; quit=$2; shift 2
"$@" >>"$dir/log" 2>&1 </dev/null & echo $!
read -r word
kill -CONT $! 2>/dev/null; kill -$quit $! 2>/dev/null; wait $!
[ "$word" = keep ] || rm -rf "$dir"`

// patience is far longer than a server takes to start.
const patience = 60 * time.Second

// own starts a server for one test.
func own(t testing.TB, k *kind, args []string) *Server {
	t.Helper()
	s, err := newServer(k, args)
	check(t, err)
	s.t = t
	t.Cleanup(func() { s.close() })
	return s
}

// check ends the test if its server did not start.
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
	// A program that is not a test may take the port first.
	for range 5 {
		if s.port, s.releasePort, err = reservePort(); err != nil {
			return nil, err
		}
		if err = s.start(); err == nil {
			return s, nil
		}
		s.releasePort()
	}
	return nil, err
}

// Addr returns the server's address: 127.0.0.1 and a port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// Kill kills all processes of the server (SIGKILL), as a power cut would, and waits
// until they have ended. The data stay.
func (s *Server) Kill() {
	s.t.Helper()
	s.must(s.kill())
}

// Start restarts a killed server on the same port with the same data, and waits
// until it replies.
func (s *Server) Start() {
	s.t.Helper()
	s.must(s.start())
}

// Restart calls [Server.Kill] and [Server.Start].
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.Start()
}

// Freeze stops all processes of the server (SIGSTOP). The kernel still accepts
// connections, but the server does not reply.
func (s *Server) Freeze() {
	s.t.Helper()
	s.must(s.signal("STOP"))
}

// Thaw continues a frozen server.
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
		return fmt.Errorf("servertest: %s is already running", s.kind.program)
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

// kill ends the server but keeps its data. It returns once all processes have ended:
// PostgreSQL does not start again while one of them holds its shared memory.
func (s *Server) kill() error {
	if s.sh == nil {
		return nil
	}
	// Stop it first, so that it starts no children that would survive.
	err := s.signal("STOP")
	var all []int
	if err == nil { // so there is a process
		all = descendants(s.pid)
		err = kill("KILL", all)
	}
	io.WriteString(s.stdin, "keep\n")
	s.stdin.Close()
	_ = s.sh.Wait() // reports the kill
	for deadline := time.Now().Add(patience); err == nil && slices.ContainsFunc(all, alive); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			err = fmt.Errorf("servertest: %s has processes that do not end", s.kind.program)
		}
	}
	s.sh, s.pid = nil, 0
	return err
}

// close ends the server and removes its data.
func (s *Server) close() {
	defer s.releasePort()
	if s.sh == nil {
		os.RemoveAll(s.dir)
		return
	}
	s.stdin.Close()
	_ = s.sh.Wait()
	s.sh, s.pid = nil, 0
}

// command returns a command that runs as the server's user.
func (s *Server) command(words ...string) *exec.Cmd {
	words = append(append([]string(nil), s.asUser...), words...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = "/" // accessible to every user
	return cmd
}

// signal sends a signal to all processes of the server.
func (s *Server) signal(name string) error {
	if s.pid == 0 {
		return fmt.Errorf("servertest: %s is not running", s.kind.program)
	}
	if name == "CONT" {
		return kill(name, descendants(s.pid))
	}
	// The main process may start children until it is stopped.
	if err := kill("STOP", []int{s.pid}); err != nil {
		return err
	}
	return kill(name, descendants(s.pid))
}

// kill uses the shell's kill, because package syscall does not support it on every
// system.
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

// descendants returns a process and its descendants.
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

// processes lists all running processes. On Linux it reads /proc, because ps may
// not be installed.
func processes() (all []process) {
	var list []byte
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		// pid (name) state ppid …; the name may contain parentheses.
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

// once returns a function that starts a shared server on its first call.
func once(k *kind, args ...string) func() (*Server, error) {
	return sync.OnceValues(func() (*Server, error) { return newServer(k, args) })
}
