package replay

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"
)

// check fails the test unless each entry is found in its bucket and nowhere
// else, newer ones first, and there is as much memory as the entries need.
func (q *queue) check(t *testing.T) {
	t.Helper()
	found := 0
	for bucket := range q.buckets {
		c := q.chain(bucket)
		newer := q.end
		for id := c.newest; q.holds(id); id = q.at(id).next {
			e := q.at(id)
			if q.chainOf(e.hash) != c {
				t.Fatalf("entry %d is in bucket %d, which is not its own", id, bucket)
			}
			if c.filter&filterBit(e.hash) == 0 {
				t.Fatalf("entry %d is not in the filter of bucket %d", id, bucket)
			}
			if id-q.first >= newer-q.first {
				t.Fatalf("entry %d comes after entry %d in bucket %d", id, newer, bucket)
			}
			newer = id
			found++
		}
	}
	if found != q.len() {
		t.Fatalf("%d of %d entries are in a bucket", found, q.len())
	}
	if q.buckets < q.end-q.first {
		t.Fatalf("%d buckets for %d entries", q.buckets, q.len())
	}
	if limit := q.len()/blockSize + 2; len(q.blocks) > limit {
		t.Fatalf("%d blocks for %d entries", len(q.blocks), q.len())
	}
	if want := (int(q.buckets) + blockSize - 1) / blockSize; len(q.chains) != want {
		t.Fatalf("%d blocks of chains for %d buckets", len(q.chains), q.buckets)
	}
}

// after makes a queue whose entries are numbered from an id on, as they are when
// as many have come and gone.
func after(id uint32) *queue {
	return &queue{first: id, end: id}
}

func spread(n int) uint32 {
	key := scattered(int64(n))
	return binary.LittleEndian.Uint32(key[:])
}

// A queue grows, is emptied and grows again, with its buckets split and joined
// in between, and finds what it holds: wherever the ids are in their range, and
// however much of the hashes the keys share.
func TestQueue(t *testing.T) {
	t.Parallel()
	hashes := map[string]func(n int) uint32{
		"spread":            spread,
		"one":               func(n int) uint32 { return 1 << 31 },
		"of one bucket":     func(n int) uint32 { return uint32(n) << 20 },
		"of one filter bit": func(n int) uint32 { return spread(n) >> 5 },
	}
	for _, name := range slices.Sorted(maps.Keys(hashes)) {
		for _, start := range []uint32{0, 1, 100, math.MaxUint32 - 2500, math.MaxUint32 - 300, math.MaxUint32 - 255, math.MaxUint32} {
			t.Run(fmt.Sprintf("%s, from %d", name, start), func(t *testing.T) {
				t.Parallel()
				hash := hashes[name]
				q := after(start)
				pushed, popped := 0, 0
				for _, step := range []struct{ push, pop int }{
					{1, 1}, {300, 0}, {0, 299}, {500, 100}, {0, 401}, {3, 2}, {256, 256}, {1024, 1000}, {700, 700},
				} {
					for range step.push {
						if q.has(hash(pushed), numbered(pushed)) {
							t.Fatalf("key %d is there before it comes", pushed)
						}
						q.push(hash(pushed), numbered(pushed), 0)
						pushed++
					}
					q.check(t)
					for range step.pop {
						q.pop()
						popped++
						if q.sparse() {
							q.join()
						}
						if popped%64 == 0 {
							q.check(t)
						}
					}
					for q.sparse() {
						q.join()
					}
					q.check(t)
					for n := max(0, popped-50); n < pushed; n++ {
						if got := q.has(hash(n), numbered(n)); got != (n >= popped) {
							t.Fatalf("key %d of %d to %d: got %v", n, popped, pushed, got)
						}
					}
				}
				if q.len() != pushed-popped {
					t.Errorf("got %d entries, want %d", q.len(), pushed-popped)
				}
			})
		}
	}
}

