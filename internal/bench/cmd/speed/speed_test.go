package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDocumentationIsOfTheRecordedRun checks that the documentation is rendered
// from the recorded run.
func TestDocumentationIsOfTheRecordedRun(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..", "..")
	open := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	r, err := read(bytes.NewReader(open(runFile)))
	if err != nil {
		t.Fatal(err)
	}
	page, err := r.page()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{pageFile: page, plotFile: r.plot()} {
		if !bytes.Equal(open(name), want) {
			t.Errorf("%s is out of date; render it with: go run ./internal/bench/cmd/speed -render", name)
		}
	}
	for _, row := range theRows {
		if n := r.ratio(row.bench+"/flyext", row.bench+"/floor").rounds; n < fewest {
			t.Errorf("%s has %d rounds, want at least %d", row.bench, n, fewest)
		}
	}
	if panels := r.panels(); len(panels) != len(thePanels) {
		t.Errorf("got %d panels, want %d", len(panels), len(thePanels))
	}
}

// sample is a short run with known figures: flyext takes 2, 2.5 and 3 times as long
// as the floor of the same round, while the machine becomes ten times slower.
const sample = `date: 2026-11-24
go: go1.26.8
goos: linux
goarch: amd64
cores: 2
pkg: github.com/flyext/flyext/internal/bench
cpu: A Processor
round: 1
BenchmarkRFC9421/floor-2   100  1000 ns/op  0 B/op  0 allocs/op
BenchmarkRFC9421/flyext-2  100  2000 ns/op  900 B/op  23 allocs/op
BenchmarkRFC9421/slow-peer-2  100  9000 ns/op  9000 B/op  160 allocs/op
BenchmarkReplay/flyext-2  1  30.5 fill-B/live  390 fill-ns/entry  1700000 fill-worst-ns
BenchmarkReplayFull/flyext-2  1  0 at-once-admitted-%  0 full-admitted-%
BenchmarkGrowBody/n=400/sha256-2  100  300 ns/op
BenchmarkGrowBody/n=1048576/sha256-2  100  700000 ns/op
BenchmarkGrowNonces/n=1000/store-2  100  70.5 ns/op  64.25 B/live
round: 2
BenchmarkRFC9421/floor-2   100  2000 ns/op  0 B/op  0 allocs/op
BenchmarkRFC9421/flyext-2  100  6000 ns/op  900 B/op  23 allocs/op
BenchmarkReplay/flyext-2  1  31.5 fill-B/live  410 fill-ns/entry  90000 fill-worst-ns
round: 3
BenchmarkRFC9421/floor-2   100  10000 ns/op  0 B/op  0 allocs/op
BenchmarkRFC9421/flyext-2  100  25000 ns/op  900 B/op  23 allocs/op
BenchmarkReplay/flyext-2  1  31.5 fill-B/live  430 fill-ns/entry  1900000 fill-worst-ns
`

