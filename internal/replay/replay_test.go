package replay

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func numbered(n int) (k Key) {
	binary.BigEndian.PutUint64(k[8:], uint64(n))
	return k
}

// A clock stands where a test puts it.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) set(after time.Duration) { c.at.Store(int64(after)) }

func (c *clock) in(d time.Duration) time.Time { return c.now().Add(d) }

func wantEnter(t *testing.T, c *Cache, n int, expires time.Time, wantFresh bool, wantErr error) {
	t.Helper()
	if fresh, err := c.Enter(numbered(n), expires); fresh != wantFresh || !errors.Is(err, wantErr) {
		t.Fatalf("key %d: got %v, %v, want %v, %v", n, fresh, err, wantFresh, wantErr)
	}
}

// Keys by the thousand cross the blocks of the queue, and each is remembered
// until it expires and not after.
func TestBlocks(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 1023, 1024, 1025, 2048, 2049, 5000} {
		var at clock
		c := New(n, at.now)
		for round := range 3 {
			for i := range n {
				wantEnter(t, c, i, at.in(time.Minute), true, nil)
			}
			for i := range n {
				wantEnter(t, c, i, at.in(time.Minute), false, nil)
			}
			wantEnter(t, c, n, at.in(time.Minute), false, ErrFull)
			if c.Len() != n {
				t.Fatalf("%d keys: %d are held", n, c.Len())
			}
			at.set(time.Duration(round+1) * 2 * time.Minute)
		}
	}
}

// A look does not use a key up, and forgets one that has expired as entering it
// would.
func TestHas(t *testing.T) {
	t.Parallel()
	var at clock
	c := New(2, at.now)
	if c.Has(numbered(1)) || c.Len() != 0 {
		t.Error("a key that nobody entered is there")
	}
	wantEnter(t, c, 1, at.in(time.Minute), true, nil)
	for _, after := range []time.Duration{0, time.Minute} {
		at.set(after)
		if !c.Has(numbered(1)) {
			t.Errorf("forgotten after %v", after)
		}
	}
	at.set(time.Minute + 1)
	if c.Has(numbered(1)) || c.Len() != 0 {
		t.Error("a key that has expired is there")
	}
	wantEnter(t, c, 1, at.in(time.Minute), true, nil)
}

// One who enters keys steadily holds those of one lifetime, however long it
// goes on.
func TestSteadyLoadIsBounded(t *testing.T) {
	t.Parallel()
	const perLifetime = 3000
	var at clock
	c := New(2*perLifetime, at.now)
	for i := range 20 * perLifetime {
		at.set(time.Duration(i) * time.Minute / perLifetime)
		wantEnter(t, c, i, at.in(time.Minute), true, nil)
		if c.Len() > perLifetime+2 {
			t.Fatalf("%d keys are held after %d", c.Len(), i)
		}
		if i >= perLifetime/2 && i%1000 == 0 { // a hit clears too
			wantEnter(t, c, i-perLifetime/2, at.in(time.Minute), false, nil)
		}
	}
}

// A key that expires early waits for those before it, and is fresh again once
// they are gone.
func TestOrderOfExpiry(t *testing.T) {
	t.Parallel()
	var at clock
	c := New(10, at.now)
	wantEnter(t, c, 1, at.in(time.Hour), true, nil)
	wantEnter(t, c, 2, at.in(time.Minute), true, nil)
	at.set(2 * time.Minute)
	wantEnter(t, c, 2, at.in(time.Minute), false, nil) // refused though its time is over: the safe side
	wantEnter(t, c, 1, at.in(time.Minute), false, nil)
	at.set(time.Hour + 1)
	wantEnter(t, c, 2, at.in(time.Minute), true, nil)
}

func TestClockJumps(t *testing.T) {
	t.Parallel()
	var at clock
	at.set(24 * time.Hour)
	c := New(10, at.now)
	wantEnter(t, c, 1, at.in(time.Minute), true, nil)
	for _, to := range []time.Duration{0, 23 * time.Hour, 24*time.Hour - 1, 24*time.Hour + time.Minute} {
		at.set(to)
		wantEnter(t, c, 1, at.in(time.Minute), false, nil)
	}
	at.set(24*time.Hour + time.Minute + 1)
	wantEnter(t, c, 1, at.in(time.Minute), true, nil)
}

// With a clock that has a monotonic reading, as time.Now has, the lifetime is
// counted on that one.
func TestMonotonicClock(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := start
	c := New(10, func() time.Time { return at })
	expires := start.Round(0).Add(time.Minute) // of the wall clock, as a timestamp is
	wantEnter(t, c, 1, expires, true, nil)
	at = start.Add(59 * time.Second)
	wantEnter(t, c, 1, expires, false, nil)
	at = start.Add(61 * time.Second)
	wantEnter(t, c, 1, at.Add(time.Minute), true, nil)
}

func TestOneOfManyEnters(t *testing.T) {
	t.Parallel()
	var at clock
	c := New(1000, at.now)
	for n := range 50 {
		var fresh atomic.Int32
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if ok, err := c.Enter(numbered(n), at.in(time.Minute)); ok && err == nil {
					fresh.Add(1)
				}
			})
		}
		wg.Wait()
		if fresh.Load() != 1 {
			t.Fatalf("key %d was fresh %d times", n, fresh.Load())
		}
	}
}

// BenchmarkEnter enters into a cache that holds a million live keys, and
// reports the memory that each of them takes.
func BenchmarkEnter(b *testing.B) {
	const live = 1_000_000
	var at clock
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := New(2*live, at.now)
	tick := time.Minute / live
	n := 0
	enter := func() {
		n++
		at.set(time.Duration(n) * tick)
		if fresh, err := c.Enter(numbered(n), at.in(time.Minute)); !fresh || err != nil {
			b.Fatal(fresh, err)
		}
	}
	for range 2 * live {
		enter()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	perKey := float64(after.HeapAlloc-before.HeapAlloc) / float64(c.Len())
	for b.Loop() {
		enter()
	}
	b.ReportMetric(perKey, "bytes/key")
	b.ReportMetric(float64(c.Len()), "live-keys")
}
