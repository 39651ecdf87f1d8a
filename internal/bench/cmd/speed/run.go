package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"
)

// A run has the measurements by benchmark, unit and round.
type run struct {
	config map[string]string
	values map[string]map[string]map[int]float64
	order  []string // benchmark names in order of appearance
}

// configKeys are the keys that describe a run.
var configKeys = []string{"date", "go", "goos", "goarch", "cores", "cpu"}

var errNothing = errors.New("the run has no benchmarks; record one with -record")

func read(text io.Reader) (*run, error) {
	r := &run{config: map[string]string{}, values: map[string]map[string]map[int]float64{}}
	for reader := benchfmt.NewReader(text, "run"); reader.Scan(); {
		switch record := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, record
		case *benchfmt.Result:
			if err := r.add(record); err != nil {
				return nil, err
			}
		}
	}
	if len(r.order) == 0 {
		return nil, errNothing
	}
	return r, nil
}

func (r *run) add(record *benchfmt.Result) error {
	for _, key := range configKeys {
		r.config[key] = strings.TrimSpace(record.GetConfig(key))
	}
	round, err := strconv.Atoi(record.GetConfig("round"))
	if err != nil {
		return fmt.Errorf("benchmark %s has no round", record.Name)
	}
	base, parts := record.Name.Parts()
	name := string(base)
	for _, part := range parts {
		if text := string(part); !strings.HasPrefix(text, "-") { // GOMAXPROCS
			name += text
		}
	}
	if r.values[name] == nil {
		r.values[name] = map[string]map[int]float64{}
		r.order = append(r.order, name)
	}
	for _, v := range record.Values {
		value, unit := v.Value, v.Unit
		if v.OrigUnit != "" {
			value, unit = v.OrigValue, v.OrigUnit
		}
		if r.values[name][unit] == nil {
			r.values[name][unit] = map[int]float64{}
		}
		r.values[name][unit][round] = value
	}
	return nil
}

// A summary is the median of the rounds with its 95 % confidence interval, if there
// are enough rounds for one.
type summary struct {
	benchmath.Summary
	rounds int
	least  float64
}

func summarize(values []float64) summary {
	if len(values) == 0 {
		return summary{}
	}
	sample := benchmath.NewSample(values, &benchmath.DefaultThresholds) // sorts values
	return summary{benchmath.AssumeNothing.Summary(sample, 0.95), len(values), sample.Values[0]}
}

// value summarizes a benchmark's rounds. An unknown benchmark has 0 rounds.
func (r *run) value(name, unit string) summary {
	var values []float64
	for _, v := range r.values[name][unit] {
		values = append(values, v)
	}
	return summarize(values)
}

// ratio summarizes the ratios of a benchmark to its floor, each from the same
// round.
func (r *run) ratio(name, floor string) summary {
	var ratios []float64
	for round, v := range r.values[name]["ns/op"] {
		if base := r.values[floor]["ns/op"][round]; base > 0 {
			ratios = append(ratios, v/base)
		}
	}
	return summarize(ratios)
}
