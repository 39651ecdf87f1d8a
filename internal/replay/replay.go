// Package replay stores used keys in memory for a limited time.
package replay

import (
	"errors"
	"math"
	"sync"
	"time"
)

// Key identifies a request or event that may be used only once.
type Key = [16]byte

var (
	// ErrFull reports that the store is full of live keys, which it never drops.
	ErrFull = errors.New("replay store is full")
	// ErrExpired reports that the key has expired or that its bucket was dropped,
	// so the store cannot tell whether it was used.
	ErrExpired = errors.New("the store's clock is past the nonce's expiry")
)

const width = 10 // seconds per bucket

// A Calendar is a set of keys in buckets, one for each ten seconds of expiry.
// Duplicates of a key have the same expiry, so a lookup needs only one bucket.
// Expired buckets are dropped as a whole. The latest dropped bucket is the horizon:
// buckets up to it accept no keys, so a used key stays used when the clock is set
// back. A Calendar is safe for concurrent use.
type Calendar struct {
	capacity int
	mu       sync.Mutex // of the following fields
	buckets  map[int64]map[Key]struct{}
	live     int   // keys in all buckets
	horizon  int64 // the latest dropped bucket
	over     int64 // the argument of the last drop
}

// NewCalendar returns a calendar for up to capacity live keys.
func NewCalendar(capacity int) *Calendar {
	return &Calendar{capacity: capacity, buckets: make(map[int64]map[Key]struct{}), horizon: math.MinInt64, over: math.MinInt64}
}

// Use adds a key until it expires and reports whether it is new.
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

// drop removes the buckets up to over.
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
