package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// A row is a line of the table: an operation with its targets.
type row struct {
	bench string
	work  string
	floor string
	// atMost is the maximum ratio to the floor, and allocs the maximum number of
	// allocations; 0 means no target.
	atMost float64
	allocs float64

	ratio       summary
	flyext      summary // ns
	allocations summary
	base        summary // ns
	peers       []string
}

const (
	verifierFloor = "a hand-written verifier for only this format, without allocations"
	bareFloor     = "a hand-written handler: read, HMAC, `encoding/json` decode, no-op, encode"
	refusalFloor  = "the hand-written handler's refusal"
)

// theRows are the rows of the table, with the project's targets.
var theRows = []row{
	{bench: "RFC9421", work: "RFC 9421: verify five components and a body digest", floor: verifierFloor, atMost: 5.5, allocs: 22},
	{bench: "Cavage", work: "draft-cavage: verify with a body digest", floor: verifierFloor, atMost: 5},
	{bench: "XCheck", work: "`X-Signature`: read a body and check its MAC, before decoding", floor: "pooled read and pooled HMAC", atMost: 2, allocs: 2},
	{bench: "XAdmit", work: "`X-Signature`: `Authenticator.Check`, including time, URL and nonce", floor: "pooled read and pooled HMAC"},
	{bench: "Handler", work: "the whole handler: POST to response, including replay store, deadline and panic recovery", floor: bareFloor, atMost: 1.6, allocs: 58},
	{bench: "RefuseUnsigned", work: "refuse an unsigned request", floor: refusalFloor, atMost: 1.3},
	{bench: "RefuseForged", work: "refuse a forged request", floor: refusalFloor, atMost: 1.6},
	{bench: "Loopback", work: "the whole handler on loopback with `net/http`, 16 connections", floor: "the hand-written handler with the same server", atMost: 1.45},
}

// rows returns the rows with their measurements. It omits rows without any.
func (r *run) rows() []row {
	var rows []row
	for _, row := range theRows {
		name := row.bench + "/"
		row.ratio = r.ratio(name+"flyext", name+"floor")
		if row.ratio.rounds == 0 {
			continue
		}
		row.flyext, row.base = r.value(name+"flyext", "ns/op"), r.value(name+"floor", "ns/op")
		row.allocations = r.value(name+"flyext", "allocs/op")
		for _, peer := range r.order {
			peerName, ok := strings.CutPrefix(peer, name)
			if !ok || peerName == "floor" || peerName == "flyext" {
				continue
			}
			row.peers = append(row.peers, fmt.Sprintf("%s %.1f× (%.0f)",
				peerName, r.ratio(peer, name+"floor").Center, r.value(peer, "allocs/op").Center))
		}
		rows = append(rows, row)
	}
	if s := r.refusalToAcceptance(); s.rounds > 0 {
		rows = append(rows, row{
			bench: "RefuseForged/Handler", work: "refuse a forged request, compared with accepting a genuine one",
			floor: "flyext accepts a request", atMost: 1, ratio: s,
			flyext: r.value("RefuseForged/flyext", "ns/op"), base: r.value("Handler/flyext", "ns/op"),
			allocations: r.value("RefuseForged/flyext", "allocs/op"),
		})
	}
	return rows
}

func (r *run) refusalToAcceptance() summary { return r.ratio("RefuseForged/flyext", "Handler/flyext") }

// A check compares a figure with its maximum.
type check struct {
	what      string
	got, most float64
	unit      string
}

// checks returns all targets.
func (r *run) checks() (checks []check) {
	for _, row := range r.rows() {
		if row.atMost > 0 {
			checks = append(checks, check{row.work, row.ratio.Center, row.atMost, "times the floor"})
		}
		if row.allocs > 0 {
			checks = append(checks, check{row.work, row.allocations.Center, row.allocs, "allocations"})
		}
	}
	return append(checks, r.storeChecks()...)
}

func (c check) figure(v float64) string {
	if c.unit == "ns" {
		return duration(v)
	}
	return fmt.Sprintf("%.3g %s", v, c.unit)
}

// misses returns the missed targets.
func (r *run) misses() (missed []string) {
	for _, c := range r.checks() {
		if c.got > c.most {
			missed = append(missed, fmt.Sprintf("%s: %s, target at most %s", c.what, c.figure(c.got), c.figure(c.most)))
		}
	}
	return missed
}

// table returns the rows as a Markdown table.
func table(rows []row) string {
	var b strings.Builder
	b.WriteString("| operation | floor | floor time | flyext time | ratio | target | allocations | target | other libraries (allocations) |\n")
	b.WriteString("|---|---|--:|--:|--:|--:|--:|--:|---|\n")
	for _, row := range rows {
		spread := ""
		if row.ratio.rounds >= fewest { // enough for an interval
			spread = fmt.Sprintf(" (%.2f–%.2f)", row.ratio.Lo, row.ratio.Hi)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | **%.2f×**%s | %s | %.0f | %s | %s |\n",
			row.work, row.floor, duration(row.base.Center), duration(row.flyext.Center), row.ratio.Center, spread,
			target("%g×", row.atMost), row.allocations.Center, target("%.0f", row.allocs), strings.Join(row.peers, ", "))
	}
	return b.String()
}

