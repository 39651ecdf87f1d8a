package service

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/browsertest"
)

const testSecret = "a signing secret"

// build builds the program for several machines, once for all tests.
var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "logjam")
	output, err := exec.Command("go", "build", "-o", path, "../machines").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w\n%s", err, output)
	}
	return path, err
})

var buildDir string

func TestMain(m *testing.M) {
	// httptest.Server.Close closes the idle connections of http.DefaultTransport, which
	// parallel tests use. It does not do so for a wrapped transport.
	http.DefaultTransport = struct{ http.RoundTripper }{http.DefaultTransport}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "logjam-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		buildDir = dir
		return browsertest.Main(m)
	}())
}

// command returns a command that runs the program. Its environment has only env and
// TMPDIR.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	if testing.Short() { // as .ci/run says with -race
		t.Skip("the race detector does not see Logjam's own process; run without -short")
	}
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append([]string{"TMPDIR=" + t.TempDir()}, env...)
	return cmd
}

// A process is a running Logjam.
type process struct {
	*exec.Cmd
	fly      *flytest.Platform // sends to this process, whatever its base URL is
	replay   string            // its replay store
	stopping chan struct{}     // closed when it accepts no new connections
	ended    chan struct{}     // closed when all of its log has been read
	stderr   bytes.Buffer      // its log; read it after ended is closed
}

var listening = regexp.MustCompile(`msg=listening address=(\S+) base_url=(\S+) replay_store=(\S+)`)

// start runs the program as a server, and returns when it listens. The variables
// env are added to its environment.
func start(t *testing.T, db string, env ...string) *process {
	t.Helper()
	return startAt(t, "", db, env...)
}

// startAt is like start, with a base URL. The base URL "" means the process's own
// address.
func startAt(t *testing.T, baseURL, db string, env ...string) *process {
	t.Helper()
	env = append(env, "FLYIO_SIGNING_SECRET="+testSecret)
	flag := "-db"
	if isPostgreSQL(db) {
		flag, env = "-database-url", append(env, "LOGJAM_KEY="+testKey)
	}
	p := &process{
		Cmd:      command(t, env, "-addr", "127.0.0.1:0", "-base-url", baseURL, flag, db),
		stopping: make(chan struct{}),
		ended:    make(chan struct{}),
	}
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	told := make(chan []string, 1)
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&p.stderr, lines.Text())
			if found := listening.FindStringSubmatch(lines.Text()); found != nil {
				told <- found[1:]
			}
			if strings.Contains(lines.Text(), "msg=stopping") {
				close(p.stopping)
			}
		}
	}()
	select {
	case facts := <-told:
		p.replay = facts[2]
		client := &http.Client{Transport: &http.Transport{ // a separate transport, whose connections end with the process
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, facts[0])
			},
			MaxIdleConnsPerHost: 16,
		}}
		t.Cleanup(client.CloseIdleConnections)
		p.fly = &flytest.Platform{BaseURL: facts[1], Signer: flytest.XSignature(testSecret), Client: client}
	case <-p.ended:
		t.Fatalf("the process exited before it listened:\n%s", &p.stderr)
	}
	return p
}

// wait waits for the process to exit, and returns its error.
func (p *process) wait() error {
	<-p.ended
	return p.Wait()
}

// stop sends a signal while a request is in flight. It returns when the process
// accepts no new connections.
func (p *process) stop(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := p.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.stopping:
	case <-p.ended:
		t.Fatalf("the process did not wait for the request in flight:\n%s", &p.stderr)
	}
}

// A history is what Fly.io knows about one extension.
type history struct {
	url, name string
	deleted   bool
	unsure    bool // the last request got no answer
}

// load sends requests from several goroutines until the process is dead. It kills
// the process after the given number of answers.
func load(ctx context.Context, p *process, round, answers int, known map[string]*history) {
	var mu sync.Mutex
	answered := func(h *history, err error) bool {
		mu.Lock()
		defer mu.Unlock()
		h.unsure = err != nil
		if answers--; answers == 0 {
			p.Process.Kill()
		}
		return err == nil
	}
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			for n := 0; ; n++ {
				id, h := fmt.Sprintf("%d/%d/%d", round, worker, n), &history{}
				mu.Lock()
				known[id] = h
				mu.Unlock()
				x, err := p.fly.Provision(ctx, flyext.ProvisionRequest{ID: id, OrganizationID: fmt.Sprint("org", worker), UserID: "user"})
				if err == nil {
					h.url = x.Secrets["LOGJAM_URL"]
				}
				if !answered(h, err) {
					return
				}
				switch n % 3 {
				case 1:
					_, err = p.fly.Update(ctx, id, flyext.UpdateRequest{Name: flyext.OptionalOf("new")})
					h.name = "new"
				case 2:
					err = p.fly.Deprovision(ctx, id)
					h.deleted = true
				default:
					continue
				}
				if !answered(h, err) {
					return
				}
			}
		})
	}
	workers.Wait()
}

