package replay

import (
	"sync"
	"time"
)

// A Recent is the set of the keys that were added lately: for at least a period,
// unless as many newer ones as its capacity came in between. It is safe for
// concurrent use.
type Recent struct {
	capacity int
	period   time.Duration

	mu       sync.Mutex
	newer    map[Key]struct{}
	older    map[Key]struct{} // those of the period before
	turnedAt time.Time
}

// NewRecent returns an empty set.
func NewRecent(capacity int, period time.Duration) *Recent {
	return &Recent{capacity: capacity, period: period, newer: make(map[Key]struct{})}
}

// Add adds a key and reports whether it was not there before.
func (r *Recent) Add(key Key, now time.Time) (fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.has(key) {
		return false
	}
	if len(r.newer) >= r.capacity || now.Sub(r.turnedAt) > r.period {
		r.older, r.newer, r.turnedAt = r.newer, make(map[Key]struct{}), now
	}
	r.newer[key] = struct{}{}
	return true
}

// Has reports whether a key is there.
func (r *Recent) Has(key Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.has(key)
}

func (r *Recent) has(key Key) bool {
	_, newer := r.newer[key]
	_, older := r.older[key]
	return newer || older
}
