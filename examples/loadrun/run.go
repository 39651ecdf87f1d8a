package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// A fault breaks something. The function do returns when it works again.
type fault struct {
	what string
	do   func()
}

// After the run, memory and goroutines may exceed their values after the first
// requests by these margins, which allow for connections to the database and the
// like.
const (
	goroutineMargin = 16
	heapMargin      = 8 << 20
	rssMargin       = 24 << 20

	// nonceBytes is the additional margin for each nonce in a memory store, which
	// keeps it for six minutes.
	nonceBytes = 160
)

// faultsUntil is the part of the duration in which faults happen. After that the
// machines run undisturbed, so that a leak becomes visible.
const faultsUntil = 0.7

// A report is the result of a run.
type report struct {
	Machine     string                    `json:"machine"`
	Stores      string                    `json:"stores"`
	Seconds     float64                   `json:"seconds"`
	Connections int                       `json:"connections"`
	Outcomes    map[string]map[string]int `json:"outcomes"` // by kind of request
	Latencies   map[string]latencies      `json:"latencies"`
	Faults      map[string]int            `json:"faults"`
	Before      []vitals                  `json:"before"` // of each machine
	After       []vitals                  `json:"after"`
	Requests    int                       `json:"requests"`       // that arrived before verification
	Hostile     int                       `json:"hostile"`        // of these
	PeakRSS     int64                     `json:"peak_rss_bytes"` // sum of all machines
	Extensions  int                       `json:"extensions"`
	Changes     int                       `json:"changes"`
	Violations  map[violation][]string    `json:"violations"`
}

// latencies are those of requests that were answered.
type latencies struct {
	Median time.Duration `json:"p50_ns"`
	P99    time.Duration `json:"p99_ns"`
	P999   time.Duration `json:"p99_9_ns"`
	Max    time.Duration `json:"max_ns"`
}

