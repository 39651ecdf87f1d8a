package redisstore_test

import (
	"testing"
	"time"

	"github.com/flyext/flyext/internal/servertest"
	"github.com/flyext/flyext/internal/storetest"
	redisstore "github.com/flyext/flyext/stores/redis"
	"github.com/redis/go-redis/v9"
)

// TestBrokenConnections checks that a broken connection fails no request if Redis
// is back in time, with and without retries by the client.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	for _, retries := range []int{-1, 3} {
		newBroken := func(t *testing.T) (*servertest.Server, *redisstore.Store) {
			server := servertest.Redis(t)
			client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: retries, DialerRetries: max(1, retries), PoolSize: 20})
			t.Cleanup(func() { client.Close() })
			store, err := redisstore.New(client, redisstore.Options{Timeout: 20 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			return server, store
		}
		name := "the store alone"
		if retries > 0 {
			name = "client and store"
		}
		t.Run(name+"/cut", func(t *testing.T) {
			t.Parallel()
			server, store := newBroken(t)
			_, admin := newStore(t, server.Addr(), redisstore.Options{})
			storetest.Broken(t, store, func() {
				if err := admin.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
					t.Error(err)
				}
			}, nil)
		})
		t.Run(name+"/restarted", func(t *testing.T) {
			t.Parallel()
			server, store := newBroken(t)
			storetest.Broken(t, store, server.Restart, nil)
		})
		t.Run(name+"/down for a moment", func(t *testing.T) {
			t.Parallel()
			server, store := newBroken(t)
			storetest.Broken(t, store, server.Kill, server.Start)
		})
	}
}

// TestCheckTries checks that Check fails if a command of Use is missing.
func TestCheckTries(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"eval", "time", "zadd", "zrem", "zrangebyscore", "get", "set"} {
		t.Run("without "+command, func(t *testing.T) {
			t.Parallel()
			server := servertest.Redis(t, "--rename-command", command, "")
			store, _ := newStore(t, server.Addr(), redisstore.Options{Timeout: 20 * time.Second})
			if err := store.Check(t.Context()); err == nil {
				t.Error("Check succeeds, want an error")
			}
		})
	}
	t.Run("Check leaves no keys", func(t *testing.T) {
		t.Parallel()
		server := servertest.Redis(t)
		store, client := newStore(t, server.Addr(), redisstore.Options{Timeout: 20 * time.Second})
		if err := store.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if keys, err := client.Keys(t.Context(), "*").Result(); len(keys) != 0 || err != nil {
			t.Errorf("got keys %q, %v, want none", keys, err)
		}
	})
}

// TestFullRecovers fills the memory of Redis with nonces and checks that it accepts
// new ones after they have expired.
func TestFullRecovers(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t, "--maxmemory", "3mb", "--appendfsync", "no")
	store, _ := newStore(t, server.Addr(), redisstore.Options{Timeout: 20 * time.Second})
	now := time.Now()
	full := false
	for n := 0; n < 100_000 && !full; n++ {
		_, err := store.Use(t.Context(), storetest.Numbered(n))
		full = err != nil
	}
	if !full {
		t.Fatal("Redis does not become full")
	}
	old := storetest.Numbered(0)
	old.Expires = now.Add(6 * time.Minute)
	store.SetClock(now.Add(time.Hour))
	later := storetest.Numbered(200_000)
	later.Expires = now.Add(2 * time.Hour)
	storetest.WantUse(t, store, later, true)
	store.SetClock(now)
	if fresh, err := store.Use(t.Context(), old); fresh {
		t.Errorf("got %t, %v for a dropped nonce", fresh, err)
	}
}
