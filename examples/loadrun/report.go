package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// genuineKinds are in the order of the report.
var genuineKinds = []string{"provision", "update", "fetch", "sso", kindVerify}

// shownViolations is the maximum number of violations to print of each kind.
const shownViolations = 5

// print writes a report as text in 80 columns.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%d connections for %.0f s against Logjam on %s stores\n", r.Connections, r.Seconds, r.Stores)
	fmt.Fprintf(w, "%s\n\n", r.Machine)
	r.printGenuine(w)
	r.printHostile(w)
	fmt.Fprintf(w, "\n%d requests arrived, %.0f a second, %.1f %% of them hostile; %d extensions,\n%d changes of them applied\n",
		r.Requests, float64(r.Requests)/r.Seconds, 100*float64(r.Hostile)/float64(max(r.Requests, 1)), r.Extensions, r.Changes)
	r.printFaults(w)
	r.printMachines(w)
	r.printViolations(w)
}

// printGenuine prints a table of the genuine requests.
func (r *report) printGenuine(w io.Writer) {
	fmt.Fprintf(w, "%-9s %7s %8s %7s %7s %7s %7s  %s\n", "genuine", "sent", "answered", "p50 ms", "p99", "p99.9", "max", "not answered")
	for _, kind := range genuineKinds {
		outcomes, l := maps.Clone(r.Outcomes[kind]), r.Latencies[kind]
		ok := outcomes[outcomeOK]
		delete(outcomes, outcomeOK)
		fmt.Fprintf(w, "%-9s %7d %8d %7s %7s %7s %7s", kind, sum(r.Outcomes[kind]), ok, ms(l.Median), ms(l.P99), ms(l.P999), ms(l.Max))
		wrap(w, "  ", 20, outcomes)
	}
}

// printHostile prints a table of the hostile requests.
func (r *report) printHostile(w io.Writer) {
	fmt.Fprintf(w, "\n%-9s %7s  %s\n", "hostile", "sent", "results")
	for _, kind := range hostileKinds {
		fmt.Fprintf(w, "%-9s %7d", kind, sum(r.Outcomes[kind]))
		wrap(w, "  ", 61, r.Outcomes[kind])
	}
}

func (r *report) printFaults(w io.Writer) {
	var faults []string
	for _, what := range slices.Sorted(maps.Keys(r.Faults)) {
		faults = append(faults, fmt.Sprintf("%s %d times", what, r.Faults[what]))
	}
	fmt.Fprintf(w, "\nfaults: %s\n", strings.Join(faults, ",\n        "))
}

// printMachines prints a table of the machines' resources before and after the load.
func (r *report) printMachines(w io.Writer) {
	for i := range r.After {
		if i == 0 {
			fmt.Fprintln(w, "\nbefore, after   goroutines       heap, MiB   resident, MiB")
		}
		fmt.Fprintf(w, "machine %-4d %7d, %4d %9s, %5s %8s, %6s\n", i,
			r.Before[i].Goroutines, r.After[i].Goroutines, mib(int64(r.Before[i].HeapBytes)), mib(int64(r.After[i].HeapBytes)),
			mib(r.Before[i].RSSBytes), mib(r.After[i].RSSBytes))
	}
	fmt.Fprintf(w, "peak resident memory: %s MiB\n\n", mib(r.PeakRSS))
}

func (r *report) printViolations(w io.Writer) {
	for _, v := range slices.Sorted(maps.Keys(r.Violations)) {
		all := r.Violations[v]
		for _, text := range all[:min(len(all), shownViolations)] {
			fmt.Fprintf(w, "VIOLATION %s: %s\n", v, text)
		}
		if more := len(all) - shownViolations; more > 0 {
			fmt.Fprintf(w, "VIOLATION %s: %d more\n", v, more)
		}
	}
	if len(r.Violations) == 0 {
		fmt.Fprintln(w, "no violations: nothing lost or applied twice, no hostile request accepted, no\ngenuine request refused, no slow sender kept, no leak, no secret in the log")
	}
}

// wrap ends a line with counts. It breaks them into lines of a column with the
// given width.
func wrap(w io.Writer, gap string, width int, counts map[string]int) {
	var line string
	first := true
	flush := func() {
		if first {
			fmt.Fprintf(w, "%s%s\n", gap, line)
		} else {
			fmt.Fprintf(w, "%s%s\n", strings.Repeat(" ", 80-width), line)
		}
		first, line = false, ""
	}
	for _, outcome := range slices.Sorted(maps.Keys(counts)) {
		part := fmt.Sprintf("%s %d", outcome, counts[outcome])
		if line != "" && len(line)+3+len(part) > width {
			line += ","
			flush()
		}
		if line != "" {
			line += ", "
		}
		line += part
	}
	flush()
}

func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }

func mib(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/(1<<20)) }
