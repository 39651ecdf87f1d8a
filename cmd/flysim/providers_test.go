package main

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/programtest"
	"github.com/flyext/flyext/internal/servertest"
)

// A provider is a running program.
type provider struct {
	baseURL string
	output  func() string
}

// startProvider starts a program and waits for the line of output with its base URL,
// which follows the text ready.
func startProvider(t *testing.T, cmd *exec.Cmd, ready string) provider {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // the error is that of Kill
		reader.Close()
	})
	var mu sync.Mutex
	var output bytes.Buffer
	p := provider{output: func() string {
		mu.Lock()
		defer mu.Unlock()
		return output.String()
	}}
	lines := bufio.NewScanner(reader)
	for lines.Scan() {
		output.WriteString(lines.Text() + "\n")
		if _, after, ok := strings.Cut(lines.Text(), ready); ok {
			p.baseURL, _, _ = strings.Cut(after, " ")
			break
		}
	}
	if p.baseURL == "" {
		t.Fatalf("the provider does not start:\n%s", output.String())
	}
	waitFor(t, p.baseURL)
	go func() {
		for lines.Scan() {
			mu.Lock()
			output.WriteString(lines.Text() + "\n")
			mu.Unlock()
		}
	}()
	return p
}

// buildDir is the directory of the programs that tests build. TestMain makes and
// removes it.
var buildDir string

// waitFor waits until a program listens, which may be after it wrote its base URL.
func waitFor(t *testing.T, baseURL string) {
	t.Helper()
	u, err := url.Parse(baseURL)
	if err != nil {
		t.Fatal(err)
	}
	patience, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(patience, "tcp", u.Host)
		if err == nil {
			conn.Close()
			return
		}
		if patience.Err() != nil {
			t.Fatal(err)
		}
	}
}

// build builds an example once and returns the path of its program.
var build = func() func(t *testing.T, name string) string {
	var mu sync.Mutex
	built := make(map[string]string)
	return func(t *testing.T, name string) string {
		t.Helper()
		if testing.Short() { // .ci/run sets -short together with -race
			t.Skip("the race detector does not see the provider, which runs in its own process")
		}
		mu.Lock()
		defer mu.Unlock()
		if built[name] == "" {
			binary := filepath.Join(buildDir, name)
			cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
			cmd.Dir = filepath.Join("..", "..", "examples", name)
			if output, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			built[name] = binary
		}
		return built[name]
	}
}()

// startNode starts the provider in JavaScript, with a defect or "".
func startNode(t *testing.T, defect string) provider {
	t.Helper()
	if testing.Short() { // .ci/run sets -short together with -race
		t.Skip("the race detector does not see the provider, which runs in its own process")
	}
	node := programtest.Path(t, "node", "nodejs")
	cmd := exec.CommandContext(t.Context(), node, filepath.Join("testdata", "provider.mjs"))
	cmd.Env = append(os.Environ(), "PORT=0", "FLYIO_SIGNING_SECRET="+signingSecret, "BREAK="+defect)
	return startProvider(t, cmd, "listening on ")
}

// startPython starts the provider in Python, with a mistake or "".
func startPython(t *testing.T, mistake string, env ...string) provider {
	t.Helper()
	if testing.Short() { // .ci/run sets -short together with -race
		t.Skip("the race detector does not see the provider, which runs in its own process")
	}
	python := programtest.Path(t, "python3", "python3")
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "provider.py"))
	cmd.Env = append(os.Environ(), "PORT=0", "FLYIO_SIGNING_SECRET="+signingSecret, "MISTAKE="+mistake)
	cmd.Env = append(cmd.Env, env...)
	return startProvider(t, cmd, "listening on ")
}

// A checkOutput is the output and the exit status of check --json.
type checkOutput struct {
	jsonReport
	status int
}

func (term *terminal) check(t *testing.T, args ...string) checkOutput {
	t.Helper()
	got := term.run(t, append([]string{"check", "--json"}, args...)...)
	c := checkOutput{status: got.status}
	got.decode(t, &c.jsonReport)
	return c
}

func (c *checkOutput) ids(v flytest.Verdict) []string {
	ids := []string{}
	for _, result := range c.Results {
		if result.Verdict == string(v) {
			ids = append(ids, result.ID)
		}
	}
	return ids
}

