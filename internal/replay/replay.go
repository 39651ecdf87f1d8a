// Package replay remembers, in memory and for a while, which keys were used.
package replay

import (
	"errors"
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// Key identifies what may be used once.
type Key = [16]byte

// ErrFull says that the cache holds as many live keys as it may. It never
// drops a live one to make room: that would admit its replay.
var ErrFull = errors.New("replay cache is full")

// A Cache is a set of keys that forget themselves. It is safe for concurrent
// use; entering is one atomic step, and takes the same time however many keys
// there are.
type Cache struct {
	now      func() time.Time
	start    time.Time
	capacity int
	seed     maphash.Seed // so that nobody can choose keys that share a bucket

	mu   sync.Mutex
	keys queue
}

// New returns a cache for at most capacity live keys.
func New(capacity int, now func() time.Time) *Cache {
	return &Cache{now: now, start: now(), capacity: min(capacity, maxQueue), seed: maphash.MakeSeed()}
}

// perCall is how many forgotten keys one call clears away at most. Two would
// keep up with any load; more give the memory of a burst back sooner.
const perCall = 128

// Enter adds a key until expires and reports whether it was not there before.
func (c *Cache) Enter(key Key, expires time.Time) (fresh bool, err error) {
	// Lifetimes are counted on the monotonic clock (Sub uses it where both
	// times carry one), so that a jump of the wall clock forgets nothing.
	now := c.now()
	elapsed := now.Sub(c.start)
	deadline := saturatingAdd(elapsed, expires.Sub(now))
	hash := c.hash(key)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear(elapsed)
	if c.keys.has(hash, key) {
		return false, nil
	}
	if c.keys.len() >= c.capacity {
		return false, ErrFull
	}
	c.keys.push(hash, key, deadline)
	return true, nil
}

// Has reports whether a key is there. It never says no to a live key; to one
// that has expired it may still say yes, as long as it was not cleared away.
func (c *Cache) Has(key Key) bool {
	elapsed := c.now().Sub(c.start)
	hash := c.hash(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear(elapsed)
	return c.keys.has(hash, key)
}

// Len returns the number of keys held, forgotten ones not yet cleared included.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys.len()
}

// clear forgets keys whose time is over. Keys leave in the order in which they
// came, so one that expires early waits for those before it: a little memory
// for a queue instead of a heap.
func (c *Cache) clear(elapsed time.Duration) {
	for range perCall {
		deadline, ok := c.keys.oldest()
		if !ok || deadline >= elapsed {
			break
		}
		c.keys.pop()
	}
	for n := 0; n < perCall && c.keys.sparse(); n++ {
		c.keys.join()
	}
}

func (c *Cache) hash(key Key) uint32 { return uint32(maphash.Bytes(c.seed, key[:])) }

// saturatingAdd stays at the ends of time instead of coming out at the other
// one: what never expires has not expired long ago.
func saturatingAdd(a, b time.Duration) time.Duration {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}
