package storetest

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// A Clocked store has a clock that the test sets.
type Clocked struct {
	flyext.ReplayLookup
	Set   func(now time.Time)
	Clean func() // drops expired nonces
}

// life is the time from signing a request until its nonce expires.
const life = 6 * time.Minute

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// nonce returns a nonce that expires at the given time after the start.
func nonce(number int, expires time.Duration) flyext.Nonce {
	n := flyext.Nonce{Expires: start.Add(expires)}
	binary.BigEndian.PutUint64(n.Key[8:], uint64(number))
	return n
}

// wantExpired checks that Use returns flyext.ErrNonceExpired.
func wantExpired(t *testing.T, s flyext.ReplayStore, n flyext.Nonce) {
	t.Helper()
	if fresh, err := s.Use(t.Context(), n); fresh || !errors.Is(err, flyext.ErrNonceExpired) {
		t.Fatalf("got %t, %v, want %v", fresh, err, flyext.ErrNonceExpired)
	}
}

// Clocks checks that no duplicate is accepted, however the store's clock steps.
// newStore returns an empty store.
func Clocks(t *testing.T, newStore func(t *testing.T) Clocked) {
	for _, test := range []struct {
		name  string
		steps []time.Duration // of the store's clock, after the start
	}{
		{"forwards", []time.Duration{time.Hour}},
		{"back", []time.Duration{-time.Hour}},
		{"forwards and back", []time.Duration{time.Hour, 0}},
		{"forwards, back, forwards and back", []time.Duration{time.Hour, -time.Hour, 2 * time.Hour, 0}},
		{"forwards in small steps, and back", []time.Duration{life - time.Second, life, life + time.Second, 0}},
		{"to where the nonce just lives, and back", []time.Duration{life - time.Millisecond, 0}},
		{"years ahead, and back", []time.Duration{20 * 365 * 24 * time.Hour, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			s.Set(start)
			used := nonce(1, life)
			WantUse(t, s, used, true)
			for _, step := range test.steps {
				s.Set(start.Add(step))
				s.Clean()
				wantRefused(t, s, used)
			}
		})
	}
	t.Run("expired", func(t *testing.T) { t.Parallel(); expired(t, newStore(t)) })
	t.Run("events have no horizon", func(t *testing.T) { t.Parallel(); events(t, newStore(t)) })
	t.Run("at random", func(t *testing.T) { t.Parallel(); random(t, newStore(t)) })
}

// expired uses nonces that the store may have dropped.
func expired(t *testing.T, s Clocked) {
	s.Set(start)
	wantExpired(t, s, nonce(1, 0))
	wantExpired(t, s, nonce(2, -time.Hour))
	WantUse(t, s, nonce(3, life), true)
	s.Set(start.Add(time.Hour))
	s.Clean()
	WantUse(t, s, nonce(4, time.Hour+life), true)
	s.Set(start)
	wantExpired(t, s, nonce(3, life))                    // dropped
	wantExpired(t, s, nonce(5, life-time.Second))        // earlier than the horizon
	WantUse(t, s, nonce(6, life+time.Millisecond), true) // later than the horizon
	WantUse(t, s, nonce(4, time.Hour+life), false)
}

// events uses the nonces of events, which expire a day after receipt.
func events(t *testing.T, s Clocked) {
	const day = 24 * time.Hour
	s.Set(start)
	event := nonce(1, day)
	event.OnReceipt = true
	WantUsed(t, s, event, false)
	WantUse(t, s, event, true)
	event.Expires = start.Add(day + time.Minute) // a duplicate that another machine receives later
	WantUsed(t, s, event, true)
	WantUse(t, s, event, false)
	s.Set(start.Add(2 * day))
	s.Clean()
	other := nonce(2, 3*day)
	other.OnReceipt = true
	WantUse(t, s, other, true)
	s.Set(start)
	s.Clean()
	WantUse(t, s, nonce(3, life), true) // the dropped event did not raise the horizon
	WantUsed(t, s, event, false)
	WantUse(t, s, event, true)
}

// wantRefused checks that a duplicate is refused.
func wantRefused(t *testing.T, s flyext.ReplayStore, n flyext.Nonce) {
	t.Helper()
	if fresh, err := s.Use(t.Context(), n); fresh || err != nil && !errors.Is(err, flyext.ErrNonceExpired) {
		t.Fatalf("got %t, %v for a duplicate", fresh, err)
	}
}

// random moves and steps the clock at random. It uses nonces that expire around
// that time, and duplicates of earlier ones.
func random(t *testing.T, s Clocked) {
	r := rand.New(rand.NewPCG(1, 2))
	between := func(low, high time.Duration) time.Duration {
		return (low + time.Duration(r.Int64N(int64(high-low)))).Truncate(time.Millisecond)
	}
	var admitted []flyext.Nonce
	var now time.Duration
	refused := 0
	for number := range 400 {
		now += between(0, time.Minute)
		if r.IntN(8) == 0 {
			now += between(-time.Hour, time.Hour)
		}
		s.Set(start.Add(now))
		if r.IntN(4) == 0 {
			s.Clean()
		}
		n := nonce(number, now+between(-life, 2*life))
		switch fresh, err := s.Use(t.Context(), n); {
		case fresh:
			admitted = append(admitted, n)
		case errors.Is(err, flyext.ErrNonceExpired):
			refused++
		default:
			t.Fatalf("got %t, %v", fresh, err)
		}
		for range min(3, len(admitted)) {
			wantRefused(t, s, admitted[r.IntN(len(admitted))])
		}
	}
	if len(admitted) < 50 || refused < 50 {
		t.Errorf("%d accepted, %d refused, want at least 50 of each", len(admitted), refused)
	}
}
