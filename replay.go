package flyext

import (
	"context"
	"errors"
	"time"

	"github.com/flyext/flyext/internal/replay"
)

// A ReplayStore remembers used nonces. A service on several machines needs a store that
// they share. A store must be safe for concurrent use.
//
// A copy of a message has the [Nonce.Expires] of the original. Verifiers that share a
// store and verify the same messages therefore need the same [Policy.MaxAge] and
// [Policy.ClockSkew].
type ReplayStore interface {
	// Use enters a nonce and reports whether it is fresh, that is, new to the store.
	// Check and entry must be one atomic step, so that only one of two simultaneous
	// copies of a request is accepted.
	//
	// Use must refuse every nonce that the store could have forgotten, whatever happens
	// to any clock. It returns an error that wraps [ErrNonceExpired] if n.Expires is
	// not after the store's clock, or not after the latest expiry among the nonces that
	// the store has dropped. After an error the client gets 503. The nonce of an event
	// is entered after its delivery, so that error is only logged.
	Use(ctx context.Context, n Nonce) (fresh bool, err error)
}

// ErrNonceExpired reports a nonce that has expired by the clock of the [ReplayStore], so
// that the store could have forgotten it. The client gets 503, and the log names the
// clocks as the cause.
var ErrNonceExpired = replay.ErrExpired

// A ReplayLookup is a [ReplayStore] that can also look a nonce up. An [EventReceiver]
// needs it to detect duplicates across machines, because an event is remembered only
// after its delivery. Without it, each machine detects its own duplicates.
type ReplayLookup interface {
	ReplayStore
	// Used reports whether a nonce was used. It may do so for some time after the nonce
	// has expired. It does not enter the nonce. After an error the client gets 503.
	Used(ctx context.Context, n Nonce) (used bool, err error)
}

// defaultReplayCapacity holds the nonces of over 2,000 requests a second.
const defaultReplayCapacity = 1 << 20

// NewMemoryReplayStore returns a [ReplayStore] for a service in one process. It holds
// at most capacity live nonces (0 or less means 1,048,576); its Use returns an error
// when it is full. now is the clock; nil means [time.Now].
//
// When there are many nonces, each takes at most 32 bytes. The store groups nonces by
// ten seconds of expiry and drops each group as a whole, which frees its memory. It is
// safe for concurrent use.
func NewMemoryReplayStore(capacity int, now func() time.Time) ReplayStore {
	if capacity <= 0 {
		capacity = defaultReplayCapacity
	}
	return &memoryReplayStore{replay.NewCalendar(capacity), clock(now)}
}

type memoryReplayStore struct {
	calendar *replay.Calendar
	now      func() time.Time
}

func (s *memoryReplayStore) Use(_ context.Context, n Nonce) (bool, error) {
	return s.calendar.Use(n.Key, n.Expires, s.now())
}

// memoryLookup remembers events if the ReplayStore is not a [ReplayLookup]. It is
// separate from the nonces, which expire within minutes.
type memoryLookup struct {
	recent *replay.Recent
	now    func() time.Time
}

func newMemoryLookup(now func() time.Time) ReplayLookup {
	return &memoryLookup{replay.NewRecent(defaultReplayCapacity, eventMemory), now}
}

func (s *memoryLookup) Use(_ context.Context, n Nonce) (bool, error) {
	return s.recent.Add(n.Key, s.now()), nil
}

func (s *memoryLookup) Used(_ context.Context, n Nonce) (bool, error) {
	return s.recent.Has(n.Key, s.now()), nil
}

// replayUnavailable returns the response to a failure of the replay store.
func replayUnavailable(err error) error {
	if errors.Is(err, ErrNonceExpired) {
		err = errors.Join(errors.New("the clocks of the verifier and of the replay store differ; synchronize them"), err)
	}
	return &Error{Status: 503, Code: CodeReplayUnavailable, Message: "Try again in a moment.", Err: err}
}
