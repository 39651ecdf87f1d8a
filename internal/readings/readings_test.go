package readings

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/flyext/flyext/internal/programtest"
)

const body = `{ "id" : "x", "b" : {"z": [1, true, null, -2.5], "a": "<&>"}, "name": "Größe 🎈 \"q\" \\ \n", "timestamp": 1 }`

func TestRewrite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ id, want string }{
		{"json-dumps", `{"id": "x", "b": {"z": [1, true, null, -2.5], "a": "<&>"}, "name": "Gr\u00f6\u00dfe \ud83c\udf88 \"q\" \\ \n", "timestamp": 1}`},
		{"stringify", `{"id":"x","b":{"z":[1,true,null,-2.5],"a":"<&>"},"name":"Größe 🎈 \"q\" \\ \n","timestamp":1}`},
		{"rails", `{"id":"x","b":{"z":[1,true,null,-2.5],"a":"\u003c\u0026\u003e"},"name":"Größe 🎈 \"q\" \\ \n","timestamp":1}`},
		{"go-map", `{"b":{"a":"\u003c\u0026\u003e","z":[1,true,null,-2.5]},"id":"x","name":"Größe 🎈 \"q\" \\ \n","timestamp":1}`},
	} {
		for _, s := range styles {
			if s.id != c.id {
				continue
			}
			if got, err := rewrite([]byte(body), s); err != nil || string(got) != c.want {
				t.Errorf("%s: %v\n%s, want\n%s", c.id, err, got, c.want)
			}
		}
	}
	for _, text := range []string{"", "{", `{"a":1} {}`, `{"a"}`, "nonsense"} {
		if got, err := rewrite([]byte(text), styles[0]); err == nil {
			t.Errorf("%q: got %q, want an error", text, got)
		}
	}
}

// TestRewriteIsTheirs compares rewrite with the libraries themselves.
// A value is copied once for each level above it, so the levels are limited.
func TestRewriteLimitsDepth(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"at the limit", strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth), true},
		{"arrays", strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), false},
		{"objects", strings.Repeat(`{"a":`, maxDepth+1) + "1" + strings.Repeat("}", maxDepth+1), false},
	} {
		if _, err := rewrite([]byte(c.text), styles[0]); (err == nil) != c.ok || err != nil && !errors.Is(err, errDepth) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRewriteIsTheirs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id, program, debian string
		args                []string
	}{
		{"json-dumps", "python3", "python3", []string{"-c", "import json,sys; sys.stdout.write(json.dumps(json.load(sys.stdin)))"}},
		{"json-dumps-sorted", "python3", "python3", []string{"-c", "import json,sys; sys.stdout.write(json.dumps(json.load(sys.stdin), sort_keys=True))"}},
		{"stringify", "node", "nodejs", []string{"-e", "process.stdout.write(JSON.stringify(JSON.parse(require('fs').readFileSync(0))))"}},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(programtest.Path(t, c.program, c.debian), c.args...)
			cmd.Stdin = strings.NewReader(body)
			want, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range styles {
				if got, err := rewrite([]byte(body), s); s.id == c.id && (err != nil || string(got) != string(want)) {
					t.Errorf("%v\n%s, want\n%s", err, got, want)
				}
			}
		})
	}
}

func TestReadingsDiffer(t *testing.T) {
	t.Parallel()
	r := Request{Content: []byte(body), URL: "https://logjam.io/flyio/extensions", Timestamp: "1", Secret: "0123456789abcdef"}
	seen := map[string]string{Right(r): "the correct signature"}
	for _, reading := range All(r) {
		if other, ok := seen[reading.Signature]; ok {
			t.Errorf("%s has the same signature as %s", reading.ID, other)
		}
		seen[reading.Signature] = reading.ID
	}
	if len(seen) < 20 {
		t.Errorf("got %d signatures, want at least 20", len(seen))
	}
	r.Content = []byte("a=1&b=2") // a query, so the JSON mistakes do not apply
	for _, reading := range All(r) {
		if strings.Contains(reading.Text, "re-serialized") {
			t.Errorf("%s is listed for a query", reading.ID)
		}
	}
}
