// Speed measures flyext's performance and generates docs/performance.md.
//
//	go run ./internal/bench/cmd/speed          measure the table and print it
//	go run ./internal/bench/cmd/speed -record  measure everything; write the run and docs/performance.*
//	go run ./internal/bench/cmd/speed -render  write docs/performance.* from the recorded run
//	go run ./internal/bench/cmd/speed -check   measure the table; exit with status 1 if a target is missed
//
// It works in any directory of the repository and needs an otherwise idle machine.
// -record takes up to six minutes. With -short it takes two minutes, and its
// figures are not accurate enough for the documentation.
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
	flag.BoolVar(&o.render, "render", false, "write the documentation from the recorded run, without measuring")
	flag.BoolVar(&o.check, "check", false, "exit with status 1 if a target is missed; with -render, in the recorded run")
	flag.BoolVar(&o.short, "short", false, "measure fewer rounds, less accurately")
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

// Paths relative to the repository's root.
const (
	runFile  = "internal/bench/testdata/run.txt"
	pageFile = "docs/performance.md"
	plotFile = "docs/performance.svg"
)

// do executes the command and returns the missed targets.
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

// moduleRoot returns the directory of flyext's go.mod.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/flyext/flyext").Output()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
