package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A panel shows how the cost grows with one quantity.
type panel struct {
	bench, title string
	axis, unit   string // the quantity; the unit is "bytes" or ""
	time         string // label of the time axis
	lines        []line
}

type line struct {
	name, label string
	points      []point
}

type point struct {
	n     int
	value summary // ns
}

// thePanels are the panels of the growth benchmarks.
var thePanels = []panel{
	{bench: "GrowBody", time: "time per request", title: "Body", axis: "body length", unit: "bytes", lines: []line{
		{name: "handler", label: "whole handler"}, {name: "x-signature", label: "X-Signature check"},
		{name: "rfc9421", label: "RFC 9421"}, {name: "sha256", label: "only SHA-256"},
	}},
	{bench: "GrowNonces", time: "time per entry", title: "Replay store", axis: "live nonces", lines: []line{
		{name: "store", label: "one entry"},
	}},
	{bench: "GrowKeys", time: "time per request", title: "Rotation", axis: "valid keys", lines: []line{
		{name: "x-signature", label: "X-Signature and nonce"}, {name: "rfc9421", label: "RFC 9421"},
	}},
	{bench: "GrowHeaders", time: "time per request", title: "Header", axis: "header fields in the request", lines: []line{
		{name: "handler", label: "whole handler"}, {name: "covered", label: "RFC 9421, all covered"},
		{name: "there", label: "RFC 9421, three covered"},
	}},
}

// panels returns the panels with the measured points. It omits panels without
// points.
func (r *run) panels() (panels []panel) {
	for _, p := range thePanels {
		p.lines = slices.Clone(p.lines)
		found := false
		for i := range p.lines {
			l := &p.lines[i]
			for _, name := range r.order {
				text, ok := strings.CutPrefix(name, p.bench+"/n=")
				text, ok2 := strings.CutSuffix(text, "/"+l.name)
				n, err := strconv.Atoi(text)
				if ok && ok2 && err == nil {
					l.points = append(l.points, point{n, r.value(name, "ns/op")})
					found = true
				}
			}
			slices.SortFunc(l.points, func(a, b point) int { return a.n - b.n })
		}
		if found {
			panels = append(panels, p)
		}
	}
	return panels
}

// sizes returns the sorted values on a panel's size axis.
func (p panel) sizes() (sizes []int) {
	for _, l := range p.lines {
		for _, at := range l.points {
			sizes = append(sizes, at.n)
		}
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

// at returns the line's point at n and whether there is one.
func (l line) at(n int) (point, bool) {
	i := slices.IndexFunc(l.points, func(p point) bool { return p.n == n })
	if i < 0 {
		return point{}, false
	}
	return l.points[i], true
}

// growthTables returns the panels as Markdown tables.
func growthTables(r *run) string {
	var b strings.Builder
	for _, p := range r.panels() {
		fmt.Fprintf(&b, "\n| %s |", p.axis)
		for _, l := range p.lines {
			fmt.Fprintf(&b, " %s |", l.label)
		}
		heap := p.bench == "GrowNonces"
		if heap {
			b.WriteString(" heap per nonce |")
		}
		b.WriteString("\n|--:|" + strings.Repeat("--:|", len(p.lines)))
		if heap {
			b.WriteString("--:|")
		}
		b.WriteString("\n")
		for _, n := range p.sizes() {
			fmt.Fprintf(&b, "| %s |", p.amount(n))
			for _, l := range p.lines {
				text := "—"
				if at, ok := l.at(n); ok {
					text = duration(at.value.Center)
				}
				fmt.Fprintf(&b, " %s |", text)
			}
			if heap {
				fmt.Fprintf(&b, " %.0f B |", r.value(fmt.Sprintf("%s/n=%d/store", p.bench, n), "B/live").Center)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// amount formats a value of the size axis.
func (p panel) amount(n int) string {
	switch {
	case p.unit == "bytes" && n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case p.unit == "bytes" && n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	case p.unit == "bytes":
		return fmt.Sprintf("%d B", n)
	}
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
