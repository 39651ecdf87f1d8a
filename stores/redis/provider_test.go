package redisstore_test

import (
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/servertest"
	"github.com/flyext/flyext/internal/storetest"
	redisstore "github.com/flyext/flyext/stores/redis"
)

// TestProvider checks that a provider answers 503 while its store is down, without
// calling the service.
func TestProvider(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	storetest.Provider(t, func(timeout time.Duration) flyext.ReplayStore {
		store, _ := newStore(t, server.Addr(), redisstore.Options{Timeout: timeout})
		return store
	}, server.Kill, server.Start)
}