// check compares the extension with the earlier answers. If the last request got no
// answer, the state before and the state after that request are both right. The
// secrets must never change.
func (h *history) check(ctx context.Context, fly *flytest.Platform, id string) error {
	x, err := fly.Provision(ctx, flyext.ProvisionRequest{ID: id, OrganizationID: "org" + strings.Split(id, "/")[1], UserID: "user"})
	e, refused := errors.AsType[*flyext.Error](err)
	gone := refused && e.Status == http.StatusGone
	switch {
	case err != nil && !gone:
		return err
	case gone != h.deleted && !h.unsure:
		return fmt.Errorf("gone: %t, want %t", gone, h.deleted)
	case gone:
		h.deleted, h.unsure = true, false
		return nil
	case h.url != "" && x.Secrets["LOGJAM_URL"] != h.url:
		return errors.New("the secrets changed")
	case h.url != "" && x.Name != h.name && !h.unsure:
		return fmt.Errorf("the name is %q, want %q", x.Name, h.name)
	}
	// This answer is now what Fly.io knows.
	*h = history{url: x.Secrets["LOGJAM_URL"], name: x.Name}
	return nil
}

func TestKilled(t *testing.T) {
	t.Parallel()
	db := dbPath(t)
	known := map[string]*history{}
	for round, answers := range []int{1, 4, 9, 23, 40, 77} {
		p := start(t, db)
		for id, h := range known {
			if err := h.check(t.Context(), p.fly, id); err != nil {
				t.Errorf("round %d: %s: %v", round, id, err)
			}
		}
		load(t.Context(), p, round, answers, known)
		if err := p.wait(); err == nil || p.ProcessState.Exited() {
			t.Fatalf("round %d: the process exited before it was killed: %v\n%s", round, err, &p.stderr)
		}
	}
	p := start(t, db)
	for id, h := range known {
		if err := h.check(t.Context(), p.fly, id); err != nil {
			t.Errorf("at the end: %s: %v", id, err)
		}
	}
}

// TestGracefulShutdown sends a signal while half a request has arrived, and checks
// that the request is still answered.
func TestGracefulShutdown(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			db := dbPath(t)
			p := start(t, db)
			r, err := p.fly.NewRequest(t.Context(), http.MethodPost, "/extensions", []byte(`{"id":"42","organization_id":"org"}`))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp", r.URL.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nX-Signature: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
				r.URL.Path, r.URL.Host, r.Header.Get("X-Signature"), len(body))
			answers := bufio.NewReader(conn)
			// The handler asks for the body, so the request is in flight.
			if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
				t.Fatalf("got %q, %v", line, err)
			}
			if _, err := answers.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			conn.Write(body[:10])
			p.stop(t, signal)
			conn.Write(body[10:])
			response, err := http.ReadResponse(answers, r)
			if err != nil {
				t.Fatalf("the request in flight was lost: %v", err)
			}
			defer response.Body.Close()
			answer, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != http.StatusOK {
				t.Errorf("got %s %s, %v", response.Status, answer, err)
			}
			if err := p.wait(); err != nil {
				t.Errorf("the process exited with %v\n%s", err, &p.stderr)
			}
			if _, err := start(t, db).fly.Fetch(t.Context(), "42"); err != nil {
				t.Errorf("after a restart: %v", err)
			}
		})
	}
}

// TestSecondSignal checks that a second signal kills the process, although a request
// is in flight.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	p := start(t, dbPath(t))
	host := strings.Split(p.fly.BaseURL, "/")[2]
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /flyio/extensions HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", host)
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	p.stop(t, syscall.SIGTERM)
	err = p.Process.Signal(syscall.SIGTERM)
	if err != nil {
		t.Fatal(err)
	}
	p.wait()
	if status := p.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
		t.Errorf("the second signal did not kill the process: %v\n%s", p.ProcessState, &p.stderr)
	}
}
