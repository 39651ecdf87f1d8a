// Speed measures how fast flyext is, and makes the documentation of it.
//
//	go run ./internal/bench/cmd/speed          measure the table, print it
//	go run ./internal/bench/cmd/speed -record  measure everything; write the run and docs/performance.*
//	go run ./internal/bench/cmd/speed -render  write docs/performance.* from the run that is checked in
//	go run ./internal/bench/cmd/speed -check   as without, and exit with 1 where a target is missed
//
// It works from any folder of the repository, and needs a machine with nothing
// else to do: -record takes six minutes of it at most, or two with -short, whose
// figures are for a look and not for the documentation.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	var o options
	flag.BoolVar(&o.record, "record", false, "measure everything, and write the run and the documentation")
	flag.BoolVar(&o.render, "render", false, "measure nothing: write the documentation from the recorded run")
	flag.BoolVar(&o.check, "check", false, "exit with 1 where a target is missed; with -render, by the recorded run")
	flag.BoolVar(&o.short, "short", false, "six short rounds, for a look")
	flag.Parse()
	if flag.NArg() > 0 || o.record && o.render {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	missed, err := o.do(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
	for _, what := range missed {
		fmt.Fprintln(os.Stderr, "missed:", what)
	}
	if o.check && len(missed) > 0 {
		os.Exit(1)
	}
}

type options struct{ record, render, check, short bool }

// Where the run and the documentation are, below the repository's root.
const (
	runFile  = "internal/bench/testdata/run.txt"
	pageFile = "docs/performance.md"
	plotFile = "docs/performance.svg"
)

// do does what the options say and returns the targets that were missed.
func (o options) do(ctx context.Context) (missed []string, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, err
	}
	var text []byte
	if o.render {
		text, err = os.ReadFile(filepath.Join(root, runFile))
	} else {
		limit := budget
		if o.short {
			limit = shortBudget
		}
		text, err = measure(ctx, filepath.Join(root, "internal", "bench"), o.plan(), limit, os.Stderr)
	}
	if err != nil {
		return nil, err
	}
	r, err := read(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if !o.record && !o.render {
		fmt.Print(table(r.rows()), "\n", storeTable(r))
		return r.misses(), nil
	}
	page, err := r.page()
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{runFile: text, pageFile: page, plotFile: r.plot()} {
		if err := os.WriteFile(filepath.Join(root, name), content, 0o644); err != nil {
			return nil, err
		}
	}
	return r.misses(), nil
}

// moduleRoot is the folder of flyext's go.mod.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/flyext/flyext").Output()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
