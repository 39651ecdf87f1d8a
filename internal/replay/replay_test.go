package replay

import (
	"encoding/binary"
	"errors"
	"math"
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
	for _, n := range []int{1, 255, 256, 257, 512, 513, 5000} {
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
			c.keys.check(t)
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

// What expires at the end of time, or never, is remembered until then, whatever
// the clock says; and what expired at its beginning is not.
func TestEndsOfTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		entered time.Duration
		expires time.Time
		live    bool
	}{
		{"the year 9999", time.Hour, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), true},
		{"the last moment there is", time.Hour, time.Unix(1<<62, 0), true},
		{"no time at all", -time.Hour, time.Time{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			cache := New(10, func() time.Time { return at })
			at = at.Add(c.entered)
			wantEnter(t, cache, 1, c.expires, true, nil)
			for _, years := range []int{0, 1, 100} {
				at = at.AddDate(years, 0, 0)
				if got := cache.Has(numbered(1)); got != c.live {
					t.Errorf("in %d: is there: %v", at.Year(), got)
				}
			}
		})
	}
}

func TestSaturatingAdd(t *testing.T) {
	t.Parallel()
	const least, most = math.MinInt64, math.MaxInt64
	for _, c := range []struct{ a, b, want time.Duration }{
		{0, 0, 0},
		{5, 3, 8}, {5, -3, 2}, {-5, 3, -2}, {-5, -3, -8},
		{most - 2, 1, most - 1}, {most - 1, 1, most}, {most, 1, most}, {most - 1, 2, most}, {most, most, most},
		{0, most, most}, {1, most, most}, {-1, most, most - 1}, {1, most - 2, most - 1}, {most, 0, most}, {most, -1, most - 1},
		{least + 2, -1, least + 1}, {least + 1, -1, least}, {least, -1, least}, {least + 1, -2, least}, {least, least, least},
		{0, least, least}, {-1, least, least}, {1, least, least + 1}, {-1, least + 2, least + 1}, {least, 0, least}, {least, 1, least + 1},
		{least, most, -1}, {most, least, -1},
	} {
		if got := saturatingAdd(c.a, c.b); got != c.want {
			t.Errorf("%d + %d: got %d, want %d", int64(c.a), int64(c.b), int64(got), int64(c.want))
		}
	}
}

// Lifetimes are exact, after years of uptime too.
func TestLongUptime(t *testing.T) {
	t.Parallel()
	var at clock
	c := New(10, at.now)
	for n := range 100 {
		at.set(time.Duration(n) * 365 * 24 * time.Hour)
		expires := at.in(time.Minute)
		wantEnter(t, c, 1, expires, true, nil)
		at.set(time.Duration(expires.UnixNano()))
		wantEnter(t, c, 1, expires, false, nil)
		at.set(time.Duration(expires.UnixNano()) + 1)
		if c.Has(numbered(1)) {
			t.Fatalf("a key is there when it has expired, after %d years", n)
		}
	}
}

// One who knows which keys share a bucket could make each entry slow.
func TestBucketsCannotBeForetold(t *testing.T) {
	t.Parallel()
	a, b := New(1, time.Now), New(1, time.Now)
	same := 0
	for n := range 64 {
		if a.hash(numbered(n)) == b.hash(numbered(n)) {
			same++
		}
	}
	if same > 32 {
		t.Errorf("%d of 64 keys have one hash in both caches", same)
	}
}

// Keys take little memory, before and after all of them were replaced.
// It does not run beside others, whose memory would count.
func TestMemoryPerKey(t *testing.T) {
	const live = 1 << 18
	before := heap()
	l := newLoad(live, live+1)
	grown, turned := l.turnOver(t, live, before)
	const blocks = 100
	if n := testing.AllocsPerRun(1, func() {
		for range blocks * blockSize {
			l.enter(t)
		}
	}); n > blocks/10 {
		t.Errorf("%d blocks' keys in the place of others take %v allocations", blocks, n)
	}
	if grown > 65 || turned > 65 {
		t.Errorf("a key takes %.1f bytes, and %.1f after the turn-over, want 65 at most", grown, turned)
	}
	runtime.KeepAlive(l)
}