// notOffered returns the requirements that check skips for a provider without a
// sign-on and without events.
func notOffered() []string {
	var ids []string
	for _, r := range flytest.Requirements() {
		if r.Group == "Single sign-on" || r.Group == "Events" {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// TestProviderInNode: a provider without flyext and Go passes the tests of its
// features. With a defect it fails exactly the tests of that defect.
func TestProviderInNode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		defect string
		failed []string
	}{
		{"", nil},
		{"no-signature", []string{"unsigned"}},
		{"no-freshness", []string{"stale", "future"}},
		{"no-replay", []string{"replay", "concurrent-replay", "replay-as-delete"}},
		{"number-secret", []string{"secret-values"}},
		{"not-idempotent", []string{"idempotent", "concurrent"}},
		{"leaks-stack", []string{"malformed-body", "no-secret"}},
		{"unbounded", []string{"body-limit"}},
		{"status-word", []string{"status"}},
	} {
		t.Run("defect "+c.defect, func(t *testing.T) {
			t.Parallel()
			node := startNode(t, c.defect)
			got := newTerminal(node.baseURL).check(t)
			failed := got.ids(flytest.Failed)
			want := slices.Clone(c.failed)
			slices.Sort(failed)
			slices.Sort(want)
			if !slices.Equal(failed, want) {
				t.Errorf("failed %q, want %q", failed, want)
			}
			if want := min(1, len(c.failed)); got.status != want {
				t.Errorf("the exit status is %d, want %d", got.status, want)
			}
			for _, result := range got.Results {
				if result.Verdict == string(flytest.Failed) && !slices.Contains(c.failed, result.ID) {
					t.Errorf("%s: want %s, got %s", result.ID, result.Want, result.Got)
				}
			}
			if c.defect == "" {
				skipped := append([]string{"coverage", "bearer-missing", "bearer-wrong"}, notOffered()...)
				if got := got.ids(flytest.Skipped); !slices.Equal(got, skipped) {
					t.Errorf("skipped %q, want %q", got, skipped)
				}
			}
			if strings.Contains(node.output(), signingSecret) {
				t.Error("the provider writes the secret")
			}
		})
	}
}

// TestProviderInPython: the HTTP server of Python's standard library answers 201 to a
// POST, and answers a DELETE without a body. It keeps a connection after a request
// with an unread body, which fails exactly one requirement.
func TestProviderInPython(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mistake string
		failed  []string
	}{
		{"", []string{}},
		{"unread-body", []string{"kept-connection"}},
		{"unread-unsigned", []string{"kept-connection"}},
	} {
		t.Run("mistake "+c.mistake, func(t *testing.T) {
			t.Parallel()
			got := newTerminal(startPython(t, c.mistake).baseURL).check(t)
			if failed := got.ids(flytest.Failed); !slices.Equal(failed, c.failed) {
				t.Errorf("failed %q, want %q", failed, c.failed)
			}
		})
	}
}

// TestCheckSendsWhatProvidersRequire: each provision request has the parameters of
// Fly.io's requests, and those of --option and --params.
func TestCheckSendsWhatProvidersRequire(t *testing.T) {
	t.Parallel()
	term := newTerminal(startPython(t, "", "REQUIRE=user_name ip_address primary_region plan retention").baseURL)
	if got := term.check(t, "--only", "provision"); got.Failed != 1 {
		t.Errorf("without the parameters %d requirements fail, want 1", got.Failed)
	}
	params := filepath.Join(t.TempDir(), "params.json")
	if err := os.WriteFile(params, []byte(`{"retention": {"days": 7}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	got := term.check(t, "--option", "plan=basic", "--params", params)
	if failed := got.ids(flytest.Failed); len(failed) > 0 {
		t.Errorf("failed %q", failed)
	}
	for _, option := range []string{"name=x", "nonce=x"} {
		if got := term.run(t, "check", "--option", option); got.status != exitUsage {
			t.Errorf("--option %s: the exit status is %d, want %d", option, got.status, exitUsage)
		}
	}
}

// TestLateRetryIsAWarning: a provider that makes a new extension after a DELETE gets
// a warning and no failure.
func TestLateRetryIsAWarning(t *testing.T) {
	t.Parallel()
	term := newTerminal(startPython(t, "late-retry").baseURL)
	got := term.check(t, "--only", "provision,late-retry")
	if warned := got.ids(flytest.Warned); !slices.Equal(warned, []string{"late-retry"}) || got.status != exitOK || got.Warned != 1 {
		t.Errorf("warned %q, exit status %d", warned, got.status)
	}
	text := term.run(t, "check", "--only", "late-retry").want(t, exitOK).stdout
	contains(t, words(text), "WARNING A late retry of POST after DELETE creates nothing", "want 410", "0 passed, 1 with a warning, 0 failed")
}

// TestQuickstart: the example that the README starts with passes all tests.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	_, port, _ := strings.Cut(servertest.FreeAddr(t), ":")
	cmd := exec.CommandContext(t.Context(), build(t, "quickstart"))
	cmd.Env = append(os.Environ(), "PORT="+port, "FLYIO_SIGNING_SECRET="+signingSecret)
	got := newTerminal(startProvider(t, cmd, "Logjam is at ").baseURL).check(t)
	if failed := got.ids(flytest.Failed); len(failed) > 0 || got.status != 0 || got.Passed < 40 || got.Warned > 0 {
		t.Errorf("failed %q, %d passed, exit status %d", failed, got.Passed, got.status)
	}
}

// TestLogjam: the example Logjam passes in both generations and all formats.
func TestLogjam(t *testing.T) {
	t.Parallel()
	for _, format := range flytest.Formats() {
		for _, sso := range []string{"1", "2"} {
			t.Run(string(format)+", sign-on of generation "+sso, func(t *testing.T) {
				t.Parallel()
				oauth := servertest.FreeAddr(t)
				cmd := exec.CommandContext(t.Context(), build(t, "logjam"), "-addr", "127.0.0.1:0", "-sso-generation", sso,
					"-db", filepath.Join(t.TempDir(), "logjam.db"))
				cmd.Env = append(os.Environ(), "FLYIO_SIGNING_SECRET="+signingSecret, "FLYIO_BEARER_TOKEN="+bearerToken,
					"FLYIO_CLIENT_ID="+clientID, "FLYIO_CLIENT_SECRET="+clientSecret, "FLYIO_OAUTH_URL=http://"+oauth)
				term := newTerminal(startProvider(t, cmd, "base_url=").baseURL).
					with("FLYIO_CLIENT_ID", clientID, "FLYIO_CLIENT_SECRET", clientSecret)
				got := term.check(t, "--format", string(format), "--oauth-addr", oauth, "--sso-generation", sso)
				if failed := got.ids(flytest.Failed); len(failed) > 0 || got.status != 0 {
					t.Errorf("failed %q, exit status %d", failed, got.status)
				}
				for _, id := range got.ids(flytest.Skipped) {
					if strings.HasPrefix(id, "sso-") && (sso == "2" || id != "sso-foreign-token") {
						t.Errorf("skipped %s", id)
					}
				}
			})
		}
	}
}
