package redisstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/flyext/flyext"
	"github.com/redis/go-redis/v9"
)

var (
	// ErrEvicts reports that Redis may evict keys when its memory is full: it has a
	// maxmemory and a policy other than noeviction. Set maxmemory-policy to noeviction.
	ErrEvicts = errors.New("redisstore: Redis evicts keys when its memory is full; set maxmemory-policy to noeviction")

	// ErrVolatile reports that Redis may lose recent nonces at a restart. Set appendonly
	// to yes.
	ErrVolatile = errors.New("redisstore: Redis has no append-only file and may lose recent nonces at a restart; set appendonly to yes")
)

// Check tests whether Redis is usable and configured to keep its data. It enters a
// nonce as [Store.Use] does and removes it. It then reads the configuration of
// Redis, or of each master of a cluster. Call Check when the service starts, and
// log the error or stop.
//
// Check returns [ErrEvicts], [ErrVolatile] or both, or another error if Redis
//
//   - is unreachable or a replica,
//   - lacks or forbids a command that Use needs, or forbids INFO,
//   - has a clock that is a minute or more ahead ([flyext.ErrNonceExpired]),
//   - has fewer replicas than [Options.Replicas].
func (s *Store) Check(ctx context.Context) error {
	if err := s.try(ctx); err != nil {
		return wrap(err)
	}
	_, err := s.ask(ctx, func(ctx context.Context) (bool, error) {
		if cluster, ok := s.client.(*redis.ClusterClient); ok {
			return true, cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return check(ctx, c) })
		}
		return true, check(ctx, s.client)
	})
	if errors.Is(err, ErrEvicts) || errors.Is(err, ErrVolatile) {
		return err
	}
	return wrap(err)
}

// checkLife is the shortest remaining lifetime of a nonce when flyext passes it to
// Use.
const checkLife = time.Minute

// try enters a nonce under separate keys and drops an expired one, so that it runs
// each command of the script.
func (s *Store) try(ctx context.Context) error {
	n := flyext.Nonce{Expires: time.Now().Add(checkLife)}
	binary.BigEndian.PutUint64(n.Key[:], rand.Uint64())
	set := s.prefix + "{check}"
	keys := []string{set, set + "horizon", set + "owner"}
	_, err := s.ask(ctx, func(ctx context.Context) (bool, error) {
		return true, s.client.ZAdd(ctx, set, redis.Z{Score: 1, Member: "over"}).Err()
	})
	if err != nil {
		return err
	}
	fresh, err := s.use(ctx, n, keys)
	if err != nil {
		return err
	}
	if !fresh {
		return errors.New("a new nonce is reported as used")
	}
	_, err = s.ask(ctx, func(ctx context.Context) (bool, error) { return true, s.client.Del(ctx, keys...).Err() })
	return err
}

// check reads INFO, because managed Redis services allow it more often than CONFIG.
func check(ctx context.Context, client redis.Cmdable) error {
	text, err := client.Info(ctx).Result()
	if err != nil {
		return err
	}
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	for _, name := range []string{"maxmemory", "maxmemory_policy", "aof_enabled"} {
		if _, ok := info[name]; !ok {
			return final{fmt.Errorf("INFO does not contain %s", name)}
		}
	}
	var errs []error
	if policy := info["maxmemory_policy"]; policy != "noeviction" && info["maxmemory"] != "0" {
		errs = append(errs, fmt.Errorf("%w: maxmemory-policy is %s", ErrEvicts, policy))
	}
	if info["aof_enabled"] == "0" {
		errs = append(errs, ErrVolatile)
	}
	if len(errs) > 0 {
		return final{errors.Join(errs...)}
	}
	return nil
}
