package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/servertest"
	"github.com/flyext/flyext/internal/storetest"
	redisstore "github.com/flyext/flyext/stores/redis"
	"github.com/redis/go-redis/v9"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silent{}) // go-redis logs a lot about killed servers
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// newStore returns a store with its own client, as on a separate machine.
func newStore(t testing.TB, addr string, o redisstore.Options) (*redisstore.Store, *redis.Client) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { client.Close() })
	store, err := redisstore.New(client, o)
	if err != nil {
		t.Fatal(err)
	}
	return store, client
}

// prefixes are the key prefixes by test. With -count a test runs several times.
var prefixes sync.Map

// own returns options with a prefix that no other test uses.
func own(t testing.TB) redisstore.Options {
	prefix, _ := prefixes.LoadOrStore(t, fmt.Sprintf("%x:", rand.Uint64()))
	return redisstore.Options{Prefix: prefix.(string), Timeout: 20 * time.Second} // for a busy machine
}

func TestOnce(t *testing.T) {
	t.Parallel()
	addr := servertest.SharedRedis(t)
	a, _ := newStore(t, addr, own(t))
	b, _ := newStore(t, addr, own(t))
	storetest.Once(t, 10, a, b)
	others, _ := newStore(t, addr, redisstore.Options{Prefix: "another:" + own(t).Prefix, Timeout: 20 * time.Second})
	storetest.WantUse(t, others, storetest.Numbered(1), true)
}

// TestRace makes two machines compete for each nonce with 32 requests each.
func TestRace(t *testing.T) {
	t.Parallel()
	addr := servertest.SharedRedis(t)
	a, _ := newStore(t, addr, own(t))
	b, _ := newStore(t, addr, own(t))
	storetest.Race(t, 300, a, b)
}

// TestClocks steps Redis's clock. Keys must have no time to live, because the store
// would not notice their removal.
func TestClocks(t *testing.T) {
	t.Parallel()
	addr := servertest.SharedRedis(t)
	storetest.Clocks(t, func(t *testing.T) storetest.Clocked {
		store, client := newStore(t, addr, own(t))
		t.Cleanup(func() {
			for _, kept := range []string{"", "horizon"} {
				left, err := client.TTL(context.Background(), own(t).Prefix+"{nonces-0}"+kept).Result()
				if left >= 0 || err != nil {
					t.Errorf("%q has the time to live %v, %v, want none", kept, left, err)
				}
			}
		})
		entries := 1_000_000
		return storetest.Clocked{ReplayLookup: store, Set: store.SetClock, Clean: func() { // an entry drops expired nonces
			entries++
			other := storetest.Numbered(entries)
			other.Expires = time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)
			for _, other.OnReceipt = range []bool{false, true} {
				storetest.WantUse(t, store, other, true)
			}
		}}
	})
}

// TestOwnClock uses nonces that have expired by Redis's own clock.
func TestOwnClock(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t, servertest.SharedRedis(t), own(t))
	nonce := storetest.Numbered(1)
	for _, expires := range []time.Time{time.Unix(0, 0), time.Now().Add(-time.Second)} {
		nonce.Expires = expires
		if fresh, err := store.Use(t.Context(), nonce); fresh || !errors.Is(err, flyext.ErrNonceExpired) {
			t.Errorf("got %t, %v", fresh, err)
		}
	}
	storetest.WantUse(t, store, storetest.Numbered(1), true)
}

// TestBounded checks that a set has about as many nonces as are live.
func TestBounded(t *testing.T) {
	t.Parallel()
	store, client := newStore(t, servertest.SharedRedis(t), own(t))
	for n := range 3_000 {
		now := time.Unix(1_800_000_000+int64(n), 0)
		store.SetClock(now)
		nonce := storetest.Numbered(n)
		nonce.Expires = now.Add(time.Minute)
		storetest.WantUse(t, store, nonce, true)
	}
	left, err := client.ZCard(t.Context(), own(t).Prefix+"{nonces-0}").Result()
	if left > 60 || err != nil {
		t.Errorf("got %d nonces, %v, want at most the 60 live ones", left, err)
	}
}

// counter counts the commands and pipelines that a client sends.
type counter struct {
	redis.Hook
	sent atomic.Int64
}

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.sent.Add(1)
		return next(ctx, cmd)
	}
}
func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.sent.Add(1)
		return next(ctx, cmds)
	}
}

