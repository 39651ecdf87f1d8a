// Package replay remembers, in memory and for a while, which keys were used.
package replay

import (
	"errors"
	"math"
	"sync"
	"time"
)

// Key identifies what may be used once.
type Key = [16]byte

var (
	// ErrFull reports that the store is full of live keys, which it never drops.
	ErrFull = errors.New("replay store is full")
	// ErrExpired reports that the store could have forgotten a copy of the key.
	ErrExpired = errors.New("the store's clock is past the nonce's expiry")
)

const width = 10 // seconds of a bucket

// A Calendar is a set of keys for each ten seconds of expiry. A copy of a key has
// the expiry of the original and falls into the same bucket, so one bucket is
// looked at. Buckets that are over are dropped whole. The last one that was dropped
// is the horizon: no bucket up to it takes a key again, so no step of a clock brings
// a used key back. A Calendar is safe for concurrent use.
type Calendar struct {
	capacity int

	mu      sync.Mutex
	buckets map[int64]map[Key]struct{}
	live    int   // keys in all buckets
	horizon int64 // the last bucket that was dropped
	over    int64 // the last bucket that was looked at for that
}

// NewCalendar returns a calendar for at most capacity live keys.
func NewCalendar(capacity int) *Calendar {
	return &Calendar{capacity: capacity, buckets: make(map[int64]map[Key]struct{}), horizon: math.MinInt64, over: math.MinInt64}
}

// Use adds a key until it expires, and reports whether it was not there before.
func (c *Calendar) Use(key Key, expires, now time.Time) (fresh bool, err error) {
	number := expires.Unix() / width
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(now.Unix()/width - 1)
	if _, used := c.buckets[number][key]; used {
		return false, nil
	}
	if number <= c.horizon || !expires.After(now) {
		return false, ErrExpired
	}
	if c.live >= c.capacity {
		return false, ErrFull
	}
	if c.buckets[number] == nil {
		c.buckets[number] = make(map[Key]struct{})
	}
	c.buckets[number][key] = struct{}{}
	c.live++
	return true, nil
}

// drop forgets the buckets up to the last one that is over.
func (c *Calendar) drop(over int64) {
	if over == c.over {
		return
	}
	c.over = over
	for number, bucket := range c.buckets {
		if number <= over {
			c.live -= len(bucket)
			c.horizon = max(c.horizon, number)
			delete(c.buckets, number)
		}
	}
}
