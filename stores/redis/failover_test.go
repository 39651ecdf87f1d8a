package redisstore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/servertest"
	"github.com/flyext/flyext/internal/storetest"
	redisstore "github.com/flyext/flyext/stores/redis"
	"github.com/redis/go-redis/v9"
)

// replicaOf starts a replica and waits until it has synchronized.
func replicaOf(t *testing.T, master *servertest.Server) (*servertest.Server, *redis.Client) {
	t.Helper()
	host, port, err := net.SplitHostPort(master.Addr())
	if err != nil {
		t.Fatal(err)
	}
	server := servertest.Redis(t, "--replicaof", host, port)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { client.Close() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		info, err := client.Info(t.Context(), "replication").Result()
		if strings.Contains(info, "master_link_status:up") {
			return server, client
		}
		if time.Now().After(deadline) {
			t.Fatalf("the replica does not synchronize: %v\n%s", err, info)
		}
	}
}

// TestFailover promotes a replica and redirects the client to it.
func TestFailover(t *testing.T) {
	t.Parallel()
	master := servertest.Redis(t, "--repl-diskless-sync-delay", "0")
	replica, onReplica := replicaOf(t, master)
	var at atomic.Value
	at.Store(master.Addr())
	client := redis.NewClient(&redis.Options{Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", at.Load().(string))
	}})
	t.Cleanup(func() { client.Close() })
	store, err := redisstore.New(client, redisstore.Options{Timeout: storetest.Timeout, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	storetest.WantRecovery(t, store, 0)
	used := flyext.Nonce{Key: [16]byte{1}, Expires: time.Now().Add(6 * time.Minute)}
	for deadline := time.Now().Add(time.Minute); ; used.Key[1]++ {
		if fresh, err := store.Use(t.Context(), used); fresh && err == nil {
			break // the replica has it, too
		}
		if time.Now().After(deadline) {
			t.Fatal("no nonce was accepted")
		}
	}

	replica.Freeze()
	storetest.WantFailure(t, store, storetest.Numbered(5_000))
	waiting, err := redisstore.New(client, redisstore.Options{Timeout: 2 * time.Second, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := storetest.WantFailure(t, waiting, storetest.Numbered(5_001)); err == nil || !strings.Contains(err.Error(), "0 of 1 replicas") {
		t.Errorf("a nonce without a replica: got %v", err)
	}
	replica.Thaw()

	master.Kill()
	at.Store(replica.Addr())
	err = storetest.WantFailure(t, store, used) // not promoted yet
	t.Logf("before the promotion: %v", err)
	if err := onReplica.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	after, err := redisstore.New(client, redisstore.Options{Timeout: storetest.Timeout})
	if err != nil {
		t.Fatal(err)
	}
	storetest.WantRecovery(t, after, 10_000)
	storetest.WantUse(t, after, used, false)
	storetest.WantFailure(t, store, storetest.Numbered(20_000)) // it has no replica now
}

// TestCluster uses a cluster of one machine, which is down until it has all slots.
func TestCluster(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t, "--cluster-enabled", "yes")
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Addr()}})
	t.Cleanup(func() { client.Close() })
	store, err := redisstore.New(client, redisstore.Options{Timeout: storetest.Timeout})
	if err != nil {
		t.Fatal(err)
	}
	storetest.WantFailure(t, store, storetest.Numbered(1))
	single := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { single.Close() })
	if err := single.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	storetest.WantRecovery(t, store, 1_000)
	patient, err := redisstore.New(client, redisstore.Options{Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	storetest.Race(t, 20, patient, patient)
	if err := patient.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := single.ConfigSet(t.Context(), "appendonly", "no").Err(); err != nil {
		t.Fatal(err)
	}
	if err := patient.Check(t.Context()); !errors.Is(err, redisstore.ErrVolatile) {
		t.Errorf("got %v", err)
	}
}
