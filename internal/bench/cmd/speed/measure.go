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

// A part is some of the benchmarks, measured a number of times. Each time is a
// process of its own, so that no benchmark inherits the heap of another.
type part struct {
	bench  string // for go test's -bench
	time   string // for go test's -benchtime
	rounds int
	needed bool // for the targets
}

const (
	// budget is the time in which everything is measured, and shortBudget that
	// with -short. What has not begun by then is left out, but for the fewest
	// rounds of which a median is made of what has a target.
	budget      = 6 * time.Minute
	shortBudget = 2 * time.Minute
	fewest      = 6
	// grace is how much more time those may take.
	grace = 2 * time.Minute
)

// plan is what is measured. A round measures a floor and what is compared with
// it one right after the other; many short rounds rather than few long ones keep
// what else the machine does from falling on one of them alone.
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
		// A third of what loopback takes is system calls. Its ratio varies most.
		{"^BenchmarkLoopback$", "200ms", rounds(24, fewest), true},
	}
	parts = append(parts, store("flyext", rounds(10, 1))...)
	if !o.record {
		return parts // which is all that has a target
	}
	parts = append(parts, part{"^BenchmarkGrow(Body|Keys|Headers|Nonces)$", "150ms", rounds(4, 1), false})
	for _, name := range stores[1:] {
		parts = append(parts, store(name, rounds(3, 1))...)
	}
	return parts
}

var errBusy = fmt.Errorf("there is no time for %d rounds: the machine has too much else to do", fewest)

// measure runs the parts, a round of each after the other, and returns what
// they print in Go's benchmark format.
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
				fmt.Fprintf(progress, "no time is left for round %d of %d: %s\n", round, p.rounds, p.bench)
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

// run adds what one round of a part prints to out.
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

// header says on what was measured. It names no machine.
func header(now time.Time) string {
	return fmt.Sprintf("date: %s\ngo: %s\ngoos: %s\ngoarch: %s\ncores: %d\npkg: github.com/flyext/flyext/internal/bench\n",
		now.UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
}
