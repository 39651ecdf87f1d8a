package redisstore_test

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/flyext/flyext"
	redisstore "github.com/flyext/flyext/stores/redis"
	"github.com/redis/go-redis/v9"
)

// logjam is the service.
var logjam flyext.Provisioner

// Each machine of a provider creates such a store, so each request is accepted
// once.
func Example() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		log.Fatal("REDIS_URL is invalid; use redis://user:password@host:6379/0") // err may contain the password
	}
	options.ContextTimeoutEnabled = true
	store, err := redisstore.New(redis.NewClient(options), redisstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Check(context.Background()); err != nil {
		log.Print("Redis may lose used nonces: ", err)
	}
	provider, err := flyext.New(logjam, flyext.Config{
		BaseURL:     "https://logjam.io/flyio",
		Verifier:    flyext.XSignature(os.Getenv("FLYIO_SIGNING_SECRET")),
		ReplayStore: store,
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/flyio/", provider)
}
