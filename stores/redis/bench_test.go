package redisstore_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/servertest"
	redisstore "github.com/flyext/flyext/stores/redis"
	"github.com/redis/go-redis/v9"
)

// random returns a new nonce.
func random() flyext.Nonce {
	var key [16]byte
	binary.BigEndian.PutUint64(key[:], rand.Uint64())
	binary.BigEndian.PutUint64(key[8:], rand.Uint64())
	return flyext.Nonce{Key: key, Expires: time.Now().Add(6 * time.Minute)}
}

// BenchmarkUse enters new nonces in a Redis on loopback.
func BenchmarkUse(b *testing.B) {
	for _, fsync := range []string{"everysec", "always"} {
		server := servertest.Redis(b, "--appendfsync", fsync)
		store, _ := newStore(b, server.Addr(), redisstore.Options{Timeout: time.Minute})
		use := func(b *testing.B) {
			if fresh, err := store.Use(context.Background(), random()); !fresh || err != nil {
				b.Errorf("got %t, %v", fresh, err)
			}
		}
		b.Run("appendfsync="+fsync+"/one", func(b *testing.B) {
			for b.Loop() {
				use(b)
			}
		})
		b.Run("appendfsync="+fsync+"/64at_once", func(b *testing.B) {
			b.SetParallelism(32) // times two cores
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					use(b)
				}
			})
		})
	}
}

// BenchmarkMemory reports the memory per live nonce. It includes the tables of the
// sorted sets, which are largest just after they have grown. The owners of the
// entries have expired by then.
func BenchmarkMemory(b *testing.B) {
	for _, nonces := range []int{100_000, 500_000, 540_000} {
		b.Run(strconv.Itoa(nonces), func(b *testing.B) {
			for b.Loop() {
				server := servertest.Redis(b, "--appendonly", "no")
				store, client := newStore(b, server.Addr(), redisstore.Options{Timeout: 5 * time.Second})
				before := usedMemory(b, client)
				var workers sync.WaitGroup
				const width = 50
				for range width {
					workers.Go(func() {
						for range nonces / width {
							nonce := random()
							nonce.Expires = time.Now().Add(time.Hour)
							if fresh, err := store.Use(context.Background(), nonce); !fresh || err != nil {
								b.Errorf("got %t, %v", fresh, err)
							}
						}
					})
				}
				workers.Wait()
				for keys := int64(33); keys > 32; { // 16 sets and at most 16 horizons
					var err error
					if keys, err = client.DBSize(b.Context()).Result(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(usedMemory(b, client)-before)/float64(nonces), "B/nonce")
				b.ReportMetric(0, "ns/op")
				server.Kill()
			}
		})
	}
}

func usedMemory(b *testing.B, client *redis.Client) int {
	b.Helper()
	info, err := client.Info(b.Context(), "memory").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if text, found := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); found {
			if n, err := strconv.Atoi(text); err == nil {
				return n
			}
		}
	}
	b.Fatal("INFO does not contain used_memory")
	return 0
}
