package flyext

import (
	"sync"
	"testing"
	"time"
)

// A guardTest is a guard on two clocks that a test moves.
type guardTest struct {
	*clockGuard
	wallClock time.Time
	elapsed   time.Duration
}

func newGuardTest(start time.Time) *guardTest {
	g := &guardTest{clockGuard: newClockGuard(start), wallClock: start}
	g.steady = func() time.Duration { return g.elapsed }
	return g
}

// pass lets time pass, by both clocks.
func (g *guardTest) pass(d time.Duration) { g.elapsed += d; g.wallClock = g.wallClock.Add(d) }
func (g *guardTest) set(d time.Duration)  { g.wallClock = g.wallClock.Add(d) }

// sent is a message signed by a clock that is ahead of the wall, and reports
// whether it is admitted.
func (g *guardTest) sent(p Policy, ahead time.Duration) bool {
	p, _ = p.withDefaults()
	return g.admits(p.nonce([16]byte{}, g.wallClock, g.wallClock.Add(ahead)))
}

func (g *guardTest) admits(n Nonce) bool {
	i := g.at(g.wallClock)
	return !g.blind(i) && g.admit(i, []Nonce{n})
}

// traffic is a message every second.
func (g *guardTest) traffic(t *testing.T, d time.Duration, p Policy, ahead time.Duration) {
	t.Helper()
	for range d / time.Second {
		g.pass(time.Second)
		if !g.sent(p, ahead) {
			t.Fatalf("after %v: a genuine message was refused", g.elapsed)
		}
	}
}

var guardStart = time.Unix(1700000000, 0)

// Whatever the policy and the sender's clock, and whatever the clock on the wall
// did: while its messages are fresh, a sender whose clock is right is heard.
func TestClockGuardRefusesNoGenuineMessage(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]Policy{
		"by default":     {},
		"a day":          {MaxAge: 24 * time.Hour},
		"a second":       {MaxAge: time.Second, ClockSkew: time.Second},
		"no skew":        {ClockSkew: 1},
		"skew, no age":   {MaxAge: 1, ClockSkew: time.Hour},
		"an hour of all": {MaxAge: time.Hour, ClockSkew: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := p.withDefaults()
			for _, ahead := range []time.Duration{0, -d.MaxAge, d.ClockSkew} {
				g := newGuardTest(guardStart)
				g.traffic(t, 30*time.Minute, p, ahead)
				g.pass(48 * time.Hour)
				g.traffic(t, 10*time.Minute, p, ahead)
				g.set(time.Hour)
				g.traffic(t, 10*time.Minute, p, ahead)
			}
			// The provider's clock is ahead of the right one by as much as it may
			// be, and is set right.
			g := newGuardTest(guardStart)
			g.traffic(t, 30*time.Minute, p, -d.MaxAge)
			g.set(-d.MaxAge)
			if d.ClockSkew > 30*time.Second {
				g.traffic(t, 30*time.Minute, p, 0)
			}
		})
	}
}

