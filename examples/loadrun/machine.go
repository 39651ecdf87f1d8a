package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// vitals are the resources that must be released after the load.
type vitals struct {
	Goroutines int    `json:"goroutines"`
	HeapBytes  uint64 `json:"heap_bytes"` // after garbage collection
	RSSBytes   int64  `json:"rss_bytes"`
}

// A process is one of Logjam's machines. It is restarted after each kill.
type process struct {
	path string
	env  []string
	args []string
	log  string // a file that each start appends to

	mu         sync.Mutex
	cmd        *exec.Cmd
	ended      chan struct{} // closed when the process has ended
	listens    string
	debugs     string
	unexpected []string // exit states without a kill
	starts     int
}

// build builds the Logjam program for several machines.
func build(ctx context.Context, dir string) (path string, err error) {
	path = filepath.Join(dir, "logjam")
	output, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/flyext/flyext/examples/logjam/machines").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w\n%s", err, output)
	}
	return path, err
}

func (p *process) addr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listens
}

var (
	listening = regexp.MustCompile(`msg=listening address=(\S+)`)
	debugging = regexp.MustCompile(`msg=debugging address=(\S+)`)
)

// startPatience is longer than a start takes while a database recovers.
const startPatience = 30 * time.Second

// start starts the program and waits until it listens. It retries while the
// database is down.
func (p *process) start() error {
	for deadline := time.Now().Add(startPatience); ; time.Sleep(50 * time.Millisecond) {
		err := p.startOnce()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func (p *process) startOnce() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.path, append(p.args, "-addr", "127.0.0.1:0", "-debug-addr", "127.0.0.1:0")...)
	cmd.Env = p.env
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return errors.Join(err, log.Close())
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	ended, started := make(chan struct{}), make(chan addresses, 1)
	go func() {
		defer close(ended)
		defer log.Close()
		copyLog(log, stderr, started)
	}()
	select {
	case found := <-started:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.cmd, p.ended, p.listens, p.debugs = cmd, ended, found.listens, found.debugs
		p.starts++
		return nil
	case <-ended:
		return fmt.Errorf("logjam did not start: %w", cmd.Wait())
	}
}

// addresses are those that a process has logged at its start.
type addresses struct{ listens, debugs string }

// copyLog copies the log of a process to a file until the process ends. It sends
// the addresses to started when the process listens.
func copyLog(log *os.File, stderr io.Reader, started chan<- addresses) {
	var found addresses
	for lines := bufio.NewReader(stderr); ; {
		line, err := lines.ReadString('\n')
		log.WriteString(line)
		if match := debugging.FindStringSubmatch(line); match != nil {
			found.debugs = match[1]
		}
		if match := listening.FindStringSubmatch(line); match != nil {
			found.listens = match[1]
			started <- found
		}
		if err != nil {
			return
		}
	}
}

// kill kills the process as a power cut would, and records it if the process had
// already exited.
func (p *process) kill() {
	p.mu.Lock()
	cmd, ended := p.cmd, p.ended
	p.listens, p.cmd = "", nil
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	cmd.Process.Kill()
	<-ended
	_ = cmd.Wait() // sets ProcessState
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && !status.Signaled() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.unexpected = append(p.unexpected, cmd.ProcessState.String())
	}
}

// signal sends a signal to the process.
func (p *process) signal(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // the process may have ended
	}
}

// rss reads the resident memory from /proc on Linux, and from ps elsewhere.
func (p *process) rss() int64 {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return 0
	}
	return residentMemory(cmd.Process.Pid)
}

func residentMemory(pid int) int64 {
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
		var kib int64
		fmt.Sscan(string(rest), &kib)
		return kib << 10
	}
	output, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0
	}
	kib, _ := strconv.ParseInt(strings.TrimSpace(string(output)), 10, 64)
	return kib << 10
}

func (p *process) vitals(ctx context.Context) (v vitals, err error) {
	p.mu.Lock()
	address := p.debugs
	p.mu.Unlock()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/debug/vitals?collect", nil)
	if err != nil {
		return v, err
	}
	once := &http.Transport{DisableKeepAlives: true} // leaves no goroutine behind
	answer, err := once.RoundTrip(r)
	if err != nil {
		return v, err
	}
	defer answer.Body.Close()
	err = json.NewDecoder(answer.Body).Decode(&v)
	v.RSSBytes = p.rss()
	return v, err
}

// tokens matches strings that may be Logjam's passwords.
var tokens = regexp.MustCompile(`[A-Z2-7]{26}`)

// checkLog reports secrets and crashes in the log.
func (p *process) checkLog(l *ledger, secrets []string, passwords map[string]bool) error {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return err
	}
	for _, secret := range secrets {
		if bytes.Contains(log, []byte(secret)) {
			l.violate(told, "a secret that Fly.io and Logjam share is in the log")
		}
	}
	for _, token := range tokens.FindAll(log, -1) {
		if passwords[string(token)] {
			l.violate(told, "a customer's password is in the log")
		}
	}
	for _, line := range bytes.Split(log, []byte("\n")) {
		if bytes.Contains(line, []byte("msg=panic")) || bytes.HasPrefix(line, []byte("panic:")) || bytes.HasPrefix(line, []byte("fatal error:")) {
			l.violate(crashed, "%.500s", line)
		}
	}
	for _, how := range p.unexpected {
		l.violate(crashed, "a machine exited: %s", how)
	}
	return nil
}
