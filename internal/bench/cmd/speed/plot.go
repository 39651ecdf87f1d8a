package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strings"
)

// Sizes in pixels.
const (
	panelWidth, panelHeight = 460, 330
	left, right             = 66, 34 // of a panel's axes
	top, bottom             = 74, 52
	labelGap, labelWidth    = 17, 200 // between the lines of the legend
)

// lineStyles are CSS classes that differ in color and dashes.
var lineStyles = []string{"a", "b", "c", "d"}

// style supports light and dark mode.
const style = `
	svg { background: #ffffff; font: 12px system-ui, sans-serif; }
	text { fill: #24292f; } .minor { fill: #57606a; }
	.grid { stroke: #d0d7de; stroke-width: 1; } .axis { stroke: #57606a; stroke-width: 1; fill: none; }
	.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
	.a { stroke: #0550ae; } .b { stroke: #bc4c00; stroke-dasharray: 7 3; }
	.c { stroke: #116329; stroke-dasharray: 2 3; } .d { stroke: #57606a; stroke-dasharray: 10 3 2 3; }
	.dot { stroke-dasharray: none; fill: #ffffff; stroke-width: 1.5; }
	.title { font-weight: 600; font-size: 14px; }
	@media (prefers-color-scheme: dark) {
		svg { background: #0d1117; }
		text { fill: #e6edf3; } .minor { fill: #9198a1; } .grid { stroke: #30363d; } .axis { stroke: #9198a1; }
		.a { stroke: #79c0ff; } .b { stroke: #ffa657; } .c { stroke: #7ee787; } .d { stroke: #9198a1; }
		.dot { fill: #0d1117; }
	}
`

// plot draws the panels, two per row, with logarithmic axes.
func (r *run) plot() []byte {
	panels := r.panels()
	rows := (len(panels) + 1) / 2
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img">`+"\n",
		2*panelWidth, rows*panelHeight)
	b.WriteString("<title>Time depending on the body length and on the numbers of live nonces, keys and header fields</title>\n")
	fmt.Fprintf(&b, "<style>%s</style>\n", style)
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%2*panelWidth, i/2*panelHeight)
		p.draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// A scale maps values to pixels logarithmically.
type scale struct{ low, high, from, to float64 }

func (s scale) at(v float64) float64 {
	return s.from + (math.Log(v)-math.Log(s.low))/(math.Log(s.high)-math.Log(s.low))*(s.to-s.from)
}

func (p panel) draw(b *bytes.Buffer) {
	sizes := p.sizes()
	x := scale{float64(sizes[0]), float64(sizes[len(sizes)-1]), left, panelWidth - right}
	if x.low == x.high {
		x.high++
	}
	y := p.valueScale()

	fmt.Fprintf(b, `<text class="title" x="%d" y="20">%s</text>`+"\n", left, html.EscapeString(p.title))
	for v := y.low; v < y.high*1.01; v *= 10 {
		fmt.Fprintf(b, `<path class="grid" d="M%d %.1fH%d"/><text class="minor" x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, y.at(v), panelWidth-right, left-7, y.at(v)+4, duration(v))
	}
	last := math.Inf(-1)
	for _, n := range sizes {
		at := x.at(float64(n))
		fmt.Fprintf(b, `<path class="axis" d="M%.1f %dv5"/>`+"\n", at, panelHeight-bottom)
		if at-last >= 46 { // avoids overlapping numbers
			fmt.Fprintf(b, `<text class="minor" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", at, panelHeight-bottom+18, p.amount(n))
			last = at
		}
	}
	fmt.Fprintf(b, `<path class="axis" d="M%d %dV%dH%d"/>`+"\n", left, top, panelHeight-bottom, panelWidth-right)
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (left+panelWidth-right)/2, panelHeight-12, p.axis)
	fmt.Fprintf(b, `<text x="14" y="%d" text-anchor="middle" transform="rotate(-90 14 %[1]d)">%s</text>`+"\n",
		(top+panelHeight-bottom)/2, p.time)
	for i, l := range p.lines {
		p.drawLine(b, l, lineStyles[i], x, y)
	}
	p.drawLegend(b)
}

// valueScale returns a scale from one power of ten to another.
func (p panel) valueScale() scale {
	low, high := math.Inf(1), 0.0
	for _, l := range p.lines {
		for _, at := range l.points {
			low, high = min(low, at.value.Center), max(high, at.value.Center)
		}
	}
	down := math.Pow(10, math.Floor(math.Log10(low)))
	up := math.Pow(10, math.Ceil(math.Log10(high)))
	if down == up {
		up *= 10
	}
	return scale{down, up, panelHeight - bottom, top}
}

func (p panel) drawLine(b *bytes.Buffer, l line, style string, x, y scale) {
	var path strings.Builder
	for i, at := range l.points {
		command := "L"
		if i == 0 {
			command = "M"
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", command, x.at(float64(at.n)), y.at(at.value.Center))
	}
	fmt.Fprintf(b, `<path class="line %s" d="%s"/>`+"\n", style, path.String())
	for _, at := range l.points {
		fmt.Fprintf(b, `<circle class="dot %s" cx="%.1f" cy="%.1f" r="3"/>`+"\n", style, x.at(float64(at.n)), y.at(at.value.Center))
	}
}

// drawLegend draws the names of the lines above the axes, two per row.
func (p panel) drawLegend(b *bytes.Buffer) {
	for i, l := range p.lines {
		x, y := left+i%2*labelWidth, 34+i/2*labelGap
		fmt.Fprintf(b, `<path class="line %s" d="M%d %dh26"/><text x="%d" y="%d">%s</text>`+"\n",
			lineStyles[i], x, y, x+32, y+4, html.EscapeString(l.label))
	}
}