func target(format string, most float64) string {
	if most == 0 {
		return ""
	}
	return "≤ " + fmt.Sprintf(format, most)
}

// duration formats nanoseconds with three digits.
func duration(ns float64) string {
	switch {
	case ns >= 1e9:
		return fmt.Sprintf("%.3g s", ns/1e9)
	case ns >= 1e6:
		return fmt.Sprintf("%.3g ms", ns/1e6)
	case ns >= 1e3:
		return fmt.Sprintf("%.3g µs", ns/1e3)
	}
	return fmt.Sprintf("%.3g ns", ns)
}

// stores are the stores of BenchmarkReplay.
var stores = []string{"flyext", "map-mutex", "otter", "golang-lru", "ristretto", "go-cache", "common-fate"}

// storeChecks returns the targets of the replay store, which has no floor.
func (r *run) storeChecks() (checks []check) {
	for _, c := range []struct {
		unit, what, as string
		most           float64
	}{
		{"fill-B/live", "replay store, heap per live nonce", "B", 32},
		{"turn-B/live", "replay store, heap per live nonce after turning over", "B", 32},
		{"fill-ns/entry", "replay store, time per entry", "ns", 400},
		{"turn-ns/entry", "replay store, time per entry while turning over", "ns", 400},
		{"fill-two-ns/entry", "replay store, time per entry from two goroutines", "ns", 400},
		{"turn-two-ns/entry", "replay store, time per entry from two goroutines while turning over", "ns", 400},
		{"fill-worst-ns", "replay store, worst entry", "ns", 1e6},
		{"turn-worst-ns", "replay store, worst entry while turning over", "ns", 1e6},
	} {
		if s := r.value("Replay/flyext", c.unit); s.rounds > 0 {
			checks = append(checks, check{c.what, s.of(c.unit), c.most, c.as})
		}
	}
	for _, unit := range []string{"full-admitted-%", "at-once-admitted-%"} {
		if s := r.value("ReplayFull/flyext", unit); s.rounds > 0 {
			checks = append(checks, check{"replay store, " + unit, s.Center, 0, "%"})
		}
	}
	return checks
}

// of returns the figure that represents all rounds: the median, or for the worst
// entry the minimum. The store's own delays occur in every round, but those of
// other processes do not.
func (s summary) of(unit string) float64 {
	if strings.HasSuffix(unit, "-worst-ns") {
		return s.least
	}
	return s.Center
}

// storeTable returns the comparison of the stores as a Markdown table.
func storeTable(r *run) string {
	var b strings.Builder
	b.WriteString("| store | heap per live nonce | after turning over | per entry | turning over | two goroutines | turning over | " +
		"worst entry | turning over | replays accepted when full | immediate replays accepted |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	b.WriteString("| target | ≤ 32 B | ≤ 32 B | ≤ 400 ns | ≤ 400 ns | ≤ 400 ns | ≤ 400 ns | < 1 ms | < 1 ms | none | none |\n")
	for _, name := range stores {
		if r.values["Replay/"+name] == nil {
			continue
		}
		cell := func(unit string) string {
			s := r.value("Replay/"+name, unit)
			switch {
			case s.rounds == 0:
				return "—"
			case strings.HasSuffix(unit, "-B/live"):
				return fmt.Sprintf("%.0f B", s.of(unit))
			}
			return duration(s.of(unit))
		}
		share := func(unit string) string {
			if s := r.value("ReplayFull/"+name, unit); s.rounds > 0 {
				return fmt.Sprintf("%.3g %%", s.Center)
			}
			return "—"
		}
		full := share("full-admitted-%")
		if slices.Contains([]string{"map-mutex", "go-cache", "common-fate"}, name) {
			full = "never full"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", name,
			cell("fill-B/live"), cell("turn-B/live"), cell("fill-ns/entry"), cell("turn-ns/entry"),
			cell("fill-two-ns/entry"), cell("turn-two-ns/entry"), cell("fill-worst-ns"), cell("turn-worst-ns"), full, share("at-once-admitted-%"))
	}
	return b.String()
}

//go:embed performance.md.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page returns docs/performance.md.
func (r *run) page() ([]byte, error) {
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, map[string]any{
		"Table": table(r.rows()), "Stores": storeTable(r), "Growth": growthTables(r), "Missed": r.misses(), "Config": r.config,
		"Rounds": r.value("Handler/flyext", "ns/op").rounds, "LoopbackRounds": r.value("Loopback/flyext", "ns/op").rounds,
	})
	return b.Bytes(), err
}
