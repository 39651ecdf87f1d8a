package replay

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

const (
	million  = 1_000_000
	capacity = 1 << 20 // what NewMemoryReplayStore holds unless told otherwise
)

// A load enters as many keys in a lifetime as are to be alive.
type load struct {
	at    clock
	n     atomic.Int64
	tick  time.Duration
	cache *Cache
}

func newLoad(live, capacity int) *load {
	l := &load{tick: time.Hour / time.Duration(live)}
	l.cache = New(capacity, l.at.now)
	return l
}

func (l *load) enter(tb testing.TB) {
	n := l.n.Add(1)
	at := time.Duration(n) * l.tick
	l.at.set(at)
	if fresh, err := l.cache.Enter(scattered(n), time.Unix(0, int64(at+time.Hour))); !fresh || err != nil {
		tb.Errorf("key %d: got %v, %v", n, fresh, err)
	}
}

// scattered returns the nth key, as random to look at as a digest.
func scattered(n int64) (k Key) {
	for i := range 2 {
		x := uint64(2*n+int64(i)) * 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(k[8*i:], x^x>>31)
	}
	return k
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one has found is gone after the second one
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// turnOver enters live keys, then twice as many while those expire, and returns
// the memory for each key before and after.
func (l *load) turnOver(tb testing.TB, live int, before float64) (grown, turned float64) {
	for range live {
		l.enter(tb)
	}
	grown = (heap() - before) / float64(l.cache.Len())
	for range 2 * live {
		l.enter(tb)
	}
	return grown, (heap() - before) / float64(l.cache.Len())
}

// BenchmarkEnter enters keys where as many are alive and each lets one expire,
// from as many goroutines as -cpu says. All have turned over twice before.
func BenchmarkEnter(b *testing.B) {
	for _, live := range []int{1000, 10_000, 100_000, million, 10 * million} {
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			before := heap()
			l := newLoad(live, max(capacity, 2*live))
			grown, turned := l.turnOver(b, live, before)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l.enter(b)
				}
			})
			b.ReportMetric(grown, "B/key-grown")
			b.ReportMetric(turned, "B/key-turned-over")
			runtime.KeepAlive(l)
		})
	}
}

// BenchmarkReplay enters what is there already.
func BenchmarkReplay(b *testing.B) {
	l := newLoad(million, capacity)
	l.turnOver(b, million, 0)
	i := int64(0)
	for b.Loop() {
		i = (i + 7919) % (million / 2)
		if fresh, err := l.cache.Enter(scattered(l.n.Load()-i), l.at.in(time.Hour)); fresh || err != nil {
			b.Fatal(fresh, err)
		}
	}
}

// BenchmarkWorstEntry times each entry of a cache that grows to a million live
// keys, then of one in which two million more replace them, then of one whose
// keys have all expired at once. It does so seven times over.
//
// The slowest of them all is the machine's doing on any that has other work to
// do: it reports that as raw. What lies in the cache itself comes again at the
// same entry each time; so the one reported as worst is the slowest of all
// entries, each at its fastest.
func BenchmarkWorstEntry(b *testing.B) {
	phases := []struct {
		name       string
		from, upto int
	}{{"growing", 0, million}, {"steady", million, 3 * million}, {"clearing", 3 * million, 3*million + 20_000}}
	const runs = 7
	for b.Loop() {
		fastest := make([]time.Duration, phases[len(phases)-1].upto)
		all := make([][]time.Duration, len(phases))
		for range runs {
			l := newLoad(million, capacity)
			for p, phase := range phases {
				if phase.name == "clearing" {
					l.n.Add(2 * million) // two lifetimes without any
				}
				runtime.GC() // so that less of it falls into the measurement
				last := time.Now()
				for i := phase.from; i < phase.upto; i++ {
					l.enter(b)
					now := time.Now()
					took := now.Sub(last)
					last = now
					all[p] = append(all[p], took)
					if fastest[i] == 0 || took < fastest[i] {
						fastest[i] = took
					}
				}
			}
		}
		for p, phase := range phases {
			slices.Sort(all[p])
			report := func(name string, d time.Duration) { b.ReportMetric(float64(d), phase.name+"-"+name+"-ns") }
			for _, q := range []float64{50, 99, 99.9, 99.99} {
				report(fmt.Sprintf("p%v", q), all[p][int(q/100*float64(len(all[p])-1))])
			}
			report("worst", slices.Max(fastest[phase.from:phase.upto]))
			report("worst-raw", all[p][len(all[p])-1])
		}
	}
}