func TestOneRoundTrip(t *testing.T) {
	t.Parallel()
	store, client := newStore(t, servertest.SharedRedis(t), own(t))
	storetest.WantUse(t, store, storetest.Numbered(0), true)
	count := &counter{}
	client.AddHook(count)
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"fresh", func() { storetest.WantUse(t, store, storetest.Numbered(1), true) }},
		{"used", func() { storetest.WantUse(t, store, storetest.Numbered(1), false) }},
		{"looked up", func() { storetest.WantUsed(t, store, storetest.Numbered(1), true) }},
	} {
		before := count.sent.Load()
		if step.do(); count.sent.Load()-before != 1 {
			t.Errorf("%s: %d round trips, want 1", step.name, count.sent.Load()-before)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	var none *redis.Client
	for _, test := range []struct {
		name   string
		client redis.Cmdable
		o      redisstore.Options
		want   string // in the error; "" means no error
	}{
		{"defaults", client, redisstore.Options{}, ""},
		{"all options", client, redisstore.Options{Prefix: "a-b_c:d/", Timeout: time.Minute, Replicas: 2}, ""},
		{"several machines", ring, redisstore.Options{}, ""},
		{"no client", nil, redisstore.Options{}, "client is nil"},
		{"typed nil client", none, redisstore.Options{}, "client is nil"},
		{"prefix with a space", client, redisstore.Options{Prefix: "a b"}, "Prefix"},
		{"prefix with a line break", client, redisstore.Options{Prefix: "a\n"}, "Prefix"},
		{"prefix with braces", client, redisstore.Options{Prefix: "{a}"}, "Prefix"},
		{"prefix that is not ASCII", client, redisstore.Options{Prefix: "ä"}, "Prefix"},
		{"long prefix", client, redisstore.Options{Prefix: strings.Repeat("a", 65)}, "Prefix"},
		{"negative timeout", client, redisstore.Options{Timeout: -1}, "Timeout"},
		{"negative replicas", client, redisstore.Options{Replicas: -1}, "Replicas"},
		{"replicas of a ring", ring, redisstore.Options{Replicas: 1}, "*redis.Client"},
	} {
		store, err := redisstore.New(test.client, test.o)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		} else if store != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, %v, want an error with %q", test.name, store, err, test.want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		want []error
	}{
		{"append-only file, unlimited memory", nil, nil},
		{"refuses writes when full", []string{"--maxmemory", "64mb"}, nil},
		{"evicts", []string{"--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"}, []error{redisstore.ErrEvicts}},
		{"evicts keys that expire", []string{"--maxmemory", "64mb", "--maxmemory-policy", "volatile-ttl"}, []error{redisstore.ErrEvicts}},
		{"evicting policy, unlimited memory", []string{"--maxmemory-policy", "allkeys-lru"}, nil},
		{"no append-only file", []string{"--appendonly", "no"}, []error{redisstore.ErrVolatile}},
		{"both", []string{"--appendonly", "no", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"},
			[]error{redisstore.ErrVolatile, redisstore.ErrEvicts}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store, _ := newStore(t, servertest.Redis(t, test.args...).Addr(), redisstore.Options{Timeout: 20 * time.Second})
			err := store.Check(t.Context())
			if len(test.want) == 0 && err != nil {
				t.Errorf("got %v", err)
			}
			for _, want := range test.want {
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			}
		})
	}
}

// TestEvicted shows that an evicting Redis loses nonces, which Check reports.
func TestEvicted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		policy  string
		evicted bool
	}{{"allkeys-random", true}, {"noeviction", false}} {
		t.Run(test.policy, func(t *testing.T) {
			t.Parallel()
			server := servertest.Redis(t, "--maxmemory", "3mb", "--maxmemory-policy", test.policy, "--appendfsync", "no")
			store, client := newStore(t, server.Addr(), redisstore.Options{Timeout: 20 * time.Second})
			const nonces = 40_000
			full := 0
			for n := range nonces {
				fresh, err := store.Use(t.Context(), storetest.Numbered(n))
				if err != nil {
					full++
				}
				if fresh && err != nil {
					t.Fatal("a full store accepted a request")
				}
				if full > 10 {
					break
				}
			}
			kept, err := client.DBSize(t.Context()).Result()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d nonces stored, %d requests refused", kept, full)
			if test.evicted != (full == 0) || test.evicted != (kept < nonces/2 && full == 0) {
				t.Errorf("want evicted %t", test.evicted)
			}
		})
	}
}

// TestDivided checks that the nonces are in 16 sets, which a cluster distributes.
func TestDivided(t *testing.T) {
	t.Parallel()
	store, client := newStore(t, servertest.SharedRedis(t), own(t))
	for n := range 16 {
		nonce := storetest.Numbered(n)
		nonce.Key[0] = byte(n << 4)
		storetest.WantUse(t, store, nonce, true)
		storetest.WantUse(t, store, nonce, false)
	}
	keys, err := client.Keys(t.Context(), own(t).Prefix+"{nonces-?}").Result()
	if len(keys) != 16 || err != nil {
		t.Errorf("got sets %q, %v, want 16", keys, err)
	}
}
