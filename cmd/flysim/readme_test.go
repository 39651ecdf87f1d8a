package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeShowsARun: what the README shows of check is what it writes, but for
// where the provider is, what the extension is called, and how long it took.
func TestReadmeShowsARun(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "```console\n$ flysim check ")
	shown, _, ok := strings.Cut(after, "```\n")
	if !ok {
		t.Fatal("the README shows no run")
	}
	command, shown, _ := strings.Cut(shown, "\n")
	node := startNode(t, "status-word")
	got := newTerminal(node.baseURL).run(t, append([]string{"check"}, strings.Fields(command)...)...).want(t, 1)
	if got, want := comparable(got.stdout), comparable(shown); got != want {
		t.Errorf("the README shows:\n%s\nflysim writes:\n%s", want, got)
	}
	narrow(t, shown)
}

var varies = regexp.MustCompile(`timestamp \d+|nonce \w+|http://\S+/flyio|flytest-\w+-\d+|in [0-9.]+ s`)

func comparable(run string) string { return varies.ReplaceAllString(words(run), "…") }
