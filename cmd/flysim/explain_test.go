package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/flyext/flyext/internal/readings"
)

// TestExplain: explain reads the output of flysim -v, and says why its signature
// does not verify.
func TestExplain(t *testing.T) {
	t.Parallel()
	term := newTerminal((&memory{}).serve(t, "", 0))
	capture := term.with()
	capture.stdin = term.run(t, "provision", "-v").want(t, 0).stderr
	contains(t, capture.run(t, "explain").want(t, 0).stdout,
		"POST /flyio/extensions: format x-signature", "* The signature is right", "--- signed bytes\n{", "\nright value  ")
	contains(t, words(capture.with("FLYIO_SIGNING_SECRET", "another").run(t, "explain", "-").want(t, exitRefused).stdout), "Either the secret differs")
	contains(t, words(capture.run(t, "explain", "--at", "2001-01-01T00:00:00Z").want(t, exitRefused).stdout), "ahead of this clock")
	var doc struct {
		Format   string   `json:"format"`
		Right    bool     `json:"right"`
		Findings []string `json:"findings"`
	}
	capture.run(t, "explain", "--json").want(t, 0).decode(t, &doc)
	if doc.Format != "x-signature" || !doc.Right || len(doc.Findings) == 0 {
		t.Errorf("the document is %+v", doc)
	}
	// A capture without the body, and then with the body that another program signed.
	head, _, _ := strings.Cut(capture.stdin, "> {")
	curl := capture.with()
	curl.stdin = head
	contains(t, words(curl.run(t, "explain").want(t, exitRefused).stdout), "Cannot be judged: the capture has no body; pass it with --body.")
	var answer struct {
		Right           bool
		Verdict         string
		Reading, Signed string
	}
	curl.run(t, "explain", "--json").want(t, exitRefused).decode(t, &answer)
	if answer.Right || answer.Verdict != "unknown" {
		t.Errorf("the answer about a capture without a body is %+v", answer)
	}
	python := readings.All(readings.Request{Content: []byte(`{"id":"x"}`), Secret: signingSecret})[0]
	curl.stdin = "POST /x HTTP/1.1\nX-Signature: " + python.Signature + "\n\n{\"id\":\"x\"}"
	curl.run(t, "explain", "--json").want(t, exitRefused).decode(t, &answer)
	if answer.Verdict != "refused" || answer.Signed != string(python.Base) {
		t.Errorf("the answer is %+v, want the signed bytes %q", answer, python.Base)
	}
	for _, args := range [][]string{{"explain", "nosuch"}, {"explain", "--body", "nosuch"}, {"explain", "--base", "nosuch"}, {"explain", "--at", "x"}} {
		capture.run(t, args...).want(t, exitUsage)
	}
}

// TestTestingShowsExplain: the run in docs/testing.md is the output of explain for
// the files in testdata/401.
func TestTestingShowsExplain(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const dir = "testdata/401/"
	_, after, _ := strings.Cut(read("../../docs/testing.md"), "$ curl -sv ")
	run, _, _ := strings.Cut(after, "```\n")
	curl, shown, ok := strings.Cut(run, "$ flysim explain ")
	if !ok {
		t.Fatal("docs/testing.md shows no run of flysim explain")
	}
	args, want, _ := strings.Cut(shown, "\n")
	args = regexp.MustCompile(`\w+\.(txt|json)`).ReplaceAllString(args, dir+"$0")
	term := newTerminal("").with("FLYSIM_BASE_URL", "-", "FLYIO_SIGNING_SECRET", "example-secret", "FLYIO_BEARER_TOKEN", "-")
	contains(t, curl, "export FLYIO_SIGNING_SECRET=example-secret\n")
	if got := term.run(t, append([]string{"explain"}, strings.Fields(args)...)...).want(t, 0).stdout; got != want {
		t.Errorf("docs/testing.md shows:\n%s\nflysim writes:\n%s", want, got)
	}
	// The command of curl is the captured one.
	capture := strings.ReplaceAll(read(dir+"request.txt"), "\r", "")
	for _, header := range regexp.MustCompile(`-H '([^']+)'`).FindAllStringSubmatch(curl, -1) {
		contains(t, capture, "> "+header[1]+"\n")
	}
	contains(t, capture, "< HTTP/1.1 401 Unauthorized\n")
}
