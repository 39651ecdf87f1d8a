package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/flyext/flyext/internal/bounded"
	"github.com/redis/go-redis/v9"
)

var (
	// ErrEvicts says that Redis makes room by forgetting: set its maxmemory-policy
	// to noeviction.
	ErrEvicts = errors.New("redisstore: Redis evicts keys when its memory is full")

	// ErrVolatile says that Redis forgets when it restarts: set its appendonly to
	// yes.
	ErrVolatile = errors.New("redisstore: Redis keeps no append-only file")
)

// Check asks Redis whether it remembers what it is told, and returns [ErrEvicts],
// [ErrVolatile], both, or the error for which it cannot tell: Redis is out of
// reach, or does not allow INFO. Call it when the service starts, and log what it
// says; or do not start. Of a cluster it asks each master.
func (s *Store) Check(ctx context.Context) error {
	_, err := bounded.Ask(ctx, s.timeout, func(ctx context.Context) (bool, error) {
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

// check goes by INFO, which managed Redis allow more often than CONFIG.
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
			return fmt.Errorf("INFO does not tell %s", name)
		}
	}
	var errs []error
	if policy := info["maxmemory_policy"]; policy != "noeviction" && info["maxmemory"] != "0" {
		errs = append(errs, fmt.Errorf("%w: maxmemory-policy is %s", ErrEvicts, policy))
	}
	if info["aof_enabled"] == "0" {
		errs = append(errs, ErrVolatile)
	}
	return errors.Join(errs...)
}
