package replay

import (
	"math"
	"math/bits"
	"time"
)

// A queue holds keys in the order in which they came, and finds them. The zero
// value is empty.
//
// A map beside a list would take twice the memory, move a thousand keys at once
// when it grows, and never shrink. Here the entries themselves are the hash
// table: each leads to the one before it in its bucket. Buckets are added and
// taken away a few at a time (linear hashing), and all of it lies in small
// blocks, which nothing ever copies; so no call does more than some dozens of
// entries' work.
type queue struct {
	blocks     []*block // of entries, from the one that the oldest is in
	spare      *block   // the last one that was emptied
	first, end uint32   // the id of the oldest entry, and of the next one to come

	chains  []*chains
	buckets uint32 // how many there are
	swept   uint32 // the bucket that sweep looked at last
}

// An entry's id is its number in the order of arrival. It is used again after
// four billion; the ids of what the queue holds are a window, from first to end.
type entry struct {
	key      Key
	deadline time.Duration // since Cache.start
	hash     uint32
	next     uint32 // the id of the entry before it in its bucket, which may be gone
}

// A chain is what a bucket holds.
type chain struct {
	newest uint32 // the id of its newest entry, which may be gone
	filter uint32 // a bit for each of its entries, and perhaps for some that are gone
}

// blockSize makes a block of entries 8 KiB, and one of chains 2 KiB.
const blockSize = 256

type (
	block  [blockSize]entry
	chains [blockSize]chain
)

// maxQueue is how many entries a queue can hold: few enough for sweep to see
// every bucket long before an id is used again.
const maxQueue = 1 << 29

// len returns how many entries there are.
func (q *queue) len() int { return int(q.end - q.first) }

func (q *queue) holds(id uint32) bool { return id-q.first < q.end-q.first }

// gone returns an id that the queue does not hold, nor will for the longest time.
func (q *queue) gone() uint32 { return q.first - 1 }

// at returns an entry that the queue holds.
func (q *queue) at(id uint32) *entry { return &q.blocks[q.index(id)][id%blockSize] }

// index returns where the block of an entry is, or would be, in q.blocks.
func (q *queue) index(id uint32) int {
	const mask = math.MaxUint32 / blockSize
	return int((id/blockSize - q.first/blockSize) & mask)
}

// has reports whether a key is there. Most are not, which the filter tells: the
// entries would take as long again to read, as hardly any is in the processor's
// cache.
func (q *queue) has(hash uint32, key Key) bool {
	if q.len() == 0 {
		return false
	}
	c := q.chainOf(hash)
	if c.filter&filterBit(hash) == 0 {
		return false
	}
	for id := c.newest; q.holds(id); {
		e := q.at(id)
		if e.hash == hash && e.key == key {
			return true
		}
		id = e.next
	}
	return false
}

// push adds an entry.
func (q *queue) push(hash uint32, key Key, deadline time.Duration) {
	if q.buckets <= q.end-q.first {
		q.grow()
	}
	if q.index(q.end) == len(q.blocks) {
		b := q.spare
		if b == nil {
			b = new(block)
		}
		q.blocks, q.spare = append(q.blocks, b), nil
	}
	c := q.chainOf(hash)
	if !q.holds(c.newest) {
		c.filter = 0
	}
	id := q.end
	q.end++
	*q.at(id) = entry{key, deadline, hash, c.newest}
	c.newest, c.filter = id, c.filter|filterBit(hash)
	q.sweep()
}

// oldest returns the deadline of the oldest entry.
func (q *queue) oldest() (deadline time.Duration, ok bool) {
	if q.len() == 0 {
		return 0, false
	}
	return q.at(q.first).deadline, true
}

// pop removes the oldest entry. Being the oldest, it is the last one of its
// bucket, and whatever leads to it leads out of the window from now on.
func (q *queue) pop() {
	q.first++
	if q.first%blockSize == 0 {
		q.spare, q.blocks[0] = q.blocks[0], nil
		q.blocks = q.blocks[1:]
	}
}