// A cache that holds few keys takes little memory, whatever its capacity, also
// after a burst of many: the calls that follow give it back.
// It does not run beside others, whose memory would count.
func TestMemoryIsGivenBack(t *testing.T) {
	const burst = 100_000
	before := heap()
	l := newLoad(burst, capacity)
	want := func(when string) {
		t.Helper()
		if took := heap() - before; took > 64<<10 {
			t.Errorf("%s it takes %.0f bytes", when, took)
		}
	}
	l.enter(t)
	want("with one key")
	for range burst - 1 {
		l.enter(t)
	}
	at := l.at.now().Add(2 * time.Hour)
	for n := range 2 * burst / perCall {
		at = at.Add(time.Minute) // a few a lifetime
		l.at.at.Store(at.UnixNano())
		wantEnter(t, l.cache, n, at.Add(time.Hour), true, nil)
	}
	if l.cache.Len() > 61 {
		t.Errorf("%d keys are held", l.cache.Len())
	}
	want("after a burst")
	l.cache.keys.check(t)
	runtime.KeepAlive(l)
}

// Of many who enter a key at once exactly one is told that it is fresh, while
// keys expire and the cache grows and shrinks; and it never holds too many.
func TestOneOfManyEnters(t *testing.T) {
	t.Parallel()
	const many, keys, capacity = 8, 3000, 1000
	var at clock
	c := New(capacity, at.now)
	entered := func(from, upto int) {
		t.Helper()
		var fresh [keys]atomic.Int32
		var wg sync.WaitGroup
		for range many {
			wg.Go(func() {
				for n := from; n < upto; n++ {
					switch ok, err := c.Enter(numbered(n), at.in(time.Minute)); {
					case err != nil:
						t.Errorf("key %d: %v", n, err)
					case ok:
						fresh[n].Add(1)
					}
					if !c.Has(numbered(n)) {
						t.Errorf("key %d is not there", n)
					}
				}
			})
		}
		wg.Wait()
		for n := from; n < upto; n++ {
			if got := fresh[n].Load(); got != 1 {
				t.Errorf("key %d was fresh %d times", n, got)
			}
		}
	}
	for round := range keys / capacity {
		entered(round*capacity, (round+1)*capacity)
		var wg sync.WaitGroup
		for range many {
			wg.Go(func() {
				if ok, err := c.Enter(numbered(keys), at.in(time.Minute)); ok || !errors.Is(err, ErrFull) {
					t.Errorf("one too many: got %v, %v", ok, err)
				}
			})
		}
		wg.Wait()
		at.set(time.Duration(round+1) * 2 * time.Minute)
	}
	c.keys.check(t)
}

// Check and entry are one step. Those who have waited for the lock for longer
// than a millisecond get it in turn, so that whoever let go of it in between
// would let the next one in.
func TestEnterIsAtomic(t *testing.T) {
	t.Parallel()
	var at clock
	c := New(100, at.now)
	for n := range 10 {
		var waiting, fresh atomic.Int32
		var wg sync.WaitGroup
		c.mu.Lock()
		for range 20 {
			wg.Go(func() {
				waiting.Add(1)
				if ok, err := c.Enter(numbered(n), at.in(time.Minute)); ok && err == nil {
					fresh.Add(1)
				}
			})
		}
		for waiting.Load() < 20 {
			runtime.Gosched()
		}
		for range 2 { // the first who wakes and does not get it sees to the turns
			for since := time.Now(); time.Since(since) < 3*time.Millisecond; {
				runtime.Gosched()
			}
			c.mu.Unlock()
			c.mu.Lock()
		}
		c.mu.Unlock()
		wg.Wait()
		if got := fresh.Load(); got != 1 {
			t.Fatalf("key %d was fresh %d times", n, got)
		}
	}
}

// A model is a cache in which nothing is clever.
type model struct {
	capacity int
	held     map[Key]struct{}
	order    []modelEntry
}

type modelEntry struct {
	key      Key
	deadline time.Duration
}

func (m *model) clear(at time.Duration) {
	for n := 0; n < perCall && len(m.order) > 0 && m.order[0].deadline < at; n++ {
		delete(m.held, m.order[0].key)
		m.order = m.order[1:]
	}
}

