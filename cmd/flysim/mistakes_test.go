package main

import (
	"strings"
	"testing"
)

// screen is the number of lines that a terminal shows.
const screen = 24

// TestMistakesAreNamed: the first screen of flysim check names the mistake of a
// provider.
func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ mistake, want string }{
		{"json-dumps", "Your provider verifies re-serialized JSON, as Python's json.dumps writes it. Sign the raw bytes of the body"},
		{"sorted", "Your provider verifies re-serialized JSON, as a library with sorted keys writes it."},
		{"upper-case", "Your provider compares upper-case hex digits. Compare the lower-case hex digits of the HMAC"},
		{"prefix", `Your provider expects "sha256=" before the signature.`},
		{"base64", "Your provider expects the signature in base64."},
		{"empty-secret", "Your provider has an empty secret."},
		{"newline", "Your provider has a newline at the end of the secret."},
		{"url", "Your provider signs the URL, not the body."},
		{"body-and-url", "Your provider signs the body followed by the URL."},
		{"plain-hash", "Your provider hashes the secret and the body with SHA-256."},
		{"milliseconds", "Your provider reads the timestamp as milliseconds."},
		{"scheme", `Your provider compares the signed "url" with https://127.0.0.1:`},
		{"base-path", "Your provider answers at http://127.0.0.1:"},
		{"flat", "got generation 1's shape: an object with only secrets"},
	} {
		t.Run(c.mistake, func(t *testing.T) {
			t.Parallel()
			got := newTerminal(startPython(t, c.mistake).baseURL).run(t, "check").want(t, exitRefused)
			lines := strings.Split(strings.TrimSuffix(got.stdout, "\n"), "\n")
			contains(t, words(strings.Join(lines[:min(len(lines), screen-1)], "\n")), c.want)
			continues := c.mistake == "flat" // the run continues with the other requirements
			if !continues && len(lines) >= screen {
				t.Errorf("the report has %d lines, want fewer than %d:\n%s", len(lines), screen, got.stdout)
			}
			if n := strings.Count(got.stdout, "Your provider "); !continues && n != 1 {
				t.Errorf("the report names %d mistakes, want 1:\n%s", n, got.stdout)
			}
			if strings.Contains(got.stdout, "not tested: ") == continues {
				t.Errorf("the run continues: %v, want %v:\n%s", !continues, continues, got.stdout)
			}
		})
	}
}
