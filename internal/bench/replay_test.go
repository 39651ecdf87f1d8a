package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// live is the number of live nonces in a measured store. capacity is the default of
// flyext's store. lifetime is the lifetime of an X-Signature's nonce.
const (
	live     = 1_000_000
	capacity = 1 << 20
	lifetime = maxAge + clockSkew
)

// A virtual clock is set by the test. It is safe for concurrent use.
type virtual struct{ elapsed atomic.Int64 }

func (c *virtual) now() time.Time { return epoch.Add(time.Duration(c.elapsed.Load())) }

// nonceKey returns the key of nonce i, as evenly distributed as a hash and the same
// in every run.
func nonceKey(i uint64) (key [16]byte) {
	mix := func(x uint64) uint64 { // splitmix64's finalizer
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		return x ^ x>>31
	}
	binary.LittleEndian.PutUint64(key[:8], mix(i*0x9e3779b97f4a7c15+1))
	binary.LittleEndian.PutUint64(key[8:], mix(i*0x9e3779b97f4a7c15+0x7f4a7c15))
	return key
}

// A filling enters nonces at a rate that keeps a given number of them live.
type filling struct {
	store store
	clock *virtual
	step  time.Duration // between two entries
	next  atomic.Uint64
}

func newFilling(live, capacity int, open opener) *filling {
	f := &filling{clock: &virtual{}, step: lifetime / time.Duration(live)}
	f.store = open(capacity, f.clock)
	return f
}

var errNotFresh = errors.New("a new nonce was refused as a replay")

// enter enters the next n nonces.
func (f *filling) enter(n int) error { return f.draw(n, 1) }

// draw enters the next n nonces in groups of the size some. The clock advances once
// per group.
func (f *filling) draw(n, some int) error {
	for ; n > 0; n -= some {
		last := f.next.Add(uint64(some))
		f.clock.elapsed.Store(int64(last) * int64(f.step))
		for i := last - uint64(some) + 1; i <= last; i++ {
			switch fresh, err := f.use(i); {
			case err != nil:
				return err
			case !fresh:
				return errNotFresh
			}
		}
	}
	return nil
}

func (f *filling) use(i uint64) (fresh bool, err error) {
	return f.store.Use(context.Background(), flyext.Nonce{Key: nonceKey(i), Expires: f.clock.now().Add(lifetime)})
}

// worst enters the next n nonces and returns the longest time for one.
func (f *filling) worst(n int) (longest time.Duration, err error) {
	for range n {
		start := time.Now()
		err := f.enter(1)
		longest = max(longest, time.Since(start))
		if err != nil {
			return longest, err
		}
	}
	return longest, nil
}

// share enters the next n nonces from several goroutines in groups of 50, so that
// the goroutines wait for each other only in the store.
func (f *filling) share(n, goroutines int) error {
	errs := make([]error, goroutines)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = f.draw(n/goroutines, 50) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// heap returns the size of live data on the heap, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC() // frees the data that finalizers released
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkReplay fills each store with a million live nonces, and then turns over:
// all of them expire while a million others arrive. Stores that use the system
// clock are only filled. It measures the time per entry from one goroutine and from
// two (total time divided by entries), the longest entry, and the heap per live
// nonce.
func BenchmarkReplay(b *testing.B) {
	for _, s := range replayStores {
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				s.measure(b)
			}
			b.ReportMetric(0, "ns/op") // not meaningful
		})
	}
}

func (s replayStore) measure(b *testing.B) {
	fill := func() *filling { return newFilling(live, capacity, s.open) }
	timed := func(unit string, do func() error) {
		start := time.Now()
		if err := do(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/live, unit)
	}
	longest := func(unit string, f *filling) {
		worst, err := f.worst(live)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(worst.Nanoseconds()), unit)
	}
	touch(256 << 20) // more than any store needs
	before := heap()
	f := fill()
	timed("fill-ns/entry", func() error { return f.enter(live) })
	b.ReportMetric(float64(heap()-before)/live, "fill-B/live")
	if s.clocked {
		timed("turn-ns/entry", func() error { return f.enter(live) })
		b.ReportMetric(float64(heap()-before)/live, "turn-B/live")
		longest("turn-worst-ns", f)
		timed("turn-two-ns/entry", func() error { return f.share(live, 2) })
	}
	runtime.KeepAlive(f)
	f = nil
	runtime.GC()
	longest("fill-worst-ns", fill())
	runtime.GC()
	f = fill()
	timed("fill-two-ns/entry", func() error { return f.share(live, 2) })
}

// BenchmarkReplayFull enters 25 % more live nonces than a store has room for, and
// then replays every hundredth accepted one. It also replays each nonce immediately
// in a store with enough room. It measures the percentage of accepted replays.
func BenchmarkReplayFull(b *testing.B) {
	for _, s := range replayStores {
		b.Run(s.name, func(b *testing.B) {
			var full, atOnce float64
			for b.Loop() {
				full, atOnce = s.admitted(100_000)
			}
			b.ReportMetric(100*full, "full-admitted-%")
			b.ReportMetric(100*atOnce, "at-once-admitted-%")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// admitted returns the shares of replays that the store accepts.
func (s replayStore) admitted(room int) (full, atOnce float64) {
	f := newFilling(room, room, s.open)
	var taken []uint64
	for i := range uint64(room + room/4) {
		if fresh, err := f.use(i); fresh && err == nil {
			taken = append(taken, i)
		}
	}
	again, offered := 0, 0
	for i := 0; i < len(taken); i += 100 { // few enough not to evict each other
		offered++
		if fresh, err := f.use(taken[i]); fresh && err == nil {
			again++
		}
	}
	full = float64(again) / float64(offered)

	f = newFilling(room, 2*room, s.open)
	again = 0
	for i := range uint64(room) {
		f.use(i)
		if fresh, err := f.use(i); fresh && err == nil {
			again++
		}
	}
	return full, float64(again) / float64(room)
}
