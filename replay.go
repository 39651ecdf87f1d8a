package flyext

import (
	"context"
	"errors"
	"time"

	"github.com/flyext/flyext/internal/replay"
)

// A ReplayStore remembers which nonces were used.
//
// Use enters a nonce and reports whether it is fresh, which means that it was not
// there before. Check and entry are one atomic step: of two copies of a request
// that arrive at the same instant exactly one may pass.
//
// A store refuses whatever it could have forgotten, so that no step of a clock
// brings a used nonce back. It returns an error that wraps [ErrNonceExpired] for a
// nonce that expires at or before the store's own clock, or at or before the
// latest expiry among the nonces that it has dropped. A copy of a message has
// the [Nonce.Expires] of the original. Verifiers that share a store and verify the
// same messages therefore need the same [Policy.MaxAge] and [Policy.ClockSkew].
//
// A store that cannot tell returns an error. The request is then answered with
// 503. A service on several machines needs a store that they share. A store must
// be safe for concurrent use.
type ReplayStore interface {
	Use(ctx context.Context, n Nonce) (fresh bool, err error)
}

// ErrNonceExpired reports that a nonce's expiry is not after the clock of the
// [ReplayStore], so the store could have forgotten a copy of it. A store returns
// an error that wraps it instead of reporting such a nonce as fresh. The request
// is answered with 503, and the log names the store's clock as the cause.
var ErrNonceExpired = replay.ErrExpired

// A ReplayLookup is a [ReplayStore] that can also report whether a nonce was used
// and has not expired, without using it up.
//
// An [EventReceiver] needs it, because an event is remembered after it was
// received: the event has to be looked up first. With a shared ReplayLookup, all
// machines know the events that one of them has received. Without it, each machine
// knows its own. A store that cannot tell returns an error, and the event is
// answered with 503.
type ReplayLookup interface {
	ReplayStore
	Used(ctx context.Context, n Nonce) (used bool, err error)
}

// defaultReplayCapacity holds the nonces of over 2,000 requests a second.
const defaultReplayCapacity = 1 << 20

// NewMemoryReplayStore returns a [ReplayStore] for a service in one process. It
// holds at most capacity live nonces (0 means 1,048,576) and returns an error when
// it is full. now is the clock; nil means [time.Now].
//
// A live nonce takes at most 32 bytes where there are many. The store keeps the
// nonces of each ten seconds of expiry together and drops them together, so memory
// is given back. It is safe for concurrent use.
func NewMemoryReplayStore(capacity int, now func() time.Time) ReplayStore {
	if capacity <= 0 {
		capacity = defaultReplayCapacity
	}
	if now == nil {
		now = time.Now
	}
	return &memoryReplayStore{replay.NewCalendar(capacity), now}
}

type memoryReplayStore struct {
	calendar *replay.Calendar
	now      func() time.Time
}

// Use implements [ReplayStore].
func (s *memoryReplayStore) Use(_ context.Context, n Nonce) (bool, error) {
	return s.calendar.Use(n.Key, n.Expires, s.now())
}

// memoryLookup remembers events where the ReplayStore is no [ReplayLookup]. It is
// apart from the nonces, which live for minutes.
type memoryLookup struct {
	recent *replay.Recent
	now    func() time.Time
}

func newMemoryLookup(now func() time.Time) ReplayLookup {
	return &memoryLookup{replay.NewRecent(defaultReplayCapacity, eventMemory), now}
}

// Use implements [ReplayStore].
func (s *memoryLookup) Use(_ context.Context, n Nonce) (bool, error) {
	return s.recent.Add(n.Key, s.now()), nil
}

// Used implements [ReplayLookup].
func (s *memoryLookup) Used(_ context.Context, n Nonce) (bool, error) {
	return s.recent.Has(n.Key), nil
}

// replayUnavailable is the answer when the replay store could not tell.
func replayUnavailable(err error) error {
	if errors.Is(err, ErrNonceExpired) {
		err = errors.Join(errors.New("the clocks of the verifier and of the replay store differ"), err)
	}
	return &Error{Status: 503, Code: CodeReplayUnavailable, Message: "Try again in a moment.", Err: err}
}