// sweep looks at one bucket after the other, one per entry, for those whose
// newest entry is gone, lest its id come into the window again.
func (q *queue) sweep() {
	if q.swept++; q.swept >= q.buckets {
		q.swept = 0
	}
	if c := q.chain(q.swept); !q.holds(c.newest) {
		*c = chain{newest: q.gone()}
	}
}

func (q *queue) chain(bucket uint32) *chain {
	return &q.chains[bucket/blockSize][bucket%blockSize]
}

// chainOf returns the chain that a hash belongs to: that of the bucket with as
// many of its bits as number all buckets, or one less where that is yet to come.
func (q *queue) chainOf(hash uint32) *chain {
	all := uint32(1)<<bits.Len32(q.buckets-1) - 1
	bucket := hash & all
	if bucket >= q.buckets {
		bucket &= all >> 1
	}
	return q.chain(bucket)
}

// filterBit is of the hash's upper bits; its lower ones tell the bucket.
func filterBit(hash uint32) uint32 { return 1 << (hash >> 27) }

// highBit returns the bit by which a bucket's number differs from that of the
// bucket that it was split off from.
func highBit(bucket uint32) uint32 { return 1 << (bits.Len32(bucket) - 1) }

// perGrow is how many buckets grow adds.
const perGrow = 32

// grow adds buckets. Of many entries hardly any is in the processor's cache, and
// reading them one after the other is most of what splitting takes; so it reads
// those of all the buckets side by side first, for which the processor waits
// about once. (Behind the bucket that doubles their number, it is others that are
// split; there are few of those.)
func (q *queue) grow() {
	if q.buckets >= perGrow { // so many that none of those to split is yet to come
		var ids [perGrow]uint32
		high := highBit(q.buckets)
		for i := range ids {
			ids[i] = q.chain(q.buckets + uint32(i) - high).newest
		}
		for more := true; more; {
			more = false
			for i, id := range ids {
				if q.holds(id) {
					ids[i], more = q.at(id).next, true
				}
			}
		}
	}
	for range perGrow {
		q.split()
	}
}

// split adds a bucket, and moves to it what belongs there.
func (q *queue) split() {
	bucket := q.buckets
	if int(bucket/blockSize) == len(q.chains) {
		q.chains = append(q.chains, new(chains))
	}
	q.buckets++
	move := q.chain(bucket)
	*move = chain{newest: q.gone()}
	if bucket == 0 {
		return
	}
	high := highBit(bucket)
	stay := q.chain(bucket - high)
	id := stay.newest
	stay.filter = 0
	stayEnd, moveEnd := &stay.newest, &move.newest
	for q.holds(id) {
		e := q.at(id)
		if next := e.next; e.hash&high == 0 {
			stay.filter |= filterBit(e.hash)
			*stayEnd, stayEnd, id = id, &e.next, next
		} else {
			move.filter |= filterBit(e.hash)
			*moveEnd, moveEnd, id = id, &e.next, next
		}
	}
	*stayEnd, *moveEnd = q.gone(), q.gone()
}

// sparse reports whether there are many more buckets than entries, enough for
// join and grow not to follow each other for ever, and for join to give memory
// back in the end.
func (q *queue) sparse() bool { return q.buckets > blockSize && q.end-q.first < q.buckets/4 }

// join takes the last bucket away, and moves what is in it to where it came
// from, newer entries before older ones. The last of them leads out of the
// window, as it did before.
func (q *queue) join() {
	q.buckets--
	from := q.chain(q.buckets)
	into := q.chain(q.buckets - highBit(q.buckets))
	into.filter |= from.filter
	a, b, end := into.newest, from.newest, &into.newest
	for q.holds(b) { // a is what the last one leads to already
		if !q.holds(a) || b-q.first > a-q.first {
			a, b = b, a
		}
		e := q.at(a)
		*end, end, a = a, &e.next, e.next
	}
	if q.buckets%blockSize == 0 {
		last := len(q.chains) - 1
		q.chains[last] = nil
		q.chains = q.chains[:last]
	}
}
