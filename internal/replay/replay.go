// Package replay remembers, in memory and for a while, which keys were used.
package replay

import (
	"errors"
	"sync"
	"time"
)

// Key identifies what may be used once.
type Key = [16]byte

// ErrFull says that the cache holds as many live keys as it may. It never
// drops a live one to make room: that would admit its replay.
var ErrFull = errors.New("replay cache is full")

// A Cache is a set of keys that forget themselves. It is safe for concurrent
// use; entering is one atomic step, O(1) in the worst case.
type Cache struct {
	now      func() time.Time
	start    time.Time
	capacity int

	mu    sync.Mutex
	live  map[Key]struct{}
	queue queue // in the order of entry
}

// New returns a cache for at most capacity live keys.
func New(capacity int, now func() time.Time) *Cache {
	return &Cache{now: now, start: now(), capacity: capacity, live: make(map[Key]struct{})}
}

// perEntry is how many forgotten keys one entry clears away. Two keep up with
// any load, one behind and one ahead; a hit may clear more, to tell a replay
// from a key that has expired.
const (
	perEntry = 2
	perHit   = 64
)

// Enter adds a key until expires and reports whether it was not there before.
func (c *Cache) Enter(key Key, expires time.Time) (fresh bool, err error) {
	// Lifetimes are counted on the monotonic clock (Sub uses it where both
	// times carry one), so that a jump of the wall clock forgets nothing.
	now := c.now()
	elapsed := now.Sub(c.start)
	deadline := elapsed + expires.Sub(now)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear(elapsed, perEntry)
	if _, used := c.live[key]; used {
		c.clear(elapsed, perHit)
		if _, used := c.live[key]; used {
			return false, nil
		}
	}
	if len(c.live) >= c.capacity {
		c.clear(elapsed, perHit)
		if len(c.live) >= c.capacity {
			return false, ErrFull
		}
	}
	c.live[key] = struct{}{}
	c.queue.push(entry{key, deadline})
	return true, nil
}

// Has reports whether a key is there. It never says no to a live key; to one
// that has expired it may still say yes, as long as it was not cleared away.
func (c *Cache) Has(key Key) bool {
	elapsed := c.now().Sub(c.start)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, used := c.live[key]; used {
		c.clear(elapsed, perHit)
	}
	_, used := c.live[key]
	return used
}

// Len returns the number of keys held, forgotten ones not yet cleared included.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.live)
}

// clear forgets up to n keys whose time is over. Keys leave in the order in
// which they came, so one that expires early waits for those before it: a
// little memory for a queue instead of a heap.
func (c *Cache) clear(elapsed time.Duration, n int) {
	for ; n > 0; n-- {
		e, ok := c.queue.front()
		if !ok || e.deadline >= elapsed {
			return
		}
		delete(c.live, e.key)
		c.queue.pop()
	}
}

type entry struct {
	key      Key
	deadline time.Duration // since Cache.start
}

// A queue is a list of blocks: growing it never copies what it holds, which
// with a million keys would stop every request for milliseconds.
type queue struct {
	first, last *block
	head, tail  int // into first and last
	spare       *block
}

type block struct {
	entries [1024]entry
	next    *block
}

func (q *queue) push(e entry) {
	if q.last == nil || q.tail == len(q.last.entries) {
		b := q.spare
		q.spare = nil
		if b == nil {
			b = new(block)
		}
		if q.last == nil {
			q.first, q.head = b, 0
		} else {
			q.last.next = b
		}
		q.last, q.tail = b, 0
	}
	q.last.entries[q.tail] = e
	q.tail++
}

func (q *queue) front() (entry, bool) {
	if q.first == nil || q.first == q.last && q.head == q.tail {
		return entry{}, false
	}
	return q.first.entries[q.head], true
}

func (q *queue) pop() {
	if q.head++; q.head < len(q.first.entries) {
		return
	}
	b := q.first
	q.first, q.head = b.next, 0
	if q.first == nil {
		q.last, q.tail = nil, 0
	}
	b.next = nil
	q.spare = b
}
