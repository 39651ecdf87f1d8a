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

// live is how many nonces a store holds at a time while it is measured, and
// lifetime how long each stays: that of an X-Signature's.
const (
	live     = 1_000_000
	lifetime = maxAge + clockSkew
)

// A store remembers nonces, or claims to.
type store interface {
	Use(ctx context.Context, n flyext.Nonce) (fresh bool, err error)
}

// A virtual clock moves when it is told to. It is safe for concurrent use.
type virtual struct{ elapsed atomic.Int64 }

func (c *virtual) now() time.Time { return epoch.Add(time.Duration(c.elapsed.Load())) }

// nonces are keys as NonceKey makes them: evenly spread. The i-th is the same
// in every run.
func nonceKey(i uint64) (key [16]byte) {
	mix := func(x uint64) uint64 { // splitmix64
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		return x ^ x>>31
	}
	binary.LittleEndian.PutUint64(key[:8], mix(i*0x9e3779b97f4a7c15+1))
	binary.LittleEndian.PutUint64(key[8:], mix(i*0x9e3779b97f4a7c15+0x7f4a7c15))
	return key
}

// A filling enters nonces at the rate at which live of them are there.
type filling struct {
	store store
	clock *virtual
	step  time.Duration // between two entries
	next  atomic.Uint64
}

func newFilling(live int, open func(capacity int, now func() time.Time) store) *filling {
	f := &filling{clock: &virtual{}, step: lifetime / time.Duration(live)}
	f.store = open(0, f.clock.now)
	return f
}

var errNotFresh = errors.New("a new nonce was taken for a replay")

// enter enters the next n nonces.
func (f *filling) enter(n int) error {
	ctx := context.Background()
	for range n {
		i := f.next.Add(1)
		f.clock.elapsed.Store(int64(i) * int64(f.step))
		ok, err := f.store.Use(ctx, flyext.Nonce{Key: nonceKey(i), Expires: f.clock.now().Add(lifetime)})
		if err != nil {
			return err
		}
		if !ok {
			return errNotFresh
		}
	}
	return nil
}

// worst enters the next n nonces and returns the longest that one took.
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

// share enters the next n nonces from several goroutines.
func (f *filling) share(n, goroutines int) error {
	errs := make([]error, goroutines)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = f.enter(n / goroutines) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first has finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// replayStores are what may be asked, by name.
var replayStores = []struct {
	name string
	open func(capacity int, now func() time.Time) store
}{
	{"flyext", func(capacity int, now func() time.Time) store { return flyext.NewMemoryReplayStore(capacity, now) }},
	{"map-mutex", func(_ int, now func() time.Time) store { return &mapStore{now: now, used: map[[16]byte]time.Time{}} }},
}

// A mapStore is what one writes first: a map, a mutex, and now and then a walk
// through all of it for what has expired.
type mapStore struct {
	now   func() time.Time
	mu    sync.Mutex
	used  map[[16]byte]time.Time
	swept time.Time
}

// sweepEvery is how often a mapStore is walked through.
const sweepEvery = time.Minute

func (s *mapStore) Use(_ context.Context, n flyext.Nonce) (bool, error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.swept) > sweepEvery {
		s.swept = now
		for key, expires := range s.used {
			if expires.Before(now) {
				delete(s.used, key)
			}
		}
	}
	if expires, ok := s.used[n.Key]; ok && !expires.Before(now) {
		return false, nil
	}
	s.used[n.Key] = n.Expires
	return true, nil
}

// BenchmarkReplay fills each store with a million live nonces, and then lets
// all of them expire while as many others come. Its ns/op is the time per
// entry; B/live is the heap per live nonce after a collection.
func BenchmarkReplay(b *testing.B) {
	for _, s := range replayStores {
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				before := heap()
				f := newFilling(live, s.open)
				check := func(err error) {
					if err != nil {
						b.Fatal(err)
					}
				}
				timed := func(name string, do func() error) {
					start := time.Now()
					check(do())
					b.ReportMetric(float64(time.Since(start).Nanoseconds())/live, name)
				}
				timed("fill-ns/entry", func() error { return f.enter(live) })
				b.ReportMetric(float64(heap()-before)/live, "fill-B/live")
				timed("turn-ns/entry", func() error { return f.enter(live) })
				b.ReportMetric(float64(heap()-before)/live, "turn-B/live")
				timed("turn2-ns/entry", func() error { return f.share(live, 2) })
				worst, err := f.worst(live)
				check(err)
				b.ReportMetric(float64(worst.Microseconds()), "turn-worst-µs")
				runtime.KeepAlive(f)

				f = newFilling(live, s.open)
				worst, err = f.worst(live)
				check(err)
				b.ReportMetric(float64(worst.Microseconds()), "fill-worst-µs")
				f = newFilling(live, s.open)
				timed("fill2-ns/entry", func() error { return f.share(live, 2) })
			}
			b.ReportMetric(0, "ns/op") // it means nothing here
		})
	}
}
