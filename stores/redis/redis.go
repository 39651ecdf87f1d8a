// Package redisstore remembers nonces in Redis, for a provider on several
// machines: a [flyext.ReplayStore] and [flyext.ReplayLookup] over
// github.com/redis/go-redis/v9. It needs Redis 7.0, or Valkey.
//
// A nonce is a key that Redis itself forgets when its time is over, and takes one
// round trip. Where Redis is out of reach, slow, full, or a replica, the store
// returns an error within [Options.Timeout], and the request is answered with 503.
// It comes back when Redis does.
//
// # What Redis may forget
//
// The store admits a request once, as long as Redis keeps what it has
// acknowledged. It does not where it is set up to forget; [Store.Check] tells:
//
//   - A Redis that evicts (maxmemory-policy) forgets live nonces when it is full.
//     With noeviction it refuses new ones instead, and so does the provider.
//   - A Redis without an append-only file forgets all when it restarts; with one,
//     and "appendfsync everysec", as usual, the last second or two.
//   - Replication is asynchronous: a replica that takes over forgets what had not
//     reached it, usually milliseconds. [Options.Replicas] waits for it.
//
// What is forgotten can be replayed until the message is too old, six minutes
// after it was signed at most, by somebody who has captured it. Events are
// remembered for a day, and one that is forgotten may be received twice.
package redisstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
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
	// up the nonce of another that has the same secret. It may not hold spaces,
	// control characters or braces (in a cluster, braces would put all keys on one
	// machine), and have 64 bytes.
	Prefix string

	// Timeout bounds each call, whatever the client's own timeouts and the
	// caller's context are; 0 means 1 second. A client that is set to
	// redis.Options.ContextTimeoutEnabled gives up its connection at that moment;
	// others occupy one for some seconds longer.
	Timeout time.Duration

	// Replicas is how many replicas must have a nonce before it counts, see
	// https://redis.io/docs/latest/commands/wait/. 0 means none. Each request then
	// waits for them, is answered with 503 if they are down, and is refused if it
	// is tried again with the same nonce after that. It takes a *redis.Client.
	Replicas int

	// Now is the clock that nonces expire by, the one of flyext.Config.Now; nil
	// means [time.Now].
	Now func() time.Time
}

const (
	defaultPrefix  = "flyext:"
	defaultTimeout = time.Second
	maxPrefix      = 64
	// minLife is longer than what the clocks of two machines should differ by: it
	// is for a verifier that leaves no time for that. flyext's own do.
	minLife = time.Minute
	maxLife = 100 * 365 * 24 * time.Hour // which Redis can still add to its clock
)

// A Store is a [flyext.ReplayLookup] in Redis. It is safe for concurrent use.
type Store struct {
	client   redis.Cmdable
	prefix   string
	timeout  time.Duration
	replicas int
	now      func() time.Time
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
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Store{client: client, prefix: o.Prefix, timeout: o.Timeout, replicas: o.Replicas, now: o.Now}, nil
}

// Use implements [flyext.ReplayStore]. A nonce that has expired is an error.
//
// The clock that a nonce expires by is this machine's; Redis is told for how long
// to keep it, so that their clocks may differ. That time is rounded up, and a
// minute at least.
func (s *Store) Use(ctx context.Context, n flyext.Nonce) (fresh bool, err error) {
	life, err := s.life(n)
	if err != nil {
		return false, err
	}
	fresh, err = bounded.Ask(ctx, s.timeout, func(ctx context.Context) (bool, error) { return s.enter(ctx, n, life) })
	return fresh, wrap(err)
}

// enter is one command, SET with NX: of several at once, one sets the key.
//
// The client sends a command again when the answer was lost; its second try
// would find the nonce of the first, and the request would be taken for a replay
// of itself. So the value is this call's own, and GET brings back whose is there.
func (s *Store) enter(ctx context.Context, n flyext.Nonce, life time.Duration) (fresh bool, err error) {
	// A number up to 64 bits is kept in the place of a pointer.
	mine := strconv.FormatInt(rand.Int64(), 10)
	set := redis.SetArgs{Mode: "NX", Get: true, TTL: life}
	if s.replicas == 0 {
		return s.mine(mine, s.client.SetArgs(ctx, s.key(n), mine, set), true)
	}
	var entered *redis.StatusCmd
	var waited *redis.Cmd
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		entered = p.SetArgs(ctx, s.key(n), mine, set)
		// Redis gives up first, and says how many there were; 0 would be for ever.
		waited = p.Do(ctx, "WAIT", s.replicas, max(1, (s.timeout*3/4).Milliseconds()))
		return nil
	})
	have := int64(0)
	if entered.Err() == nil || errors.Is(entered.Err(), redis.Nil) {
		have, err = waited.Int64()
	}
	if err != nil {
		return false, err
	}
	// A second try has written nothing that its WAIT could wait for.
	fresh, err = s.mine(mine, entered, false)
	if fresh && have < int64(s.replicas) {
		return false, fmt.Errorf("%d of %d replicas have the nonce", have, s.replicas)
	}
	return fresh, err
}

// mine says what the answer to SET means: fresh is what was not there, or was
// there from an earlier try of the same call.
func (s *Store) mine(value string, answer *redis.StatusCmd, again bool) (fresh bool, err error) {
	was, err := answer.Result()
	switch {
	case errors.Is(err, redis.Nil):
		return true, nil
	case err != nil:
		return false, err
	case was == value && !again:
		return false, errors.New("the connection was lost before the replicas had the nonce")
	}
	return was == value, nil
}

// Used implements [flyext.ReplayLookup].
func (s *Store) Used(ctx context.Context, n flyext.Nonce) (used bool, err error) {
	used, err = bounded.Ask(ctx, s.timeout, func(ctx context.Context) (bool, error) {
		found, err := s.client.Exists(ctx, s.key(n)).Result()
		return found > 0, err
	})
	return used, wrap(err)
}

// key has 29 bytes with the usual prefix: two more, and Redis needs more memory.
func (s *Store) key(n flyext.Nonce) string {
	return s.prefix + base64.RawURLEncoding.EncodeToString(n.Key[:])
}

// life is how long to remember a nonce, in whole milliseconds. One that has
// expired is not for now: either the clock is another one than the verifier's, and
// then no time is long enough, or the message came through too late.
func (s *Store) life(n flyext.Nonce) (time.Duration, error) {
	left := n.Expires.Sub(s.now())
	if left <= 0 {
		return 0, errors.New("redisstore: the nonce has expired (is Options.Now another clock than flyext.Config.Now?)")
	}
	left = min(max(left, minLife), maxLife)
	return (left + time.Millisecond - 1).Truncate(time.Millisecond), nil
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("redisstore: %w", err)
	}
	return nil
}
