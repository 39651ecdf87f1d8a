package flyext

import (
	"errors"
	"math"
	"sync"
	"time"
)

var errClockSetBack = errors.New("the clock was set back behind messages that are forgotten")

// A clockGuard notices that the clock was set back so far that messages which
// were admitted are fresh again, though the replay store may have forgotten
// them: it forgets by a clock that nobody sets back. A message is admissible
// again, in that way, where three things hold of one admitted before it:
//
//   - by the steady clock, its nonce may be forgotten,
//   - by the clock on the wall, it is still fresh,
//   - the wall is behind the steady clock by more than when it was admitted, or
//     it would have become too old before it was forgotten.
//
// The guard keeps the worst of each, and so may refuse a little too much after
// a clock was set back, but never while none was: the third does not hold then,
// nor, by [Policy.ClockSkew], for a sender and a machine whose clocks are right
// again. It is of one process, and knows what that admitted.
type clockGuard struct {
	origin time.Time            // of wall
	steady func() time.Duration // what no setting of the clock moves

	mu      sync.Mutex
	pending [16]forgetting // by when they were admitted, in turn
	old     time.Duration  // wall: until when the forgotten ones are fresh, at most
	behind  time.Duration  // wall - steady, at which the third may hold of one
	moves   bool           // the wall was seen at another time than origin
}

// A forgetting is what messages of about one time come to. A turn of them is
// longer than the life of a nonce by default; where one lives longer, or two
// meet for another reason, the earlier to be forgotten speaks for both.
type forgetting struct {
	forgotten time.Duration // steady: when the first may be; 0 where there are none
	until     time.Duration // wall: until when the last is fresh
}

const (
	forgettingWidth = 30 * time.Second
	// clockDrift is what two clocks may differ by that nobody sets: a nonce may
	// be forgotten that much early.
	clockDrift = time.Second
	farAway    = 1 << 61 * time.Nanosecond // 73 years; sums of a few are in range
)

// An instant is one moment by both clocks.
type instant struct{ wall, steady time.Duration }

func newClockGuard(now time.Time) *clockGuard {
	start := time.Now()
	return &clockGuard{
		origin: now.Round(0), steady: func() time.Duration { return time.Since(start) },
		old: math.MinInt64, behind: math.MinInt64,
	}
}

// wall is a time on the wall alone: Round(0) drops the monotonic reading.
func (g *clockGuard) wall(t time.Time) time.Duration {
	return min(max(t.Round(0).Sub(g.origin), -farAway), farAway)
}

func (g *clockGuard) at(now time.Time) instant { return instant{g.wall(now), g.steady()} }

// blind reports whether a message that came at an instant may be one that was
// admitted and is forgotten by now.
func (g *clockGuard) blind(i instant) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.isBlind(i)
}

func (g *clockGuard) isBlind(i instant) bool {
	// A clock that stands still, as where recorded requests are judged, is not
	// set back.
	g.moves = g.moves || i.wall != 0
	if !g.moves || i.wall-i.steady > g.behind {
		return false
	}
	elapsed := g.steady()
	for n := range g.pending {
		g.count(&g.pending[n], elapsed)
	}
	return i.wall <= g.old
}

// count counts messages as forgotten if they may be.
func (g *clockGuard) count(f *forgetting, elapsed time.Duration) {
	if f.forgotten != 0 && f.forgotten <= elapsed {
		g.old, f.forgotten = max(g.old, f.until), 0
	}
}

// admit takes note of a message that came at an instant, and whose nonces were
// entered since. It reports false if meanwhile the store may have forgotten the
// first copy of it.
func (g *clockGuard) admit(i instant, nonces []Nonce) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isBlind(i) {
		return false
	}
	f := &g.pending[i.steady/forgettingWidth%time.Duration(len(g.pending))]
	g.count(f, i.steady)
	for _, n := range nonces {
		expires := g.wall(n.Expires)
		forgotten := max(i.steady+expires-i.wall-clockDrift, 1)
		until := expires - 2*clockDrift // so that it is past when forgotten
		if !n.freshUntil.IsZero() {
			until = min(until, g.wall(n.freshUntil))
		}
		if f.forgotten == 0 {
			*f = forgetting{forgotten, until}
		}
		f.forgotten, f.until = min(f.forgotten, forgotten), max(f.until, until)
		g.behind = max(g.behind, until-forgotten)
	}
	return true
}
