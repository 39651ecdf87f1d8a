package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flyext/flyext/flytest"
)

// TestMain lets a test start flysim as a process, from the test's own binary.
func TestMain(m *testing.M) {
	// With this type, httptest.Server.Close does not close the idle connections of
	// parallel tests.
	http.DefaultTransport = struct{ http.RoundTripper }{http.DefaultTransport}
	if os.Getenv("FLYSIM_TEST_PROCESS") != "" {
		main()
	}
	status, err := 1, error(nil)
	if buildDir, err = os.MkdirTemp("", "flysim-"); err == nil {
		status = m.Run()
		err = os.RemoveAll(buildDir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// process returns flysim as a process with the given environment.
func process(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(env, "FLYSIM_TEST_PROCESS=1", "FLYIO_SIGNING_SECRET="+signingSecret)
	return cmd
}

// TestNoProxy: flysim ignores the environment's proxy, which would see all requests
// and answers.
func TestNoProxy(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.String() }))
	defer proxy.Close()
	env := []string{"http_proxy=" + proxy.URL, "HTTP_PROXY=" + proxy.URL, "https_proxy=" + proxy.URL, "all_proxy=" + proxy.URL}
	for _, args := range [][]string{{"check"}, {"provision"}} {
		cmd := process(t, env, append(args, "--base-url", "http://provider.invalid/flyio")...)
		text, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); status != 3 {
			t.Errorf("%v: the exit status is %d, want 3\n%s", args, status, text)
		}
	}
	select {
	case url := <-asked:
		t.Errorf("the proxy got a request for %s, want none", url)
	default:
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"during a request": {"provision"},
		"during a check":   {"check"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan struct{}, 10)
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				io.Copy(io.Discard, r.Body) // the server notices the end of the connection only after this
				<-r.Context().Done()
			}))
			defer server.Close()
			cmd := process(t, nil, append(args, "--base-url", server.URL)...)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-asked
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if status := cmd.ProcessState.ExitCode(); status != 130 || stderr.String() != "flysim: interrupted\n" {
				t.Errorf("the exit status is %d, want 130\n%s", status, stderr.String())
			}
		})
	}
}

func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	p := &program{err: newPage(&strings.Builder{}, os.LookupEnv)}
	p.baseURL, p.signingSecret, p.format = "http://logjam.io", "x", flytest.FormatXSignature
	fly, err := p.platform()
	if err != nil {
		t.Fatal(err)
	}
	fly.Observe(flytest.Exchange{Duration: 4900 * time.Millisecond})
	if text := p.err.w.(*strings.Builder).String(); text != "" {
		t.Errorf("4.9 seconds: got the warning %q, want none", text)
	}
	fly.Observe(flytest.Exchange{Duration: 6200 * time.Millisecond})
	contains(t, words(p.err.w.(*strings.Builder).String()), "The answer took 6.2s. Fly.io waits 5s")
}