// An id that is used again must not be taken for the one that a bucket was left
// with four billion entries ago.
func TestSweep(t *testing.T) {
	t.Parallel()
	for hash := range uint32(2) {
		q := after(0)
		for n := range 1000 {
			q.push(uint32(n), numbered(n), 0)
		}
		for n := range 100_000 { // of which nothing reaches any bucket but one
			q.pop()
			q.push(hash, numbered(n), 0)
		}
		for bucket := range q.buckets {
			newest := q.chain(bucket).newest
			if ago := q.first - newest; !q.holds(newest) && ago > 2*q.buckets {
				t.Errorf("bucket %d still leads to an entry that went %d entries ago", bucket, ago)
			}
		}
	}
}

// The filters tell nearly all of what is not there, after any number of others
// have come and gone.
func TestFilter(t *testing.T) {
	t.Parallel()
	const live, turns, strangers = 3000, 20, 10_000
	q := after(0)
	for n := range turns * live {
		if n >= live {
			q.pop()
		}
		q.push(spread(n), numbered(n), 0)
	}
	untold := 0
	for n := range strangers {
		hash := spread(turns*live + n)
		if q.chainOf(hash).filter&filterBit(hash) != 0 {
			untold++
		}
	}
	if untold > strangers/10 {
		t.Errorf("%d of %d strangers pass the filter", untold, strangers)
	}
}

// Buckets are joined in the order of arrival, also where the ids begin anew in
// between: else what is popped would take newer entries out of their bucket.
func TestJoinKeepsOrder(t *testing.T) {
	t.Parallel()
	q := after(math.MaxUint32 - 500)
	for n := range 1000 {
		q.push(spread(n), numbered(n), 0)
	}
	for q.buckets > 1 {
		q.join()
		for n := range 1000 { // whatever number of buckets there is
			if !q.has(spread(n), numbered(n)) {
				t.Fatalf("key %d is not there, in %d buckets", n, q.buckets)
			}
		}
	}
	for popped := range 1000 {
		if popped%100 == 0 {
			for n := popped; n < 1000; n++ {
				if !q.has(spread(n), numbered(n)) {
					t.Fatalf("key %d is not there when %d are gone", n, popped)
				}
			}
		}
		q.pop()
	}
}

// A cache holds no more than its queue can number, whatever it is asked for.
func TestCapacityIsBounded(t *testing.T) {
	t.Parallel()
	if c := New(math.MaxInt, time.Now); c.capacity != maxQueue {
		t.Errorf("got %d, want %d", c.capacity, maxQueue)
	}
}

// Where there is little to remember, buckets are not added and taken away with
// each entry.
func TestFewEntriesKeepTheirBuckets(t *testing.T) {
	t.Parallel()
	var at clock
	c := New(1000, at.now)
	changes, buckets := 0, uint32(0)
	for n := range 10_000 {
		wantEnter(t, c, n, at.in(time.Minute), true, nil)
		if n%4 == 3 { // they have expired when the next one comes
			at.set(time.Duration(n) * time.Hour)
		}
		if c.keys.buckets != buckets {
			buckets = c.keys.buckets
			changes++
		}
	}
	if changes > 10 {
		t.Errorf("there were %d times more or fewer buckets", changes)
	}
}

// Whatever number of buckets is left, what comes then is found when they are more
// again: also what belongs to the last of them, or to one that is yet to come.
func TestAnyNumberOfBuckets(t *testing.T) {
	t.Parallel()
	for buckets := uint32(500); buckets < 530; buckets++ {
		q := after(0)
		for n := range 600 {
			q.push(spread(n), numbered(n), 0)
		}
		for range 500 {
			q.pop()
		}
		for q.buckets > buckets {
			q.join()
		}
		hashes := []uint32{buckets - 1, buckets, buckets + 1, 255, 511, 1023, 1<<32 - 1}
		for i, hash := range hashes {
			q.push(hash, numbered(10_000+i), 0)
		}
		q.check(t)
		for n := range 600 {
			q.push(spread(600+n), numbered(600+n), 0)
		}
		q.check(t)
		for i, hash := range hashes {
			if !q.has(hash, numbered(10_000+i)) {
				t.Errorf("with %d buckets a key of hash %d was lost", buckets, hash)
			}
		}
	}
}
