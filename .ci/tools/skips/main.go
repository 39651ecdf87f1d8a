// Skips reads the output of go test -json and lists the reasons why tests were
// skipped. It fails if a reason is not a one-line hint how to install the test's
// requirements.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"regexp"
	"slices"
)

// An event is an event of go doc test2json.
type event struct{ Action, Package, Test, Output string }

var (
	// message matches a line of t.Log or t.Skip. test2json also assigns what concurrent
	// tests print, such as log records, to a test.
	message = regexp.MustCompile(`^ +([^ -]|--?([^-]|$))`)
	reason  = regexp.MustCompile(`^ +\S+\.go:\d+: (.+)\n$`)
	// inapplicable matches the reasons of the conformance test, which skips requirements
	// that do not apply to the provider.
	inapplicable = regexp.MustCompile(`^ +conformance\.go:\d+: `)
	how          = regexp.MustCompile(`apt-get install|npm ci`)
)

func main() {
	log.SetFlags(0)
	file, err := os.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	reasons, mute, err := skips(file)
	if err != nil {
		log.Fatal(err)
	}
	failed := len(mute) > 0 || len(reasons) == 0
	for _, test := range mute {
		fmt.Println("skipped without a one-line installation hint:", test)
	}
	for _, text := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Printf("%d tests skipped: %s\n", reasons[text], text)
	}
	if failed {
		os.Exit(1)
	}
}

// skips counts the skipped tests by reason. mute lists the tests without a one-line
// hint.
func skips(r io.Reader) (reasons map[string]int, mute []string, err error) {
	reasons = map[string]int{}
	said := map[string][]string{}
	for decoder := json.NewDecoder(r); ; {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return reasons, mute, nil
		} else if err != nil {
			return nil, nil, err
		}
		test := e.Package + " " + e.Test
		switch {
		case e.Action == "output" && e.Test != "" && message.MatchString(e.Output):
			said[test] = append(said[test], e.Output)
		case e.Action == "skip" && e.Test != "":
			lines := said[test]
			if len(lines) == 1 && inapplicable.MatchString(lines[0]) {
				continue
			}
			if len(lines) != 1 || !reason.MatchString(lines[0]) || !how.MatchString(lines[0]) {
				mute = append(mute, test+fmt.Sprintf(" %q", lines))
				continue
			}
			reasons[reason.FindStringSubmatch(lines[0])[1]]++
		}
	}
}
