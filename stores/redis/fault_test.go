package redisstore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/servertest"
	"github.com/flyext/flyext/internal/storetest"
	redisstore "github.com/flyext/flyext/stores/redis"
	"github.com/redis/go-redis/v9"
)

func TestOutOfOrder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		break_, mend func(*servertest.Server)
	}{
		{"killed", (*servertest.Server).Kill, (*servertest.Server).Start},
		{"frozen", (*servertest.Server).Freeze, (*servertest.Server).Thaw},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := servertest.Redis(t)
			store, _ := newStore(t, server.Addr(), redisstore.Options{Timeout: storetest.Timeout})
			storetest.WantRecovery(t, store, 0)
			used := storetest.Numbered(1_000)
			storetest.WantUse(t, store, used, true)
			for round := range 2 {
				test.break_(server)
				storetest.WantFailure(t, store, used)
				storetest.WantFailure(t, store, storetest.Numbered(2_000+round))
				if looked, err := store.Used(t.Context(), used); looked || err == nil {
					t.Errorf("used: got %t, %v, want an error", looked, err)
				}
				if err := store.Check(t.Context()); err == nil {
					t.Error("it can be checked")
				}
				test.mend(server)
				storetest.WantRecovery(t, store, 10_000*(round+1))
				storetest.WantUse(t, store, used, false)
			}
		})
	}
}

// serve listens, and treats each connection.
func serve(t *testing.T, treat func(net.Conn)) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(t.Context(), func() { conn.Close() })
			go treat(conn)
		}
	}()
	return listener.Addr().String()
}

// readCommand reads what a client sends: an array of strings.
func readCommand(r *bufio.Reader) (words []string, err error) {
	number := func(prefix string) (n int) {
		line, readErr := r.ReadString('\n')
		if err = errors.Join(err, readErr); err == nil {
			n, err = strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, prefix)))
		}
		return n
	}
	for range number("*") {
		text := make([]byte, number("$")+2)
		if err != nil {
			break
		}
		_, err = io.ReadFull(r, text)
		words = append(words, strings.TrimSuffix(string(text), "\r\n"))
	}
	return words, err
}

func TestSilence(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t, serve(t, func(net.Conn) {}), redisstore.Options{Timeout: storetest.Timeout})
	if err := storetest.WantFailure(t, store, storetest.Numbered(1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if fresh, err := store.Use(ctx, storetest.Numbered(1)); fresh || !errors.Is(err, context.Canceled) {
		t.Errorf("the caller is gone: got %t, %v", fresh, err)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"-READONLY You can't write against a read only replica.",
		"-LOADING Redis is loading the dataset in memory",
		"-CLUSTERDOWN The cluster is down",
		"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
		"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
		"-OOM command not allowed when used memory > 'maxmemory'.",
		"-NOREPLICAS Not enough good replicas to write.",
		"-NOAUTH Authentication required.",
		"-NOPERM this user has no permissions to run the 'eval' command",
		"-WRONGTYPE Operation against a key holding the wrong kind of value",
		"-ERR syntax error",
		"-MOVED 1 127.0.0.1:1",
		"+OK",
		":1",
		"*0",
		"GET / HTTP/1.1",
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			addr := serve(t, func(conn net.Conn) {
				for r := bufio.NewReader(conn); ; {
					words, err := readCommand(r)
					if err != nil {
						return
					}
					if strings.EqualFold(words[0], "EVAL") {
						fmt.Fprintf(conn, "%s\r\n", answer)
					} else {
						fmt.Fprint(conn, "-ERR unknown command\r\n")
					}
				}
			})
			store, _ := newStore(t, addr, redisstore.Options{Timeout: storetest.Timeout})
			began := time.Now()
			fresh, err := store.Use(context.Background(), storetest.Numbered(1))
			if fresh || err == nil && answer[0] == '-' || time.Since(began) > storetest.Timeout+storetest.Slack {
				t.Errorf("got %t, %v after %v", fresh, err, time.Since(began))
			}
		})
	}
}

// TestLostAnswer cuts the connection before the answer to the first command comes
// through, so that the client sends it again. In between another machine gets a
// copy of the request.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	redisAddr := servertest.SharedRedis(t)
	var sent atomic.Int64
	between := make(chan struct{})
	proxy := serve(t, func(conn net.Conn) {
		defer conn.Close()
		server, err := net.Dial("tcp", redisAddr)
		if err != nil {
			return
		}
		defer server.Close()
		var cut atomic.Bool
		go func() {
			defer server.Close()
			for chunk := make([]byte, 4096); ; {
				n, err := conn.Read(chunk)
				if err != nil {
					return
				}
				if bytes.Contains(bytes.ToLower(chunk[:n]), []byte("\r\neval\r\n")) && sent.Add(1) == 1 {
					cut.Store(true)
				}
				server.Write(chunk[:n])
			}
		}()
		for chunk := make([]byte, 4096); ; {
			n, err := server.Read(chunk)
			if err == nil && cut.Load() {
				between <- struct{}{} // the other machine's turn
				<-between
			}
			if err != nil || cut.Load() {
				return
			}
			conn.Write(chunk[:n])
		}
	})
	client := redis.NewClient(&redis.Options{Addr: proxy})
	t.Cleanup(func() { client.Close() })
	store, err := redisstore.New(client, own(t))
	if err != nil {
		t.Fatal(err)
	}
	other, _ := newStore(t, redisAddr, own(t))
	nonce := storetest.Numbered(1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-between
		if fresh, err := other.Use(t.Context(), nonce); fresh || err != nil {
			t.Errorf("the copy: got %t, %v", fresh, err)
		}
		between <- struct{}{}
	}()
	storetest.WantUse(t, store, nonce, true)
	<-done
	if sent.Load() != 2 {
		t.Errorf("the command was sent %d times, want 2", sent.Load())
	}
	storetest.WantUse(t, store, storetest.Numbered(1), false)
}

