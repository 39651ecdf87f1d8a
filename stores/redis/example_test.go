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

// Every machine of a provider has such a store, and a request works once.
func Example() {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		log.Fatal("REDIS_URL is no URL of a Redis") // err may have its password
	}
	options.ContextTimeoutEnabled = true
	store, err := redisstore.New(redis.NewClient(options), redisstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Check(context.Background()); err != nil {
		log.Print("Redis may forget which requests came: ", err)
	}
	provider, err := flyext.New(&provisioner{}, flyext.Config{
		BaseURL:     "https://logjam.io/flyio",
		Verifier:    flyext.XSignature(os.Getenv("FLYIO_SIGNING_SECRET")),
		ReplayStore: store,
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/flyio/", provider)
}
