package replay

import (
	"sync"
	"time"
)

// A Recent is a set of recently added keys. A key stays for at least a period, or
// until capacity newer keys have been added. It is gone after three periods at the
// latest. A Recent is safe for concurrent use.
type Recent struct {
	capacity int
	period   time.Duration

	mu       sync.Mutex
	newer    map[Key]struct{}
	older    map[Key]struct{} // keys of the previous period
	turnedAt time.Time
}

// NewRecent returns an empty set.
func NewRecent(capacity int, period time.Duration) *Recent {
	return &Recent{capacity: capacity, period: period, newer: make(map[Key]struct{})}
}

// Add adds a key and reports whether it is new.
func (r *Recent) Add(key Key, now time.Time) (fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.has(key, now) {
		return false
	}
	if len(r.newer) >= r.capacity {
		r.turn(now)
	}
	r.newer[key] = struct{}{}
	return true
}

// Has reports whether the set contains a key.
func (r *Recent) Has(key Key, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.has(key, now)
}

// turn begins a period.
func (r *Recent) turn(now time.Time) {
	r.older, r.newer, r.turnedAt = r.newer, make(map[Key]struct{}), now
}

func (r *Recent) has(key Key, now time.Time) bool {
	if quiet := now.Sub(r.turnedAt); quiet > r.period {
		r.turn(now)
		if quiet > 2*r.period {
			r.older = nil
		}
	}
	_, newer := r.newer[key]
	_, older := r.older[key]
	return newer || older
}
