// Package redisstore remembers nonces in Redis, for a provider on several
// machines: a [flyext.ReplayStore] and [flyext.ReplayLookup] over
// github.com/redis/go-redis/v9. It needs Redis 5.0 or later, or a server that has
// the same commands and scripts, such as Valkey or KeyDB. [Store.Check] tries them.
// The tests run on Redis 7.0.
//
// A nonce takes one round trip, a short script. Where Redis is out of reach, slow,
// full, or a replica, the store returns an error within [Options.Timeout], and the
// request is answered with 503. The store asks again by itself when a connection
// breaks, so a Redis that is back within that time costs no request.
//
// # Time
//
// Redis's own clock decides when a nonce has expired. The nonces are members of 16
// sorted sets without a time to live, so Redis forgets none of them by itself. The
// script drops nonces of a set that have expired, and keeps the latest expiry among
// those that it has dropped: the set's horizon. A nonce that expires at or before that clock or
// the horizon is [flyext.ErrNonceExpired]. A clock that is set forwards and back
// therefore brings no used nonce back. After such a step the store may refuse
// requests until they expire after the horizon, which is six minutes at most with
// the default [flyext.Policy].
//
// Events are in sets of their own, for a day. Their horizons hold up no requests.
//
// # What Redis may forget
//
// The store admits a request once, as long as Redis keeps what it has
// acknowledged. Redis does not keep it where it is set up to forget.
// [Store.Check] reports the first two:
//
//   - A Redis that evicts (maxmemory-policy) forgets live nonces when it is full.
//     With noeviction it refuses new ones instead, and so does the provider.
//   - A Redis without an append-only file forgets all when it restarts. With one,
//     and the usual "appendfsync everysec", it forgets the last second or two.
//   - Replication is asynchronous: a replica that takes over forgets what had not
//     reached it, usually milliseconds. [Options.Replicas] waits for it.
//
// An attacker who has captured a request can replay it once its nonce and the
// horizon are forgotten in that way, until the message is too old: six minutes
// after it was signed by default. An event that is forgotten may be received twice.
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

// Options are what a [Store] may be told. The zero value is good for a provider
// that has a Redis, or a database of it, to itself.
type Options struct {
	// Prefix begins each key; "" means "flyext:". Providers that share a Redis
	// need different ones, such as "logjam-staging:": a request for one would use
	// up the nonce of another that has the same secret. It has at most 64 bytes of
	// visible ASCII, without spaces and braces.
	Prefix string

	// Timeout bounds each call, whatever the client's own timeouts and the
	// caller's context are; 0 means 1 second. A client that is set to
	// redis.Options.ContextTimeoutEnabled gives up its connection at that moment;
	// others occupy one for some seconds longer.
	Timeout time.Duration

	// Replicas is how many replicas must have a nonce before it counts, see
	// https://redis.io/docs/latest/commands/wait/. 0 means none. Each request then
	// waits for the replicas, is answered with 503 if they are down, and is refused
	// if it is sent again with the same nonce after that. It takes a *redis.Client.
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

// New returns a store in the Redis that a client is for: a *redis.Client, also one
// that goes by Sentinels, a *redis.ClusterClient, or any redis.UniversalClient. It
// does not connect, so that a service starts while Redis is down; see
// [Store.Check]. The client stays the caller's to close.
func New(client redis.Cmdable, o Options) (*Store, error) {
	if v := reflect.ValueOf(client); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errors.New("redisstore: the client is nil")
	}
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if len(o.Prefix) > maxPrefix || strings.ContainsFunc(o.Prefix, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || r == '{' || r == '}'
	}) {
		return nil, fmt.Errorf("redisstore: Options.Prefix has more than %d bytes, or others than visible ASCII without braces", maxPrefix)
	}
	if o.Timeout < 0 {
		return nil, errors.New("redisstore: Options.Timeout is negative")
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Replicas < 0 {
		return nil, errors.New("redisstore: Options.Replicas is negative")
	}
	if _, ok := client.(*redis.Client); !ok && o.Replicas > 0 {
		// WAIT is about the connection it comes on.
		return nil, errors.New("redisstore: Options.Replicas needs a *redis.Client, which sends what belongs together on one connection")
	}
	return &Store{client: client, prefix: o.Prefix, timeout: o.Timeout, replicas: o.Replicas, script: script}, nil
}

// Use implements [flyext.ReplayStore].
func (s *Store) Use(ctx context.Context, n flyext.Nonce) (fresh bool, err error) {
	fresh, err = s.use(ctx, n, s.keys(n))
	return fresh, wrap(err)
}

// use enters a nonce under some keys.
//
// An attempt whose answer was lost is made again, by the client or here. The second
// attempt would find the nonce of the first, and the request would be its own
// replay. So each call has an owner, which is remembered for the time of the call.
func (s *Store) use(ctx context.Context, n flyext.Nonce, keys []string) (fresh bool, err error) {
	owner := strconv.FormatInt(rand.Int64(), 10)
	args := []any{string(n.Key[:]), n.Expires.UnixMilli(), owner, max(1, 2*s.timeout.Milliseconds())}
	return s.ask(ctx, func(ctx context.Context) (bool, error) { return s.enter(ctx, keys, args) })
}

// enter runs the script, and waits for the replicas.
func (s *Store) enter(ctx context.Context, keys []string, args []any) (fresh bool, err error) {
	if s.replicas == 0 {
		return verdict(s.client.Eval(ctx, s.script, keys, args...))
	}
	var entered, waited *redis.Cmd
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		entered = p.Eval(ctx, s.script, keys, args...)
		// Redis gives up first, and says how many there were; 0 would be for ever.
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

// A final error is the answer, whatever the connection does.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// verdict reads what the script returned.
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
	return false, final{errors.New("the script's answer is not known")}
}

// Used implements [flyext.ReplayLookup]. It may report a nonce that has expired as
// used, until a later entry drops it.
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

// ask asks until there is an answer.
func (s *Store) ask(ctx context.Context, ask func(context.Context) (bool, error)) (bool, error) {
	return bounded.Question{Timeout: s.timeout, Ask: ask, Again: isLost}.Answer(ctx)
}

// isLost reports whether an attempt may be made again: its connection broke, or the
// server has just started or is about to take over.
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

// keys are those of the script, which a cluster has on one machine. There are 16
// sets of each kind, by the first digit of the nonce, which a cluster divides.
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