func mustRead(t *testing.T, text string) *run {
	t.Helper()
	r, err := read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReadPairsRounds(t *testing.T) {
	t.Parallel()
	r := mustRead(t, sample)
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"ratio within a round", r.ratio("RFC9421/flyext", "RFC9421/floor").Center, 2.5},
		{"ratio of a peer, one round", r.ratio("RFC9421/slow-peer", "RFC9421/floor").Center, 9},
		{"time", r.value("RFC9421/floor", "ns/op").Center, 2000},
		{"allocations", r.value("RFC9421/flyext", "allocs/op").Center, 23},
		{"heap", r.value("Replay/flyext", "fill-B/live").of("fill-B/live"), 31.5},
		{"worst entry, best round", r.value("Replay/flyext", "fill-worst-ns").of("fill-worst-ns"), 90000},
		{"unknown benchmark", float64(r.value("Handler/flyext", "ns/op").rounds), 0},
		{"cores", float64(len(r.config["cores"])), 1},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestMissedTargets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		replace, new string
		want         []string
	}{
		{"unchanged", "", "", []string{"allocations", "time per entry"}},
		{"fewer allocations", "23 allocs", "22 allocs", []string{"time per entry"}},
		{"slower", "flyext-2  100  2", "flyext-2  100  6", []string{"6 times the floor"}},
		{"more heap", "31.5 fill-B", "32.5 fill-B", []string{"heap per live nonce"}},
		{"an accepted replay", "0 full-admitted", "0.1 full-admitted", []string{"full-admitted"}},
		{"worst entry", "90000 fill-worst", "1200000 fill-worst", []string{"worst entry"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			missed := strings.Join(mustRead(t, strings.ReplaceAll(sample, c.replace, c.new)).misses(), "\n")
			for _, want := range c.want {
				if !strings.Contains(missed, want) {
					t.Errorf("got missed targets\n%s\nwant %q among them", missed, want)
				}
			}
		})
	}
	met := strings.NewReplacer("23 allocs", "22 allocs", "410 fill-ns", "399 fill-ns").Replace(sample)
	if missed := mustRead(t, met).misses(); missed != nil {
		t.Errorf("got missed targets %v, want none", missed)
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":         "date: 2026-11-24\n",
		"no round":        "BenchmarkRFC9421/floor-2 100 1000 ns/op\n",
		"not a benchmark": "round: 1\nBenchmarkRFC9421/floor-2 100 many ns/op\n",
	} {
		if _, err := read(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	got := table(mustRead(t, sample).rows())
	want := "| RFC 9421: verify five components and a body digest | " + verifierFloor +
		" | 2 µs | 6 µs | **2.50×** | ≤ 5.5× | 23 | ≤ 22 | slow-peer 9.0× (160) |\n"
	if !strings.HasSuffix(got, want) || strings.Count(got, "\n") != 3 {
		t.Errorf("got\n%s\nwant it to end with\n%s", got, want)
	}
	if stores := storeTable(mustRead(t, sample)); !strings.Contains(stores, "| flyext | 32 B | — | 410 ns |") {
		t.Errorf("got\n%s", stores)
	}
	if growth := growthTables(mustRead(t, sample)); !strings.Contains(growth, "| 1 MiB | — | — | — | 700 µs |") ||
		!strings.Contains(growth, "| 1,000 | 70.5 ns | 64 B |") {
		t.Errorf("got\n%s", growth)
	}
}

func TestPlotIsXML(t *testing.T) {
	t.Parallel()
	plot := mustRead(t, sample).plot()
	for d := xml.NewDecoder(bytes.NewReader(plot)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"prefers-color-scheme: dark", ">1 MiB<", ">body length<", ">time per entry<", ">only SHA-256<"} {
		if !strings.Contains(string(plot), want) {
			t.Errorf("the plot lacks %q", want)
		}
	}
	for _, bad := range []string{"NaN", "Inf"} {
		if strings.Contains(string(plot), bad) {
			t.Errorf("the plot contains %s", bad)
		}
	}
}

func TestHeaderNamesNoMachine(t *testing.T) {
	t.Parallel()
	text := header(time.Unix(1_685_641_159, 0))
	if host, err := os.Hostname(); err == nil && len(host) > 3 && strings.Contains(text, host) {
		t.Error("the header contains the host name")
	}
	for line := range strings.Lines(text) {
		key, _, ok := strings.Cut(line, ": ")
		if !ok || key != "pkg" && !strings.Contains(strings.Join(configKeys, " "), key) {
			t.Errorf("unknown line %q", line)
		}
	}
}

func TestPlanHasEveryStoreAndRow(t *testing.T) {
	t.Parallel()
	for _, o := range []options{{record: true}, {record: true, short: true}} {
		text := ""
		for _, p := range o.plan() {
			text += p.bench + "\n"
		}
		for _, name := range stores {
			if !strings.Contains(text, "/^"+name+"$") {
				t.Errorf("%+v does not measure %s", o, name)
			}
		}
		for _, row := range theRows {
			if !strings.Contains(text, row.bench) {
				t.Errorf("%+v does not measure %s", o, row.bench)
			}
		}
		for _, p := range thePanels {
			if !strings.Contains(text, strings.TrimPrefix(p.bench, "Grow")) {
				t.Errorf("%+v does not measure %s", o, p.bench)
			}
		}
	}
}