func (m *model) enter(key Key, at, deadline time.Duration) (bool, error) {
	m.clear(at)
	if _, used := m.held[key]; used {
		return false, nil
	}
	if len(m.order) == m.capacity {
		return false, ErrFull
	}
	m.held[key] = struct{}{}
	m.order = append(m.order, modelEntry{key, deadline})
	return true, nil
}

func (m *model) has(key Key, at time.Duration) bool {
	m.clear(at)
	_, used := m.held[key]
	return used
}

// FuzzCache does to a cache and to its model what the input says, three bytes a
// step, and compares what they answer. Whatever both may say, no key is entered
// or missed while it is alive; one whose time was over once may be forgotten,
// also if the clock then steps back, as no monotonic clock does.
func FuzzCache(f *testing.F) {
	const enter, burst, forward, back, look = 0, 1, 2, 3, 4
	f.Add(uint16(10), uint32(0), []byte{enter, 1, 5, enter, 1, 5, look, 1, 0, forward, 5, 0, enter, 1, 5, forward, 1, 0, enter, 1, 5})
	f.Add(uint16(1), uint32(7), []byte{enter, 1, 1, enter, 2, 1, forward, 2, 0, enter, 2, 1, enter, 1, 1})
	f.Add(uint16(3000), uint32(math.MaxUint32-700), []byte{burst, 255, 3, forward, 2, 0, burst, 200, 9, look, 8, 0, forward, 2, 0, burst, 3, 1,
		forward, 5, 0, burst, 1, 1, burst, 255, 1, forward, 99, 0, enter, 1, 1, enter, 2, 1, enter, 3, 1, enter, 4, 1, burst, 255, 2})
	f.Add(uint16(600), uint32(math.MaxUint32), []byte{burst, 100, 9, burst, 100, 1, forward, 3, 0, enter, 200, 1, back, 9, 0, enter, 200, 1,
		burst, 255, 1, forward, 50, 0, enter, 1, 255, forward, 60, 0, burst, 50, 1, enter, 1, 1})
	f.Fuzz(func(t *testing.T, capacity uint16, firstID uint32, steps []byte) {
		var at clock
		c := New(int(capacity)+1, at.now)
		c.keys.first, c.keys.end = firstID, firstID
		m := &model{capacity: int(capacity) + 1, held: map[Key]struct{}{}}
		alive := map[Key]time.Duration{}
		var latest time.Duration // that the clock has shown
		enterOne := func(n int, lives time.Duration) {
			key, now := numbered(n), time.Duration(at.at.Load())
			deadline, known := alive[key]
			fresh, err := c.Enter(key, at.in(lives))
			wantFresh, wantErr := m.enter(key, now, now+lives)
			if fresh != wantFresh || !errors.Is(err, wantErr) {
				t.Fatalf("key %d: got %v, %v, want %v, %v", n, fresh, err, wantFresh, wantErr)
			}
			if fresh && known && deadline >= latest {
				t.Fatalf("key %d is entered again while it is alive", n)
			}
			if fresh {
				alive[key] = now + lives
			}
		}
		next := 1 << 16
		for i := 0; i+2 < len(steps) && i < 3*60; i += 3 {
			a, b := int(steps[i+1]), time.Duration(steps[i+2])*time.Second
			switch steps[i] % 5 {
			case enter:
				enterOne(a, b)
			case burst:
				for range 8 * a {
					enterOne(next, b)
					next++
				}
			case forward:
				at.set(time.Duration(at.at.Load()) + time.Duration(a)*time.Second + b/1000)
				latest = max(latest, time.Duration(at.at.Load()))
			case back:
				at.set(time.Duration(at.at.Load()) - time.Duration(a)*time.Second)
			case look:
				key, now := numbered(a), time.Duration(at.at.Load())
				got := c.Has(key)
				if want := m.has(key, now); got != want {
					t.Fatalf("key %d: is there: got %v, want %v", a, got, want)
				}
				if deadline, known := alive[key]; known && deadline >= latest && !got {
					t.Fatalf("key %d is not there while it is alive", a)
				}
			}
			if c.Len() != len(m.order) {
				t.Fatalf("got %d keys, want %d", c.Len(), len(m.order))
			}
			c.keys.check(t)
		}
	})
}
