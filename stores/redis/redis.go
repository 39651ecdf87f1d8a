// Package redisstore is a [flyext.ReplayStore] and [flyext.ReplayLookup] in Redis,
// for a provider that runs on several machines. It uses
// github.com/redis/go-redis/v9. It needs Redis 5.0 or later, or a server with the
// same commands and scripts, such as Valkey or KeyDB. [Store.Check] tries the
// commands. The tests run on Redis 7.0.
//
// Using a nonce takes one round trip: a short script. If Redis is unreachable,
// slow, full or a replica, the store returns an error within [Options.Timeout], and
// flyext answers the request with 503. The store retries after a broken connection,
// so no request fails if Redis is back within that time.
//
// # Time
//
// Redis's clock decides when a nonce has expired. The nonces are members of 16
// sorted sets without a time to live, so Redis itself drops none of them. The
// script drops expired nonces from a set and stores the latest expiry among them:
// the horizon of the set. The store returns [flyext.ErrNonceExpired] for a nonce
// that expires at or before Redis's clock or the horizon. A used nonce therefore
// stays used when the clock is set forwards and back. After the clock was set back,
// the store may refuse new requests with that error, until their nonces expire after
// the horizon: for six minutes at most with the default [flyext.Policy].
//
// Events are in separate sets and are kept for a day. Their horizons do not affect
// requests.
//
// # Data loss
//
// The store accepts a request once if Redis keeps every write that it acknowledged.
// Redis can lose acknowledged writes in three ways. [Store.Check] reports the first
// two:
//
//   - Eviction: a Redis with an evicting maxmemory-policy may drop live nonces when
//     its memory is full. With noeviction it refuses new ones, and the provider
//     answers 503.
//   - Restart: a Redis without an append-only file loses everything. With one, and
//     the default "appendfsync everysec", it loses the last second or two.
//   - Failover: replication is asynchronous, so a replica that takes over lacks the
//     nonces not yet replicated, usually those of some milliseconds. Set
//     [Options.Replicas] to wait for replication.
//
// If Redis has lost a nonce, an attacker who has captured the request can replay it
// until the request is too old: five minutes after it was signed by default. If Redis
// has lost an event, the event may be received twice.
package redisstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/bounded"
	"github.com/redis/go-redis/v9"
)

// Options configure a [Store]. The zero value suits a provider with its own Redis
// server or database.
type Options struct {
	// Prefix begins each key; "" means "flyext:". Providers that share a Redis need
	// different prefixes, such as "logjam-staging:". Otherwise a request for one
	// provider would use up the nonce of another provider with the same secret. A
	// prefix has at most 64 bytes of visible ASCII, without spaces and braces.
	Prefix string

	// Timeout limits each call, even if the client's timeouts or the caller's
	// deadline are longer; 0 means 1 second. With
	// redis.Options.ContextTimeoutEnabled the client releases its connection when
	// the timeout expires. Without it, the connection stays in use for some seconds
	// longer.
	Timeout time.Duration

	// Replicas is the number of replicas that must have a nonce before the store
	// accepts it; 0 means none. See https://redis.io/docs/latest/commands/wait/.
	// Each request then waits for the replicas. If too few reply in time, the
	// request is answered with 503, and a retry with the same nonce is refused.
	// Replicas needs a *redis.Client.
	Replicas int
}

const (
	defaultPrefix  = "flyext:"
	defaultTimeout = time.Second
	maxPrefix      = 64
)

// A Store is a [flyext.ReplayLookup] in Redis. It is safe for concurrent use.
type Store struct {
	client   redis.Cmdable
	prefix   string
	timeout  time.Duration
	replicas int
	script   string
}

var _ flyext.ReplayLookup = (*Store)(nil)

// New returns a store that uses client: a *redis.Client, with or without Sentinel,
// a *redis.ClusterClient, or any redis.UniversalClient. It does not connect, so a
// service can start while Redis is down; see [Store.Check]. It returns an error for
// a nil client or invalid options. The caller remains responsible for closing client.
func New(client redis.Cmdable, o Options) (*Store, error) {
	if v := reflect.ValueOf(client); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errors.New("redisstore: the client is nil; pass the Redis client to use")
	}
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if len(o.Prefix) > maxPrefix || strings.ContainsFunc(o.Prefix, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || r == '{' || r == '}'
	}) {
		return nil, fmt.Errorf("redisstore: invalid Options.Prefix; use up to %d visible ASCII characters without braces", maxPrefix)
	}
	if o.Timeout < 0 {
		return nil, errors.New("redisstore: Options.Timeout is negative; use 0 for the default")
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Replicas < 0 {
		return nil, errors.New("redisstore: Options.Replicas is negative; use 0 to wait for no replica")
	}
	if _, ok := client.(*redis.Client); !ok && o.Replicas > 0 {
		// WAIT counts the replicas that have the writes of its own connection.
		return nil, errors.New("redisstore: Options.Replicas needs a *redis.Client; pass one or set Replicas to 0")
	}
	return &Store{client: client, prefix: o.Prefix, timeout: o.Timeout, replicas: o.Replicas, script: script}, nil
}

