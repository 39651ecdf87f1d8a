package bench

import (
	"context"
	"sync"
	"time"

	"github.com/common-fate/httpsig/inmemory"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/maypok86/otter/v2"
	gocache "github.com/patrickmn/go-cache"

	"github.com/flyext/flyext"
)

// A store remembers nonces, or is a cache used for that purpose.
type store interface {
	Use(ctx context.Context, n flyext.Nonce) (fresh bool, err error)
}

type opener = func(capacity int, clock *virtual) store

// A replayStore is a store to measure.
type replayStore struct {
	name string
	open opener
	// clocked reports whether the store uses the virtual clock. The others use the
	// system clock, so a million nonces would take six minutes to expire.
	clocked bool
}

var replayStores = []replayStore{
	{"flyext", func(capacity int, c *virtual) store { return flyext.NewMemoryReplayStore(capacity, c.now) }, true},
	{"map-mutex", func(_ int, c *virtual) store { return &mapStore{now: c.now, used: map[[16]byte]time.Time{}} }, true},
	{"otter", openOtter, true},
	{"golang-lru", openLRU, false},
	{"ristretto", openRistretto, false},
	{"go-cache", openGoCache, false},
	{"common-fate", func(int, *virtual) store { return commonFateStore{inmemory.NewNonceStorage()} }, false},
}

// A mapStore is the simplest store: a map with a mutex. Once a minute it removes
// all expired nonces. Its size is unlimited.
type mapStore struct {
	now   func() time.Time
	mu    sync.Mutex
	used  map[[16]byte]time.Time
	swept time.Time
}

func (s *mapStore) Use(_ context.Context, n flyext.Nonce) (bool, error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.swept) > time.Minute {
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

type otterStore struct {
	cache *otter.Cache[[16]byte, struct{}]
}

// otterClock is the virtual clock. It never triggers a clean-up in the background.
type otterClock struct{ *virtual }

func (c otterClock) NowNano() int64                      { return c.elapsed.Load() }
func (c otterClock) Tick(time.Duration) <-chan time.Time { return nil }

func openOtter(capacity int, clock *virtual) store {
	return otterStore{otter.Must(&otter.Options[[16]byte, struct{}]{
		MaximumSize: capacity, ExpiryCalculator: otter.ExpiryWriting[[16]byte, struct{}](lifetime), Clock: otterClock{clock},
	})}
}

func (s otterStore) Use(_ context.Context, n flyext.Nonce) (bool, error) {
	_, fresh := s.cache.SetIfAbsent(n.Key, struct{}{})
	return fresh, nil
}

// An lruStore has its own mutex, because the cache cannot check and add in one
// step.
type lruStore struct {
	mu    sync.Mutex
	cache *expirable.LRU[[16]byte, struct{}]
}

func openLRU(capacity int, _ *virtual) store {
	return &lruStore{cache: expirable.NewLRU[[16]byte, struct{}](capacity, nil, lifetime)}
}

func (s *lruStore) Use(_ context.Context, n flyext.Nonce) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cache.Contains(n.Key) {
		return false, nil
	}
	s.cache.Add(n.Key, struct{}{})
	return true, nil
}

type ristrettoStore struct {
	mu    sync.Mutex
	cache *ristretto.Cache[string, struct{}]
}

func openRistretto(capacity int, _ *virtual) store {
	cache, err := ristretto.NewCache(&ristretto.Config[string, struct{}]{
		NumCounters: 10 * int64(capacity), MaxCost: int64(capacity), BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		panic(err)
	}
	return &ristrettoStore{cache: cache}
}

func (s *ristrettoStore) Use(_ context.Context, n flyext.Nonce) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := string(n.Key[:])
	if _, used := s.cache.Get(text); used {
		return false, nil
	}
	s.cache.SetWithTTL(text, struct{}{}, 1, lifetime)
	return true, nil
}

type goCacheStore struct{ cache *gocache.Cache }

func openGoCache(int, *virtual) store { return goCacheStore{gocache.New(lifetime, time.Minute)} }

func (s goCacheStore) Use(_ context.Context, n flyext.Nonce) (bool, error) {
	return s.cache.Add(string(n.Key[:]), struct{}{}, lifetime) == nil, nil
}

// commonFateStore has no size limit and never removes a nonce.
type commonFateStore struct{ nonces *inmemory.Nonce }

func (s commonFateStore) Use(ctx context.Context, n flyext.Nonce) (bool, error) {
	seen, err := s.nonces.Seen(ctx, string(n.Key[:]))
	return !seen, err
}
