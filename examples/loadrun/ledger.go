package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flyext/flyext"
)

// A violation is what no provider may do, whoever attacks or fails.
type violation string

const (
	lost     violation = "lost"     // what was answered as done is not there
	twice    violation = "twice"    // a request was applied more than once
	admitted violation = "admitted" // a hostile request was
	refused  violation = "refused"  // a genuine request was, as if it were not
	held     violation = "held"     // a slow sender keeps its connection
	leaked   violation = "leaked"   // memory or goroutines stay
	told     violation = "told"     // a secret is in the log
	crashed  violation = "crashed"  // it panicked, or ended by itself
)

// A ledger has what the provider was asked for and what it answered: it is
// Fly.io's side of the books, which is held against the provider's in the end.
type ledger struct {
	mu         sync.Mutex
	entries    map[string]*entry
	outcomes   map[string]map[string]int  // by kind of request
	latencies  map[string][]time.Duration // of genuine requests that were answered
	violations map[violation][]string

	counting         bool
	genuine, hostile int // requests that arrived while it counts
}

// An entry is one extension.
type entry struct {
	secret string              // of the first answer
	names  map[string]struct{} // that it may have by now: one, if all was answered
	loose  bool                // whatever was sent may still be applied
	acked  int                 // requests that were answered as applied
	unsure int                 // requests that may have been applied: nobody answered
}

func newLedger() *ledger {
	return &ledger{
		entries: map[string]*entry{}, outcomes: map[string]map[string]int{},
		latencies: map[string][]time.Duration{}, violations: map[violation][]string{},
	}
}

func (l *ledger) violate(v violation, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violateLocked(v, format, args...)
}

func (l *ledger) violateLocked(v violation, format string, args ...any) {
	text := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ") // on one line, whatever was answered
	l.violations[v] = append(l.violations[v], text)
}

// count counts how a request ended.
func (l *ledger) count(kind, outcome string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.outcomes[kind] == nil {
		l.outcomes[kind] = map[string]int{}
	}
	l.outcomes[kind][outcome]++
	switch {
	case outcome == outcomeDown || !l.counting:
	case slices.Contains(hostileKinds, kind):
		l.hostile++
	default:
		l.genuine++
	}
}

// recount counts from now on. What was asked for and answered stays.
func (l *ledger) recount() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.outcomes)
	clear(l.latencies)
	l.counting = true
}

// stop ends the counting of what arrives.
func (l *ledger) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counting = false
}

// arrived is how many requests did.
func (l *ledger) arrived() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.genuine + l.hostile
}

// hostileShare is how many of a hundred requests that arrived were hostile.
func (l *ledger) hostileShare() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 100 * float64(l.hostile) / float64(max(l.genuine+l.hostile, 1))
}

// A fate is what the sender of a genuine request knows of it.
type fate int

const (
	answered fate = iota // it was applied, for good
	unsent               // it never arrived
	rejected             // it was refused as no genuine one may be
	unknown              // it was applied or not, by now
	late                 // or will be
)

// Outcomes of requests that had no status.
const (
	outcomeOK       = "answered"
	outcomeDown     = "no connection"
	outcomeCut      = "cut off"
	outcomeLate     = "no answer"
	outcomeUnusable = "unusable"
	outcomeForgot   = "memory forgot it"
	outcomeAdmitted = "ADMITTED"
)

// errDown is what dialling a machine fails with that is being restarted.
var errDown = errors.New("the machine is down")

// fateOf says what became of a genuine request. One that net/http sent again by
// itself, over a new connection, may be refused: that is a replay.
func fateOf(err error, resent bool) (fate, string) {
	if err == nil {
		return answered, outcomeOK
	}
	if e, ok := errors.AsType[*flyext.Error](err); ok {
		switch {
		case e.Status == http.StatusUnauthorized && resent:
			return unknown, outcomeCut
		case e.Status == http.StatusGatewayTimeout:
			return late, fmt.Sprint(e.Status)
		case e.Status >= 500:
			return unknown, fmt.Sprint(e.Status)
		}
		return rejected, fmt.Sprint(e.Status)
	}
	if operation, ok := errors.AsType[*net.OpError](err); errors.Is(err, errDown) || ok && operation.Op == "dial" {
		return unsent, outcomeDown
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return late, outcomeLate
	}
	if _, ok := errors.AsType[*url.Error](err); ok || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, new(*net.OpError)) {
		return unknown, outcomeCut
	}
	return rejected, outcomeUnusable
}

