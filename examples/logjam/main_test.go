package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBuild checks that the program for one machine runs the demo, compiles no
// driver of PostgreSQL or Redis, and refuses their flags.
func TestBuild(t *testing.T) {
	t.Parallel()
	if testing.Short() { // as .ci/run says with -race
		t.Skip("the race detector does not see Logjam's own process; run without -short")
	}
	packages, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.Lines(string(packages)) {
		for _, driver := range []string{"jackc/pgx", "lib/pq", "redis/go-redis", "stores/"} {
			if strings.Contains(name, driver) {
				t.Errorf("the program compiles %s", strings.TrimSpace(name))
			}
		}
	}
	program := filepath.Join(t.TempDir(), "logjam")
	if output, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, test := range []struct {
		name  string
		env   string
		args  []string
		works bool
		want  string
	}{
		{"demo", "", []string{"-once", "-addr", "127.0.0.1:0"}, true, "What to run next"},
		{"PostgreSQL", "LOGJAM_KEY=x", []string{"-once", "-database-url", "postgres://127.0.0.1:1/x"}, false, "use go run ./examples/logjam/machines"},
		{"Redis", "", []string{"-once", "-redis-url", "redis://127.0.0.1:1"}, false, "use go run ./examples/logjam/machines"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(program, test.args...)
			cmd.Env = []string{"TMPDIR=" + t.TempDir(), test.env}
			output, err := cmd.CombinedOutput()
			if (err == nil) != test.works || !strings.Contains(string(output), test.want) {
				t.Errorf("exit: %v, want success: %t; the output, in which %q is expected:\n%s", err, test.works, test.want, output)
			}
		})
	}
}
