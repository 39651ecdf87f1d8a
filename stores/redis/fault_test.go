package redisstore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
					t.Error("Check succeeds, want an error")
				}
				test.mend(server)
				storetest.WantRecovery(t, store, 10_000*(round+1))
				storetest.WantUse(t, store, used, false)
			}
		})
	}
}

// serve listens and calls treat for each connection.
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

// readCommand reads a command, which is an array of strings.
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
		t.Errorf("canceled context: got %t, %v", fresh, err)
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

// TestLostAnswer cuts the connection before the response to the first command, so
// that the client resends it. In between, another machine receives a duplicate.
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
			t.Errorf("the duplicate: got %t, %v", fresh, err)
		}
		between <- struct{}{}
	}()
	storetest.WantUse(t, store, nonce, true)
	<-done
	if sent.Load() != 2 {
		t.Errorf("got %d commands, want 2", sent.Load())
	}
	storetest.WantUse(t, store, storetest.Numbered(1), false)
}

// TestSecretsStayOut checks the errors of a client with a wrong password.
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
		t.Errorf("the error contains the password: %v", err)
	}
	if err := store.Check(t.Context()); err == nil || strings.Contains(err.Error(), password) {
		t.Errorf("got %v", err)
	}
}
