package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A part is a group of benchmarks, measured a number of times. Each round is a
// separate process, so that no benchmark inherits another's heap.
type part struct {
	bench  string // for go test's -bench
	time   string // for go test's -benchtime
	rounds int
	needed bool // has targets
}

const (
	// budget and shortBudget (with -short) limit the time for all measurements. Later
	// rounds are skipped, except for the first rounds of a part with targets.
	budget      = 6 * time.Minute
	shortBudget = 2 * time.Minute
	// fewest is the minimum number of rounds for a target.
	fewest = 6
	// grace is additional time for those rounds.
	grace = 2 * time.Minute
)

// plan returns the parts to measure. A round measures a floor and its subjects one
// right after the other. Many short rounds spread the disturbance by other
// processes better than few long ones.
func (o options) plan() []part {
	store := func(name string, rounds int) []part {
		return []part{
			{"^BenchmarkReplay$/^" + name + "$", "1x", rounds, name == "flyext"},
			{"^BenchmarkReplayFull$/^" + name + "$", "1x", 1, name == "flyext"},
		}
	}
	rounds := func(n, short int) int {
		if o.short {
			return short
		}
		return n
	}
	parts := []part{
		{"^Benchmark(RFC9421|Cavage|XCheck|XAdmit|Handler|RefuseUnsigned|RefuseForged)$", "200ms", rounds(10, fewest), true},
		// A third of loopback's time is system calls, so its ratio varies most.
		{"^BenchmarkLoopback$", "200ms", rounds(24, fewest), true},
	}
	parts = append(parts, store("flyext", rounds(10, 1))...)
	if !o.record {
		return parts // all parts with targets
	}
	parts = append(parts, part{"^BenchmarkGrow(Body|Keys|Headers|Nonces)$", "150ms", rounds(4, 1), false})
	for _, name := range stores[1:] {
		parts = append(parts, store(name, rounds(3, 1))...)
	}
	return parts
}

var errBusy = fmt.Errorf("no time for %d rounds; try again on an idle machine", fewest)

// measure runs the parts round by round and returns their output in Go's benchmark
// format.
func measure(ctx context.Context, dir string, parts []part, budget time.Duration, progress io.Writer) ([]byte, error) {
	temporary, err := os.MkdirTemp("", "flyext-speed-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temporary)
	binary := filepath.Join(temporary, "bench.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, ".")
	build.Dir, build.Stderr = dir, progress
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("building the benchmarks: %w", err)
	}
	start := time.Now()
	out := bytes.NewBufferString(header(start))
	for round := 1; ; round++ {
		fmt.Fprintf(out, "round: %d\n", round)
		ran := false
		for _, p := range parts {
			if round > p.rounds {
				continue
			}
			if late := time.Since(start) - budget; late > grace && p.needed && round <= fewest {
				return nil, errBusy
			} else if late > 0 && !(p.needed && round <= fewest) {
				fmt.Fprintf(progress, "skipped round %d of %d for lack of time: %s\n", round, p.rounds, p.bench)
				continue
			}
			ran = true
			fmt.Fprintf(progress, "%3.0f s: round %d of %d: %s\n", time.Since(start).Seconds(), round, p.rounds, p.bench)
			if err := p.run(ctx, binary, out); err != nil {
				return nil, err
			}
		}
		if !ran {
			return out.Bytes(), nil
		}
	}
}

// run appends the output of one round of a part to out.
func (p part) run(ctx context.Context, binary string, out *bytes.Buffer) error {
	text, err := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.bench="+p.bench, "-test.benchtime="+p.time).Output()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", p.bench, errors.Join(err, ctx.Err()), text)
	}
	for line := range strings.Lines(string(text)) {
		cpu := strings.HasPrefix(line, "cpu: ") && !bytes.Contains(out.Bytes(), []byte("\ncpu: "))
		if cpu || strings.HasPrefix(line, "Benchmark") {
			out.WriteString(line)
		}
	}
	return nil
}

// header describes the machine without naming it.
func header(now time.Time) string {
	return fmt.Sprintf("date: %s\ngo: %s\ngoos: %s\ngoarch: %s\ncores: %d\npkg: github.com/flyext/flyext/internal/bench\n",
		now.UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
}
