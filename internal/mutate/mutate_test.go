package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A module whose test notices one half of what it should.
var module = map[string]string{
	"go.mod": "module example.test/m\n\ngo 1.26.0\n",
	"door.go": `package m

import "errors"

var errClosed = errors.New("closed")

// open checks a sum and an age.
func open(sum, want string, age int) error {
	if sum != want || age > 5 {
		return errClosed
	}
	return nil
}

func never() int { return 7 }
`,
	"door_test.go": `package m

import "testing"

func TestOpen(t *testing.T) {
	if open("a", "a", 1) != nil || open("a", "b", 1) == nil || open("a", "a", 9) == nil {
		t.Fatal("wrong")
	}
}
`,
	"accepted.txt": "door.go never: 7 -> 7 + 1\n\tnobody calls it\n",
}

// TestMutate: what a test notices is killed, and what it does not survives and
// is told, unless it is accepted.
func TestMutate(t *testing.T) {
	dir := t.TempDir()
	for name, text := range module {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOWORK", "off")
	t.Chdir(dir)
	var out bytes.Buffer
	r := &rig{processes: 1, accepted: "accepted.txt", out: &out}
	if err := r.run([]string{"door.go"}); !errors.Is(err, errSurvivors) {
		t.Errorf("got %v", err)
	}
	for _, survivor := range []string{"\t- age > 5\n\t+ age >= 5\n", "SURVIVED door.go:15 never\n\t- return 7\n\t+ return *new(int)\n"} {
		if !strings.Contains(out.String(), survivor) {
			t.Errorf("it is not told that this survived:\n%s", survivor)
		}
	}
	for _, noticed := range []string{"+ false", "+ true", "+ return nil", "&&", "7 + 1", "mutantError"} {
		if strings.Contains(out.String(), noticed) {
			t.Errorf("%q was noticed or is accepted, and is told", noticed)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	alive := mutant{file: "a.go", where: "f", from: "x", to: "y"}
	dead := mutant{file: "a.go", where: "f", from: "x", to: "z"}
	for _, test := range []struct {
		name, accepted, told string
		want                 bool
	}{
		{"the survivor is accepted", alive.name(), "", true},
		{"nothing is accepted", "", "", false},
		{"one that was killed is accepted", dead.name(), "ACCEPTED, BUT KILLED a.go f: x -> z\n", false},
		{"one that is gone is accepted", "a.go f: u -> v", "ACCEPTED, BUT NOT THERE a.go f: u -> v\n", false},
	} {
		var out bytes.Buffer
		reasons := map[string]string{"b.go f: x -> y": "of another file"}
		if test.accepted != "" {
			reasons[alive.name()], reasons[test.accepted] = "a reason", "a reason"
		}
		r := &rig{out: &out}
		if got := r.judge([]string{"a.go"}, []mutant{alive}, []mutant{dead}, reasons); got != test.want || out.String() != test.told {
			t.Errorf("%s: %v, told %q", test.name, got, out.String())
		}
	}
}

func TestAcceptedNeedsReasons(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "accepted.txt")
	for text, ok := range map[string]bool{"": true, "# a\na.go f: x -> y\n\twhy\n\tand why\n": true, "a.go f: x -> y\n": false} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if reasons, err := readAccepted(name); (err == nil) != ok {
			t.Errorf("%q: %v, %v", text, reasons, err)
		}
	}
}