// replicaOf starts a replica and returns when it has what its master has.
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
			t.Fatalf("no replica: %v\n%s", err, info)
		}
	}
}

// TestFailover goes from a master to its replica, to which an address is moved.
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
			break // acknowledged, by the replica, too
		}
		if time.Now().After(deadline) {
			t.Fatal("no nonce is acknowledged")
		}
	}

	replica.Freeze()
	storetest.WantFailure(t, store, storetest.Numbered(5_000))
	waiting, err := redisstore.New(client, redisstore.Options{Timeout: 2 * time.Second, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := storetest.WantFailure(t, waiting, storetest.Numbered(5_001)); err == nil || !strings.Contains(err.Error(), "0 of 1 replicas") {
		t.Errorf("a nonce that no replica has: got %v", err)
	}
	replica.Thaw()

	master.Kill()
	at.Store(replica.Addr())
	err = storetest.WantFailure(t, store, used) // it is there, and not the master yet
	t.Logf("before it takes over: %v", err)
	if err := onReplica.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	after, err := redisstore.New(client, redisstore.Options{Timeout: storetest.Timeout})
	if err != nil {
		t.Fatal(err)
	}
	storetest.WantRecovery(t, after, 10_000)
	storetest.WantUse(t, after, used, false)
	storetest.WantFailure(t, store, storetest.Numbered(20_000)) // it has no replica any more
}

// TestCluster has a cluster of one, which is down until a machine has its slots.
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

// TestSecretsStayOut has a client whose password is wrong.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	const password = "hunter2-of-the-tests"
	server := servertest.Redis(t, "--requirepass", "another")
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Password: password})
	t.Cleanup(func() { client.Close() })
	store, err := redisstore.New(client, redisstore.Options{Timeout: storetest.Timeout})
	if err != nil {
		t.Fatal(err)
	}
	if err := storetest.WantFailure(t, store, storetest.Numbered(1)); strings.Contains(err.Error(), password) {
		t.Errorf("the password is in %v", err)
	}
	if err := store.Check(t.Context()); err == nil || strings.Contains(err.Error(), password) {
		t.Errorf("got %v", err)
	}
}

// A provisioner counts its calls.
type provisioner struct{ calls atomic.Int64 }

func (p *provisioner) Provision(context.Context, *flyext.ProvisionRequest) (*flyext.Extension, error) {
	p.calls.Add(1)
	return &flyext.Extension{Secrets: flyext.Secrets{"A_URL": "https://a.example"}}, nil
}

func (p *provisioner) Update(context.Context, string, *flyext.UpdateRequest) (*flyext.Extension, error) {
	p.calls.Add(1)
	return &flyext.Extension{}, nil
}

// TestProvider: what a store cannot tell is answered with 503, and the service is
// not asked.
func TestProvider(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	var machines [2]http.Handler
	service := &provisioner{}
	for i := range machines {
		store, _ := newStore(t, server.Addr(), redisstore.Options{Timeout: 20 * time.Second})
		provider, err := flyext.New(service, flyext.Config{
			BaseURL: "http://127.0.0.1/flyio", Verifier: flyext.XSignature("a secret"), ReplayStore: store,
		})
		if err != nil {
			t.Fatal(err)
		}
		machines[i] = provider
	}
	impatient, _ := newStore(t, server.Addr(), redisstore.Options{Timeout: storetest.Timeout})
	hasty, err := flyext.New(service, flyext.Config{
		BaseURL: "http://127.0.0.1/flyio", Verifier: flyext.XSignature("a secret"), ReplayStore: impatient,
	})
	if err != nil {
		t.Fatal(err)
	}
	fly := &flytest.Platform{BaseURL: "http://127.0.0.1/flyio", Signer: flytest.XSignature("a secret")}
	sign := func() (send func(h http.Handler, status int, code string)) {
		r, err := fly.NewRequest(t.Context(), http.MethodPost, "/extensions", []byte(`{"id":"x1","organization_id":"o1"}`))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return func(h http.Handler, status int, code string) {
			t.Helper()
			again := httptest.NewRequest(r.Method, r.URL.String(), strings.NewReader(string(body)))
			again.Header = r.Header.Clone()
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, again)
			if answer.Code != status || !strings.Contains(answer.Body.String(), code) {
				t.Errorf("got %d %s, want %d %s", answer.Code, answer.Body, status, code)
			}
		}
	}
	first := sign()
	first(machines[0], http.StatusOK, "A_URL")
	first(machines[1], http.StatusUnauthorized, flyext.CodeUnauthenticated)
	before := service.calls.Load()
	if before != 1 {
		t.Errorf("the service was called %d times", before)
	}
	server.Kill()
	first(hasty, http.StatusServiceUnavailable, flyext.CodeReplayUnavailable)
	sign()(hasty, http.StatusServiceUnavailable, flyext.CodeReplayUnavailable)
	if calls := service.calls.Load(); calls != before {
		t.Errorf("the service was called %d times while Redis was down", calls-before)
	}
	server.Start()
	first(machines[1], http.StatusUnauthorized, flyext.CodeUnauthenticated)
	sign()(machines[0], http.StatusOK, "A_URL")
}
