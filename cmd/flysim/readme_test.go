package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeShowsARun: the output of check in docs/testing.md is the real one, except
// for the URL of the provider, the id of the extension, the signature and the time.
func TestReadmeShowsARun(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "```console\n$ flysim check ")
	shown, _, ok := strings.Cut(after, "```\n")
	if !ok {
		t.Fatal("docs/testing.md shows no run of flysim check")
	}
	command, shown, _ := strings.Cut(shown, "\n")
	node := startNode(t, "status-word")
	got := newTerminal(node.baseURL).run(t, append([]string{"check"}, strings.Fields(command)...)...).want(t, 1)
	if got, want := comparable(got.stdout), comparable(shown); got != want {
		t.Errorf("docs/testing.md shows:\n%s\nflysim writes:\n%s", want, got)
	}
	narrow(t, shown)
}

var varies = regexp.MustCompile(`timestamp \d+|nonce \w+|http://\S+/flyio|flytest-\w+-\d+|in [0-9.]+ s`)

func comparable(run string) string { return varies.ReplaceAllString(words(run), "…") }
