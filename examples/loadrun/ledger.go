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

// A violation is a behavior that no fault and no attack may cause.
type violation string

const (
	lost     violation = "lost"     // an acknowledged request was not applied
	twice    violation = "twice"    // a request was applied more than once
	admitted violation = "admitted" // a hostile request was accepted
	refused  violation = "refused"  // a genuine request was refused
	held     violation = "held"     // a slow sender was not disconnected
	leaked   violation = "leaked"   // memory or goroutines were not released
	told     violation = "told"     // a secret is in the log
	crashed  violation = "crashed"  // the provider panicked or exited
)

// A ledger records the requests and their responses, as Fly.io sees them. After the
// run it is compared with the provider's database.
type ledger struct {
	mu         sync.Mutex
	entries    map[string]*entry
	outcomes   map[string]map[string]int  // by kind of request
	latencies  map[string][]time.Duration // of genuine requests that were acknowledged
	violations map[violation][]string

	counting         bool
	genuine, hostile int // requests that arrived while counting
}

// An entry is one extension.
type entry struct {
	secret string              // from the first response
	names  map[string]struct{} // that it may have now: one if every request was acknowledged
	loose  bool                // an earlier request may still be applied
	acked  int                 // requests that were acknowledged
	unsure int                 // requests that may have been applied, without a response
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
	text := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ") // without the line breaks of a response
	l.violations[v] = append(l.violations[v], text)
}

// count counts the result of a request.
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

// recount restarts the counting. The entries stay.
func (l *ledger) recount() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.outcomes)
	clear(l.latencies)
	l.counting = true
}

// stop ends the counting of requests that arrive.
func (l *ledger) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counting = false
}

// arrived returns the number of requests that arrived.
func (l *ledger) arrived() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.genuine + l.hostile
}

// hostileShare returns the percentage of arrived requests that were hostile.
func (l *ledger) hostileShare() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 100 * float64(l.hostile) / float64(max(l.genuine+l.hostile, 1))
}

// A result is what the sender of a genuine request knows about it.
type result int

const (
	answered result = iota // applied
	unsent                 // never arrived
	rejected               // refused, which is a violation
	unknown                // applied or not
	late                   // applied or not, or still to be applied
)

// Outcomes without an HTTP status.
const (
	outcomeOK       = "answered"
	outcomeDown     = "no connection"
	outcomeCut      = "cut off"
	outcomeLate     = "no answer"
	outcomeUnusable = "unusable"
	outcomeForgot   = "memory forgot it"
	outcomeAdmitted = "ADMITTED"
)

// errDown is the error of dialling a machine that is being restarted.
var errDown = errors.New("the machine is down")

// resultOf returns the result of a genuine request. If net/http resent it over a
// new connection, the provider may have refused it as a replay.
func resultOf(err error, resent bool) (result, string) {
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

// entryOf returns the entry of an id and creates it if necessary.
func (l *ledger) entryOf(id string) *entry {
	e := l.entries[id]
	if e == nil {
		e = &entry{names: map[string]struct{}{}}
		l.entries[id] = e
	}
	return e
}

// mayBe adds a possible name. It ignores "".
func (e *entry) mayBe(name string) {
	if name != "" {
		e.names[name] = struct{}{}
	}
}

// change records a request that changes an extension, its result, and the name and
// secret that it sets. "" means unchanged.
func (l *ledger) change(kind, id, name, secret string, f result, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entryOf(id)
	switch f {
	case answered:
		e.acked++
		// Earlier requests have ended, because the provider handles the requests of
		// an extension one at a time. A request that timed out may still be running.
		if !e.loose && name != "" {
			clear(e.names)
		}
		e.mayBe(name)
		switch {
		case secret == "":
		case e.secret == "":
			e.secret = secret
		case e.secret != secret:
			l.violateLocked(lost, "%s %s: the secrets differ from the first response", kind, id)
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

// read records the name of an extension in a response.
func (l *ledger) read(kind, id, name string, f result, err error) {
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

// took records a latency.
func (l *ledger) took(kind string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latencies[kind] = append(l.latencies[kind], d)
}

// A row is the provider's record of an extension.
type row struct {
	exists  bool // false if it has changes but was deleted
	name    string
	changes int // number of changes applied
}

// settle compares the ledger with the provider's database.
func (l *ledger) settle(rows map[string]row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.entries {
		r := rows[id]
		switch {
		case e.acked > 0 && !r.exists:
			l.violateLocked(lost, "%s was acknowledged %d times but does not exist", id, e.acked)
			continue
		case r.changes < e.acked:
			l.violateLocked(lost, "%s: %d changes were acknowledged but %d were applied", id, e.acked, r.changes)
		case r.changes > e.acked+e.unsure:
			l.violateLocked(twice, "%s: %d changes were sent and %d acknowledged but %d were applied", id, e.acked+e.unsure, e.acked, r.changes)
		}
		if _, ok := e.names[r.name]; r.exists && !ok {
			l.violateLocked(lost, "%s is called %q, want %q", id, r.name, slices.Collect(maps.Keys(e.names)))
		}
	}
	for id := range rows {
		if l.entries[id] == nil {
			l.violateLocked(admitted, "%s was never requested but exists", id)
		}
	}
}

// secrets returns the secrets of all extensions, by id.
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

// percentile returns percentile p of sorted latencies, which must not be empty.
func percentile(latencies []time.Duration, p float64) time.Duration {
	return latencies[min(int(p/100*float64(len(latencies))), len(latencies)-1)]
}
