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
	binary.BigEndian.PutUint64(k[:], uint64(n)*0x9e3779b97f4a7c15) // distributed like a hash
	return k
}

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }

func TestCalendar(t *testing.T) {
	t.Parallel()
	c := NewCalendar(3)
	for _, step := range []struct {
		name         string
		now, expires int64
		key          int
		fresh        bool
		err          error
	}{
		{"the first", 1000, 1360, 1, true, nil},
		{"a duplicate", 1000, 1360, 1, false, nil},
		{"a duplicate in the last second", 1359, 1360, 1, false, nil},
		{"a second one", 1000, 1360, 2, true, nil},
		{"a third one", 1000, 1360, 3, true, nil},
		{"one too many", 1000, 1360, 4, false, ErrFull},
		{"a duplicate while the store is full", 1000, 1360, 3, false, nil},
		{"expired", 1360, 1360, 4, false, ErrExpired},
		{"expired for long", 9999, 1360, 1, false, ErrExpired},
		{"a duplicate after a step back", 1000, 1360, 1, false, ErrExpired},
		{"a new key of a dropped bucket", 1000, 1365, 9, false, ErrExpired},
		{"a new key of the next bucket", 1000, 1370, 9, true, nil},
		{"centuries ahead", 1000, 1 << 40, 5, true, nil},
		{"centuries ahead, again", 1000, 1 << 40, 5, false, nil},
		{"before 1970", 1000, -5, 7, false, ErrExpired},
	} {
		fresh, err := c.Use(numbered(step.key), at(step.expires), at(step.now))
		if fresh != step.fresh || !errors.Is(err, step.err) {
			t.Errorf("%s: got %v, %v, want %v, %v", step.name, fresh, err, step.fresh, step.err)
		}
	}
}

// TestMemoryIsGivenBackAfterAStepForward checks that the store drops expired keys
// after a clock that was far ahead is set back.
func TestMemoryIsGivenBackAfterAStepForward(t *testing.T) {
	t.Parallel()
	c := NewCalendar(100)
	c.Use(numbered(0), at(1<<40), at(1<<39))
	for now := range int64(1000) {
		if fresh, err := c.Use(numbered(int(now+1)), at(now+360), at(now)); !fresh && !errors.Is(err, ErrFull) {
			t.Fatalf("at %d: got %v, %v", now, fresh, err)
		}
	}
	if c.live > 100 || len(c.buckets) > 40 {
		t.Errorf("%d keys in %d buckets are left", c.live, len(c.buckets))
	}
	if fresh, err := c.Use(numbered(5000), at(2000), at(1700)); !fresh || err != nil {
		t.Errorf("after a pause: got %v, %v", fresh, err)
	}
}

// TestMemoryPerKey checks that each of a million keys takes at most 32 bytes, and
// that expired keys take none.
func TestMemoryPerKey(t *testing.T) {
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const million = 1_000_000
	before := held()
	c := NewCalendar(1 << 20)
	for i := range million {
		now := int64(i) * 360 / million
		if fresh, err := c.Use(numbered(i), at(now+360), at(now)); !fresh || err != nil {
			t.Fatalf("key %d: got %v, %v", i, fresh, err)
		}
	}
	if each := (held() - before) / million; each > 32 {
		t.Errorf("a key takes %d bytes, want at most 32", each)
	}
	c.Use(numbered(0), at(2000), at(1000))
	if after := held(); after > before+100_000 {
		t.Errorf("%d bytes are left", after-before)
	}
	runtime.KeepAlive(c)
}

// TestUseIsAtomic checks that exactly one of several concurrent duplicates is
// fresh.
func TestUseIsAtomic(t *testing.T) {
	t.Parallel()
	c := NewCalendar(1 << 20)
	for round := range 200 {
		var fresh atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if ok, err := c.Use(numbered(round), at(360), at(0)); ok && err == nil {
					fresh.Add(1)
				}
			})
		}
		all.Wait()
		if fresh.Load() != 1 {
			t.Fatalf("%d duplicates were fresh, want 1", fresh.Load())
		}
	}
}