// One message is admitted, at 0, its nonce is forgotten after 6 minutes or 7,
// and the clock is set. Until its message is stale by it, nothing is admitted.
func TestClockGuard(t *testing.T) {
	t.Parallel()
	const m = time.Minute
	for _, c := range []struct {
		name   string
		policy Policy
		ahead  time.Duration // of the sender
		pass   time.Duration
		set    time.Duration
		admits bool
	}{
		{name: "nothing is set", pass: 6 * m, admits: true},
		{name: "back by an hour, not forgotten", pass: 6*m - 2*time.Second, set: -60 * m, admits: true},
		{name: "back by an hour, as it is forgotten", pass: 6 * m, set: -60 * m},
		{name: "back by an hour, a day later", pass: 24 * 60 * m, set: -60 * m, admits: true},
		{name: "back by a day, a day later", pass: 24 * 60 * m, set: -24 * 60 * m},
		{name: "back to when it was sent", pass: 10 * m, set: -10 * m},
		{name: "back to where it is as old as can be", pass: 10 * m, set: -5 * m},
		{name: "back to where it is too old", pass: 10 * m, set: -5*m + time.Second, admits: true},
		{name: "back by less than the skew", pass: 6*m + time.Second, set: -58 * time.Second, admits: true},
		{name: "back by a little more", pass: 6*m + time.Second, set: -62 * time.Second},
		{name: "signed ahead, not forgotten", ahead: m, pass: 6*m + 50*time.Second, set: -60 * m, admits: true},
		{name: "signed ahead", ahead: m, pass: 7 * m, set: -m},
		{name: "signed long before", ahead: -5 * m, pass: 6 * m, set: -5 * m, admits: true},
		{name: "signed long before, fresh again", ahead: -5 * m, pass: 6 * m, set: -6*m - time.Second},
		{name: "forwards", pass: 6 * m, set: 60 * m, admits: true},
		{name: "another policy, not forgotten", policy: Policy{MaxAge: 60 * m, ClockSkew: 10 * m}, pass: 69 * m, set: -60 * m, admits: true},
		{name: "another policy", policy: Policy{MaxAge: 60 * m, ClockSkew: 10 * m}, pass: 70 * m, set: -11 * m},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := newGuardTest(guardStart)
			g.pass(1) // a clock that was never seen to move is not one that is set
			if !g.sent(c.policy, c.ahead) {
				t.Fatal("the first message was refused")
			}
			g.pass(c.pass)
			g.set(c.set)
			if got := g.sent(c.policy, 0); got != c.admits {
				t.Errorf("admits %v, want %v", got, c.admits)
			}
		})
	}
}

// A message whose nonce is not forgotten is not counted among those of an earlier
// turn that are.
func TestClockGuardCountsTurnsApart(t *testing.T) {
	t.Parallel()
	g := newGuardTest(guardStart)
	turn := forgettingWidth * time.Duration(len(g.pending))
	for range 3 {
		if !g.sent(Policy{}, 0) {
			t.Fatal("a message was refused, and no clock was set")
		}
		g.pass(turn)
	}
	g.sent(Policy{}, 0)
	g.pass(3 * time.Minute)
	g.set(-2 * time.Minute)
	if !g.sent(Policy{}, 0) {
		t.Error("a message was refused that nothing forgotten can be")
	}
}

// With traffic there is no moment, and no way back to it, at which the guard
// overlooks one of the messages that could be admitted again.
func TestClockGuardHasNoGap(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]Policy{
		"by default": {},
		"an hour":    {MaxAge: time.Hour},
		"short":      {MaxAge: 10 * time.Second, ClockSkew: 5 * time.Second},
		"of its own": {MaxAge: 7 * time.Minute, ClockSkew: 13 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := p.withDefaults()
			life := d.MaxAge + d.ClockSkew
			g := newGuardTest(guardStart)
			type admission struct {
				forgotten time.Duration
				signed    time.Time
			}
			var all []admission
			for n := range int(2*life/time.Second) + 400 {
				g.pass(time.Second)
				if n%7 == 3 || n > 150 && n < 250 { // gaps of several lengths, and a long one
					continue
				}
				ahead := time.Duration(n*n%11-7) * d.ClockSkew / 7
				nonce := d.nonce([16]byte{}, g.wallClock, g.wallClock.Add(ahead))
				if !g.admits(nonce) {
					t.Fatalf("refused after %v", g.elapsed)
				}
				all = append(all, admission{g.elapsed + nonce.Expires.Sub(g.wallClock), g.wallClock.Add(ahead)})
				for back := time.Second; back < 2*life; back += max(life/50, time.Second) {
					now := g.wallClock.Add(-back)
					again := false
					for _, a := range all {
						again = again || a.forgotten <= g.elapsed && now.Sub(a.signed) <= d.MaxAge && a.signed.Sub(now) <= d.ClockSkew
					}
					if again && !g.blind(g.at(now)) {
						t.Fatalf("after %v, back by %v: a message that was forgotten is admitted", g.elapsed, back)
					}
				}
			}
		})
	}
}