// entryOf returns the entry of an id, which it makes if there is none.
func (l *ledger) entryOf(id string) *entry {
	e := l.entries[id]
	if e == nil {
		e = &entry{names: map[string]struct{}{}}
		l.entries[id] = e
	}
	return e
}

// mayBe adds a name; "" is none.
func (e *entry) mayBe(name string) {
	if name != "" {
		e.names[name] = struct{}{}
	}
}

// change enters a request that changes an extension, how it ended, and the name
// and secret that it gives. "" stands for what it does not give.
func (l *ledger) change(kind, id, name, secret string, f fate, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entryOf(id)
	switch f {
	case answered:
		e.acked++
		// What came before is over by now: the provider works one after the other.
		// What was answered with "too late" may not be.
		if !e.loose && name != "" {
			clear(e.names)
		}
		e.mayBe(name)
		switch {
		case secret == "":
		case e.secret == "":
			e.secret = secret
		case e.secret != secret:
			l.violateLocked(lost, "%s %s: other secrets than the first time", kind, id)
		}
	case late:
		e.unsure++
		e.loose = true
		e.mayBe(name)
	case unknown:
		e.unsure++
		e.mayBe(name)
	case rejected:
		l.violateLocked(refused, "%s %s: %v", kind, id, err)
	case unsent:
	}
}

// read enters what the provider says that an extension's name is.
func (l *ledger) read(kind, id, name string, f fate, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch f {
	case answered:
		if _, ok := l.entryOf(id).names[name]; !ok {
			l.violateLocked(lost, "%s %s: its name is %q, want %q", kind, id, name, slices.Collect(maps.Keys(l.entryOf(id).names)))
		}
	case rejected:
		l.violateLocked(refused, "%s %s: %v", kind, id, err)
	}
}

// took enters how long an answer took.
func (l *ledger) took(kind string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latencies[kind] = append(l.latencies[kind], d)
}

// A row is what the provider has of an extension.
type row struct {
	exists  bool // or else it only was changed
	name    string
	changes int // that were applied
}

// settle holds the provider's books against the ledger.
func (l *ledger) settle(rows map[string]row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.entries {
		r := rows[id]
		switch {
		case e.acked > 0 && !r.exists:
			l.violateLocked(lost, "%s was answered %d times, and is not there", id, e.acked)
			continue
		case r.changes < e.acked:
			l.violateLocked(lost, "%s: %d changes were answered, %d are there", id, e.acked, r.changes)
		case r.changes > e.acked+e.unsure:
			l.violateLocked(twice, "%s: %d changes were sent, %d of them answered; %d were applied", id, e.acked+e.unsure, e.acked, r.changes)
		}
		if _, ok := e.names[r.name]; r.exists && !ok {
			l.violateLocked(lost, "%s is called %q, want %q", id, r.name, slices.Collect(maps.Keys(e.names)))
		}
	}
	for id := range rows {
		if l.entries[id] == nil {
			l.violateLocked(admitted, "%s was never asked for, and is there", id)
		}
	}
}

// secrets returns the secrets that were answered, by id.
func (l *ledger) secrets() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[string]string{}
	for id, e := range l.entries {
		if e.secret != "" {
			all[id] = e.secret
		}
	}
	return all
}

// percentile returns the latency that p of a hundred answers did not exceed, of
// at least one, sorted.
func percentile(latencies []time.Duration, p float64) time.Duration {
	return latencies[min(int(p/100*float64(len(latencies))), len(latencies)-1)]
}