// run executes a plan, causes faults during it, and checks the result. Faults run
// on the calling goroutine. finish makes additional checks at the end; it may be
// nil.
func run(ctx context.Context, p plan, on provider, faults []fault, finish func(*ledger) error) (*report, error) {
	l := &load{plan: p, provider: on, ledger: newLedger()}
	r := &report{
		Machine:     fmt.Sprintf("%s/%s, %d processors, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
		Connections: p.connections, Faults: map[string]int{},
	}
	all := newWorkers(l)
	all.each(func(w *worker) { w.warmUp(ctx) })
	l.recount()
	var err error
	if r.Before, err = l.vitals(ctx); err != nil {
		return nil, err
	}

	l.execute(ctx, all, faults, r)
	all.each(func(w *worker) { w.verify(ctx) })
	if r.After, err = l.settled(ctx, r.Before); err != nil {
		return nil, err
	}
	rows, err := on.rows(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the database: %w", err)
	}
	l.settle(rows)
	if finish != nil {
		if err := finish(l.ledger); err != nil {
			return nil, err
		}
	}
	r.summarize(l, rows)
	return r, nil
}

// execute applies the load for the duration of the plan. It measures the time and
// the peak of memory, and counts the faults.
func (l *load) execute(ctx context.Context, all workers, faults []fault, r *report) {
	start := time.Now()
	l.end = start.Add(l.duration)
	var watching sync.WaitGroup
	watching.Go(func() { r.PeakRSS = l.watch() })
	working := make(chan struct{})
	go func() {
		defer close(working)
		all.each(func(w *worker) { w.run(ctx) })
	}()
	for i := range maxSlow / 2 {
		all[i%len(all)].sendSlowly(ctx)
	}
	l.cause(faults, start, r.Faults)
	time.Sleep(time.Until(l.end))
	for l.arrived() < l.requests {
		time.Sleep(10 * time.Millisecond)
	}
	l.stop()
	l.over.Store(true)
	<-working
	l.slow.Wait()
	watching.Wait()
	r.Seconds = time.Since(start).Seconds()
	l.over.Store(false)
}

// cause causes the faults in turn, and counts them. Each fault happens at least
// once, even if that takes longer.
func (l *load) cause(faults []fault, start time.Time, count map[string]int) {
	every := l.duration / 20
	until := start.Add(time.Duration(float64(l.duration) * faultsUntil))
	for i := 0; i < len(faults) || len(faults) > 0 && time.Now().Add(every).Before(until); i++ {
		time.Sleep(every)
		f := faults[i%len(faults)]
		f.do()
		count[f.what]++
	}
}

// summarize adds the results from the ledger and the provider's database.
func (r *report) summarize(l *load, rows map[string]row) {
	r.Extensions = len(rows)
	for _, row := range rows {
		r.Changes += row.changes
	}
	r.Outcomes, r.Violations = l.outcomes, l.violations
	r.Requests, r.Hostile = l.genuine+l.hostile, l.hostile
	r.Latencies = map[string]latencies{}
	for kind, all := range l.ledger.latencies {
		slices.Sort(all)
		r.Latencies[kind] = latencies{percentile(all, 50), percentile(all, 99), percentile(all, 99.9), all[len(all)-1]}
	}
}

// workers are those of a load, one for each connection.
type workers []*worker

func newWorkers(l *load) workers {
	all := make(workers, l.connections)
	for i := range all {
		all[i] = newWorker(l, i)
	}
	return all
}

// each calls do for all workers concurrently, and returns when all calls have returned.
func (all workers) each(do func(w *worker)) {
	var calls sync.WaitGroup
	for _, w := range all {
		calls.Go(func() { do(w) })
	}
	calls.Wait()
}

// warmUp uses each part of the provider once, so that its caches and connections
// count in the first measurement.
func (w *worker) warmUp(ctx context.Context) {
	defer w.client.CloseIdleConnections()
	w.provision(ctx)
	for _, id := range w.own {
		w.update(ctx, id)
		w.fetch(ctx, id)
		if w.oauthURL != "" {
			w.signIn(ctx, id)
		}
	}
}

// watch returns the peak of the machines' total memory.
func (l *load) watch() (peak int64) {
	for !l.over.Load() {
		var sum int64
		for _, m := range l.machines {
			sum += m.rss()
		}
		peak = max(peak, sum)
		time.Sleep(100 * time.Millisecond)
	}
	return peak
}

func (l *load) vitals(ctx context.Context) (all []vitals, err error) {
	for i, m := range l.machines {
		v, err := m.vitals(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the vitals of machine %d: %w", i, err)
		}
		all = append(all, v)
	}
	return all, nil
}

// settled waits until memory and goroutines are back within the margins, and
// reports a violation if they do not get there.
func (l *load) settled(ctx context.Context, before []vitals) (after []vitals, err error) {
	margin := uint64(heapMargin)
	if !l.sharedReplays {
		for _, outcomes := range l.outcomes {
			margin += uint64(outcomes[outcomeOK]) * nonceBytes
		}
	}
	for deadline := time.Now().Add(l.rest); ; time.Sleep(200 * time.Millisecond) {
		if after, err = l.vitals(ctx); err != nil {
			return nil, err
		}
		var stays []string
		for i, v := range after {
			if v.Goroutines > before[i].Goroutines+goroutineMargin {
				stays = append(stays, fmt.Sprintf("machine %d has %[3]d goroutines, had %[2]d at the start", i, before[i].Goroutines, v.Goroutines))
			}
			if v.HeapBytes > before[i].HeapBytes+margin {
				stays = append(stays, fmt.Sprintf("machine %d has %[3]d bytes of heap, had %[2]d at the start", i, before[i].HeapBytes, v.HeapBytes))
			}
			if v.RSSBytes > before[i].RSSBytes+rssMargin+int64(margin-heapMargin) {
				stays = append(stays, fmt.Sprintf("machine %d has %[3]d bytes of memory, had %[2]d at the start", i, before[i].RSSBytes, v.RSSBytes))
			}
		}
		if len(stays) == 0 {
			return after, nil
		}
		if time.Now().After(deadline) {
			for _, text := range stays {
				l.violate(leaked, "%s", text)
			}
			return after, nil
		}
	}
}