func TestRecent(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	r := NewRecent(3, day)
	add := func(name string, key int, after time.Duration, want bool) {
		t.Helper()
		if fresh := r.Add(numbered(key), at(0).Add(after)); fresh != want || !r.Has(numbered(key), at(0).Add(after)) {
			t.Errorf("%s: got fresh %v, want %v, and the key in the set", name, fresh, want)
		}
	}
	add("the first", 1, 0, true)
	add("a duplicate", 1, day, false)
	add("a later key", 2, day+1, true)
	add("a duplicate of the first after a day", 1, day+2, false)
	add("a day later", 3, 2*day+2, true)
	add("the first was dropped", 1, 2*day+3, true)
	add("a third", 4, 2*day+3, true)
	add("more than the capacity", 5, 2*day+3, true)
	add("a duplicate of that day", 3, 2*day+4, false)
	add("a clock that is set back", 5, 0, false)
	if r.Has(numbered(2), at(0)) {
		t.Error("the oldest key was not dropped")
	}
	add("a key that is looked up daily", 6, 4*day, true)
	for _, look := range []struct {
		days int
		want bool
	}{{5, true}, {6, false}} {
		if has := r.Has(numbered(6), at(0).Add(time.Duration(look.days)*day+time.Duration(look.days))); has != look.want {
			t.Errorf("on day %d: in the set %v, want %v", look.days, has, look.want)
		}
	}
	add("a key before a quiet time", 7, 6*day+7, true)
	if r.Has(numbered(7), at(0).Add(9*day)) {
		t.Error("a quiet time does not end the memory")
	}
}

// FuzzCalendar sets a clock to any time. A key with the same expiry is never fresh
// twice, and the capacity is never exceeded.
func FuzzCalendar(f *testing.F) {
	f.Add([]byte{0, 10, 1, 5, 0, 1, 200, 0, 1, 0, 10, 1})
	f.Add([]byte{255, 10, 1, 0, 0, 1, 0, 10, 1})
	f.Fuzz(func(t *testing.T, steps []byte) {
		c := NewCalendar(20)
		type message struct {
			key     int
			expires int64
		}
		admitted := map[message]bool{}
		for ; len(steps) >= 3; steps = steps[3:] {
			now := int64(steps[0]) * 7
			m := message{int(steps[2] % 16), int64(steps[1]) * 7}
			fresh, err := c.Use(numbered(m.key), at(m.expires), at(now))
			if fresh && (admitted[m] || m.expires <= now) {
				t.Fatalf("message %v is fresh again or expired at %d", m, now)
			}
			if fresh && err != nil {
				t.Fatalf("fresh with error %v", err)
			}
			admitted[m] = admitted[m] || fresh
			held := 0
			for _, bucket := range c.buckets {
				held += len(bucket)
			}
			if held != c.live || held > 20 {
				t.Fatalf("the store has %d keys but counts %d", held, c.live)
			}
		}
	})
}

// BenchmarkUse enters keys while a million are live and as many expire as arrive.
func BenchmarkUse(b *testing.B) {
	c := NewCalendar(1 << 21)
	var n atomic.Int64
	use := func() {
		i := n.Add(1)
		now := i * 360 / 1_000_000
		if fresh, err := c.Use(numbered(int(i)), at(now+360), at(now)); !fresh || err != nil {
			b.Errorf("key %d: %v, %v", i, fresh, err)
		}
	}
	for range 1_000_000 {
		use()
	}
	b.Run("one goroutine", func(b *testing.B) {
		for b.Loop() {
			use()
		}
	})
	b.Run("two goroutines", func(b *testing.B) {
		b.SetParallelism(1)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				use()
			}
		})
	})
	b.Run("the worst of a million", func(b *testing.B) {
		worst := time.Duration(0)
		for b.Loop() {
			start := time.Now()
			use()
			worst = max(worst, time.Since(start))
		}
		b.ReportMetric(float64(worst.Microseconds()), "worst-µs")
	})
}
