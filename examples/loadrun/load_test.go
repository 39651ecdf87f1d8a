package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/flyext/flyext/internal/testscale"
)

// built builds Logjam once for all tests.
var built = sync.OnceValues(func() (string, error) { return build(context.Background(), buildDir) })

var buildDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "loadrun-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		buildDir = dir
		return m.Run()
	}())
}

// TestLoad is a short version of the run in the documentation. FLYEXT_TEST_SCALE
// multiplies its duration of eight seconds, which must exceed Logjam's header
// timeout of five.
func TestLoad(t *testing.T) {
	t.Parallel()
	if testing.Short() { // as in .ci/run with -race
		t.Skip("Logjam runs in separate processes, which the race detector cannot see")
	}
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	for _, stores := range []string{onSQLite, onShared} {
		t.Run(stores, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := plan{duration: time.Duration(testscale.Factor(t)) * 8 * time.Second, connections: 64, hostilePart: 20, requests: 500}
			s, err := newEnvironment(t.Context(), t, options{stores: stores, logjam: path, dir: dir}, p.connections)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			r, err := run(t.Context(), p, s.provider, s.faults, s.finish)
			if err != nil {
				t.Fatal(err)
			}
			r.Stores = stores
			var text strings.Builder
			r.print(&text)
			t.Logf("\n%s", &text)
			for v, all := range r.Violations {
				t.Errorf("%s: %.5q", v, all)
			}
			for _, kind := range append(slices.Clone(hostileKinds), genuineKinds...) {
				if sum(r.Outcomes[kind]) == 0 {
					t.Errorf("no requests of kind %s", kind)
				}
			}
			if share := 100 * float64(r.Hostile) / float64(r.Requests); share < 15 {
				t.Errorf("%.1f %% of the requests were hostile, want at least 15 %%", share)
			}
			for _, f := range s.faults {
				if r.Faults[f.what] == 0 {
					t.Errorf("fault %q did not happen", f.what)
				}
			}
			for line := range strings.Lines(text.String()) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 && !strings.HasPrefix(line, "VIOLATION") {
					t.Errorf("a line has %d columns, want at most 80: %s", n, line)
				}
			}
			if t.Failed() {
				logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
				for _, path := range logs {
					log, _ := os.ReadFile(path)
					t.Logf("%s ends with\n%s", filepath.Base(path), log[max(0, len(log)-2000):])
				}
			}
		})
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args   string
		status int
		want   string // on stderr
	}{
		"help":            {"-help", 0, "-stores"},
		"unknown stores":  {"-stores mongodb -logjam /bin/false", 2, "unknown stores"},
		"no time":         {"-duration 1ms", 2, "at least 1s"},
		"only attacks":    {"-hostile 100", 2, "from 0 to 99"},
		"an argument":     {"now", 2, "only flags"},
		"an unknown flag": {"-x", 2, "not defined"},
		"not Logjam":      {"-stores sqlite -logjam /bin/false", 2, "did not start"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			if status := command(t.Context(), strings.Fields(test.args), &stdout, &stderr); status != test.status {
				t.Errorf("exit status %d, want %d", status, test.status)
			}
			if !strings.Contains(stderr.String(), test.want) || stdout.Len() > 0 {
				t.Errorf("stderr is %q, want %q; stdout %q", &stderr, test.want, &stdout)
			}
		})
	}
}

// TestExitStatus checks the exit status and the JSON report of a run.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	if testing.Short() { // as in .ci/run with -race
		t.Skip("Logjam runs in a separate process, which the race detector cannot see")
	}
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	args := []string{"-stores", "sqlite", "-duration", "1s", "-connections", "4", "-json", "-logjam", path}
	if status := command(t.Context(), args, &stdout, &stderr); status != 0 {
		t.Errorf("exit status %d: %s%s", status, &stdout, &stderr)
	}
	var r report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || r.Stores != onSQLite || r.Requests == 0 || len(r.After) != 1 {
		t.Errorf("%v: %s", err, &stdout)
	}
}
