package main

import "testing"

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
	for _, args := range [][]string{{"explain", "nosuch"}, {"explain", "--body", "nosuch"}, {"explain", "--base", "nosuch"}, {"explain", "--at", "x"}} {
		capture.run(t, args...).want(t, exitUsage)
	}
}
