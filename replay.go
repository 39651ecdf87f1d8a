package flyext

import (
	"context"
	"errors"
	"time"

	"github.com/flyext/flyext/internal/replay"
)

// A ReplayStore remembers which nonces were used.
//
// Use enters a nonce and reports whether it is fresh, that is, was not there
// before; both in one atomic step, because of two copies of a request that
// arrive at the same instant exactly one may pass. The nonce stays until it
// expires at least. A store that cannot tell returns an error, and the request
// is answered with 503: it is never let through. It should forget by a clock that
// nobody sets back; an [Authenticator] notices if [Config.Now] is.
//
// A service on several machines needs a store that they share. It must be safe
// for concurrent use.
type ReplayStore interface {
	Use(ctx context.Context, n Nonce) (fresh bool, err error)
}

// ErrNonceExpired reports that a nonce's expiry is not after the clock of the
// [ReplayStore], so the store could have forgotten a copy of it. A store returns
// an error that wraps it instead of reporting such a nonce as fresh. The request
// is answered with 503, and the log names the store's clock as the cause.
var ErrNonceExpired = errors.New("the store's clock is past the nonce's expiry")

// A ReplayLookup is a [ReplayStore] that can also tell whether a nonce was used
// and has not expired, without using it up.
//
// [EventReceiver] is the reason for it: an event is remembered after it was
// received, not before, and has to be looked up first. With it, what one machine
// has received is known to all that share the store; without it, each machine
// knows its own. A store that cannot tell returns an error, and the event is
// answered with 503.
type ReplayLookup interface {
	ReplayStore
	Used(ctx context.Context, n Nonce) (used bool, err error)
}

// defaultReplayCapacity holds the nonces of over 2,000 requests a second.
const defaultReplayCapacity = 1 << 20

// NewMemoryReplayStore returns a [ReplayStore] for a service on one machine. It
// holds at most capacity live nonces (0 means 1,048,576). Full of live ones it
// returns an error instead of dropping any. now is the clock; nil means
// [time.Now].
//
// It takes memory only for the nonces that it holds, 40 bytes each where there
// are many, and gives it back. Check and entry are one step, which takes the
// same time however many there are. Nonces are forgotten after they have
// expired, in the order in which they came: one that lives long keeps those
// that came after it.
func NewMemoryReplayStore(capacity int, now func() time.Time) ReplayStore {
	if capacity <= 0 {
		capacity = defaultReplayCapacity
	}
	if now == nil {
		now = time.Now
	}
	return memoryReplayStore{replay.New(capacity, now)}
}

type memoryReplayStore struct{ cache *replay.Cache }

// Use implements [ReplayStore].
func (s memoryReplayStore) Use(_ context.Context, n Nonce) (bool, error) {
	return s.cache.Enter(n.Key, n.Expires)
}

// memoryLookup is what a [Provider] remembers of events where no store can tell
// it. It is apart from the nonces, which live for minutes and must neither wait
// behind what lives for a day nor find the memory full of it.
type memoryLookup struct{ memoryReplayStore }

func newMemoryLookup(now func() time.Time) ReplayLookup {
	return memoryLookup{memoryReplayStore{replay.New(defaultReplayCapacity, now)}}
}

// Used implements [ReplayLookup].
func (s memoryLookup) Used(_ context.Context, n Nonce) (bool, error) {
	return s.cache.Has(n.Key), nil
}