// Use implements [flyext.ReplayStore]. An error, such as [flyext.ErrNonceExpired],
// is returned within [Options.Timeout].
func (s *Store) Use(ctx context.Context, n flyext.Nonce) (fresh bool, err error) {
	fresh, err = s.use(ctx, n, s.keys(n))
	return fresh, wrap(err)
}

// use enters a nonce under the given keys.
//
// The client or the store retries an attempt whose response was lost. The retry
// finds the nonce of the first attempt, which must not count as a duplicate. So
// each call has an owner, which Redis stores for the time of the call.
func (s *Store) use(ctx context.Context, n flyext.Nonce, keys []string) (fresh bool, err error) {
	owner := strconv.FormatInt(rand.Int64(), 10)
	args := []any{string(n.Key[:]), n.Expires.UnixMilli(), owner, max(1, 2*s.timeout.Milliseconds())}
	return s.ask(ctx, func(ctx context.Context) (bool, error) { return s.enter(ctx, keys, args) })
}

// enter runs the script and waits for the replicas.
func (s *Store) enter(ctx context.Context, keys []string, args []any) (fresh bool, err error) {
	if s.replicas == 0 {
		return verdict(s.client.Eval(ctx, s.script, keys, args...))
	}
	var entered, waited *redis.Cmd
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		entered = p.Eval(ctx, s.script, keys, args...)
		// Redis replies with a count before our timeout. 0 would wait forever.
		waited = p.Do(ctx, "WAIT", s.replicas, max(1, (s.timeout*3/4).Milliseconds()))
		return nil
	})
	if entered.Err() == nil && waited.Err() != nil {
		return false, waited.Err()
	}
	if err != nil {
		return false, err
	}
	fresh, err = verdict(entered)
	if have, _ := waited.Int64(); fresh && have < int64(s.replicas) {
		return false, final{fmt.Errorf("%d of %d replicas have the nonce", have, s.replicas)}
	}
	return fresh, err
}

// A final error is not retried.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// verdict converts the script's reply.
func verdict(answer *redis.Cmd) (fresh bool, err error) {
	value, err := answer.Result()
	if err != nil {
		return false, err
	}
	switch value {
	case "fresh":
		return true, nil
	case "used":
		return false, nil
	case "expired":
		return false, final{flyext.ErrNonceExpired}
	}
	return false, final{errors.New("unknown reply of the script")}
}

// Used implements [flyext.ReplayLookup]. It may report an expired nonce as used
// until a later entry drops it.
func (s *Store) Used(ctx context.Context, n flyext.Nonce) (used bool, err error) {
	set := s.keys(n)[0]
	used, err = s.ask(ctx, func(ctx context.Context) (bool, error) {
		err := s.client.ZScore(ctx, set, string(n.Key[:])).Err()
		if errors.Is(err, redis.Nil) {
			return false, nil
		}
		return err == nil, err
	})
	return used, wrap(err)
}

// ask retries a query within the timeout.
func (s *Store) ask(ctx context.Context, ask func(context.Context) (bool, error)) (bool, error) {
	return bounded.Question{Timeout: s.timeout, Ask: ask, Again: isLost}.Answer(ctx)
}

// isLost reports whether to retry after err: the connection broke, or the server is
// starting, failing over or resharding.
func isLost(err error) bool {
	if _, ok := errors.AsType[final](err); ok || errors.Is(err, redis.ErrClosed) {
		return false
	}
	answer, ok := errors.AsType[redis.Error](err)
	if !ok {
		return true
	}
	word, _, _ := strings.Cut(answer.Error(), " ")
	return slices.Contains([]string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"}, word)
}

// keys returns the script's keys: set, horizon and owner. They share a hash tag, so
// a cluster keeps them on one machine. The first hex digit of the nonce selects one
// of 16 sets, which a cluster distributes.
func (s *Store) keys(n flyext.Nonce) []string {
	kind := "nonces"
	if n.OnReceipt {
		kind = "events"
	}
	set := fmt.Sprintf("%s{%s-%x}", s.prefix, kind, n.Key[0]>>4)
	return []string{set, set + "horizon", set + "owner:" + base64.RawURLEncoding.EncodeToString(n.Key[:])}
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("redisstore: %w", err)
	}
	return nil
}
