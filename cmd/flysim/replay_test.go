package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRecordAndReplay: check --record writes a failure to a file, and replay and
// explain read it.
func TestRecordAndReplay(t *testing.T) {
	t.Parallel()
	term := newTerminal(startPython(t, "number").baseURL)
	dir := filepath.Join(t.TempDir(), "failures")
	term.run(t, "check", "--only", "secret-values,idempotent", "--record", dir).want(t, exitRefused)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != "secret-values.har" {
		t.Fatalf("the files are %v, %v", files, err)
	}
	file := filepath.Join(dir, files[0].Name())
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	// The provider accepts the signature. The extension is gone, because check removes
	// its extensions.
	contains(t, term.run(t, "replay", file).want(t, exitRefused).stdout, "The stream was deleted.")
	contains(t, term.run(t, "replay", file, "--same-bytes").want(t, exitRefused).stdout, "unauthorized")
	contains(t, term.run(t, "explain", file).want(t, 0).stdout, "The signature is right")
	for _, args := range [][]string{{"replay"}, {"replay", "nosuch"}, {"replay", os.DevNull}} {
		term.run(t, args...).want(t, exitUsage)
	}
}

func TestWithoutParameters(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"b":1,"timestamp":2,"a":{"url":3},"nonce":"x","url":"y"}`: `{"b":1,"a":{"url":3}}`,
		`{}`: `{}`, `[1]`: `[1]`, `{"a":`: `{"a":`, "": "",
	} {
		if got := string(withoutParameters([]byte(body))); got != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
}