// What was admitted long ago counts for ever, however little happened since.
func TestClockGuardRemembers(t *testing.T) {
	t.Parallel()
	g := newGuardTest(guardStart)
	g.sent(Policy{}, 0)
	g.pass(1000 * time.Hour)
	g.sent(Policy{}, 0)
	g.pass(7 * time.Minute)
	for _, back := range []time.Duration{7 * time.Minute, time.Hour, 1000 * time.Hour} {
		if i := g.at(g.wallClock.Add(-back)); !g.blind(i) {
			t.Errorf("back by %v: not noticed", back)
		}
	}
	if g.blind(g.at(g.wallClock)) {
		t.Error("the right time is refused")
	}
}

// The nonces of a verifier that is not ours say when they expire and no more.
func TestClockGuardOfOtherNonces(t *testing.T) {
	t.Parallel()
	const life = 5 * time.Minute
	g := newGuardTest(guardStart)
	for range 1200 {
		g.pass(time.Second)
		if !g.admits(Nonce{Expires: g.wallClock.Add(life)}) {
			t.Fatalf("refused after %v", g.elapsed)
		}
	}
	for _, back := range []time.Duration{4 * time.Second, time.Minute, time.Hour} {
		if !g.blind(g.at(g.wallClock.Add(-back))) {
			t.Errorf("back by %v: not noticed", back)
		}
	}
	for name, n := range map[string]Nonce{
		"for ever": {Expires: guardStart.AddDate(5000, 0, 0)},
		"expired":  {Expires: guardStart.AddDate(-5000, 0, 0)},
		"none":     {},
	} {
		g := newGuardTest(guardStart)
		for range 1200 {
			g.pass(time.Second)
			if !g.admits(n) {
				t.Errorf("%s: refused after %v", name, g.elapsed)
				break
			}
		}
	}
}

// A clock that stands still was not set back, and one that has a monotonic
// reading is judged by the other one that it has.
func TestClockGuardOfOtherClocks(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]time.Time{"recorded": guardStart, "none": {}, "real": time.Now()} {
		g := newGuardTest(start)
		for range 100 {
			g.elapsed += time.Minute
			if !g.sent(Policy{}, 0) {
				t.Fatalf("%s: refused while the clock stands still", name)
			}
		}
		if g.set(-time.Second); g.sent(Policy{}, 0) {
			t.Errorf("%s: set back, and not noticed", name)
		}
	}
}

// A store that takes its time may forget a nonce after the guard has looked.
func TestClockGuardLooksAgain(t *testing.T) {
	t.Parallel()
	g := newGuardTest(guardStart)
	g.sent(Policy{}, 0)
	g.pass(6*time.Minute - 2*time.Second)
	g.set(-3 * time.Minute)
	i := g.at(g.wallClock)
	if g.blind(i) {
		t.Fatal("refused while it is remembered")
	}
	g.elapsed += 2 * time.Second
	if g.admit(i, nil) {
		t.Error("admitted though it is forgotten")
	}
}

func TestClockGuardConcurrently(t *testing.T) {
	t.Parallel()
	g := newClockGuard(guardStart)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for k := range 1000 {
				now := guardStart.Add(time.Duration(n*1000+k) * time.Millisecond)
				i := g.at(now)
				if g.blind(i) || !g.admit(i, []Nonce{{Expires: now.Add(time.Minute)}}) {
					t.Error("refused")
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkClockGuard(b *testing.B) {
	g := newClockGuard(time.Now())
	nonces := []Nonce{{}}
	b.ReportAllocs()
	for b.Loop() {
		now := time.Now()
		nonces[0].Expires, nonces[0].freshUntil = now.Add(6*time.Minute), now.Add(5*time.Minute)
		if i := g.at(now); g.blind(i) || !g.admit(i, nonces) {
			b.Fatal("refused")
		}
	}
}
