package flyext_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// admits starts a provider with the verifier and returns the status of its answer to a
// request of the signer.
func admits(v flyext.Verifier, s flytest.Signer) string {
	provider, err := flyext.New(logjam{}, flyext.Config{BaseURL: "https://example.com/flyio", Verifier: v})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewTLSServer(provider)
	defer server.Close()
	fly := flytest.Platform{BaseURL: "https://example.com/flyio", Signer: s, Client: server.Client()}
	r, err := fly.NewRequest(context.Background(), "POST", "/extensions", []byte(`{"id":"x1","organization_id":"o1"}`))
	if err != nil {
		log.Fatal(err)
	}
	answer, err := fly.Do(r)
	if err != nil {
		log.Fatal(err)
	}
	return answer.Status
}

func ExampleXSignature() {
	verifier := flyext.XSignature("signing-secret")
	fmt.Println(admits(verifier, flytest.XSignature("signing-secret")))
	fmt.Println(admits(verifier, flytest.XSignature("a guess")))
	// Output:
	// 200 OK
	// 401 Unauthorized
}

// One verifier accepts every signature format of the proposal.
func ExampleMessageSignature() {
	key := flyext.Key{ID: "flyio-signing-secret", Secret: "signing-secret"}
	verifier := flyext.MessageSignature(key)
	fmt.Println("RFC 9421:    ", admits(verifier, flytest.RFC9421(key)))
	fmt.Println("draft-05:    ", admits(verifier, flytest.Draft05(key)))
	fmt.Println("draft-cavage:", admits(verifier, flytest.Cavage(key)))
	fmt.Println("unsigned:    ", admits(verifier, flytest.BearerToken("a token")))
	// Output:
	// RFC 9421:     200 OK
	// draft-05:     200 OK
	// draft-cavage: 200 OK
	// unsigned:     401 Unauthorized
}

// The proposal requires both a token and a signature.
func ExampleAllOf() {
	key := flyext.Key{ID: "flyio-signing-secret", Secret: "signing-secret"}
	verifier := flyext.AllOf(flyext.BearerToken("token"), flyext.MessageSignature(key))
	fmt.Println(admits(verifier, flytest.All(flytest.BearerToken("token"), flytest.RFC9421(key))))
	fmt.Println(admits(verifier, flytest.BearerToken("token")))
	fmt.Println(admits(verifier, flytest.RFC9421(key)))
	// Output:
	// 200 OK
	// 401 Unauthorized
	// 401 Unauthorized
}

func ExampleBearerToken() {
	verifier := flyext.BearerToken("new-token", "old-token") // during a rotation
	fmt.Println(admits(verifier, flytest.BearerToken("old-token")))
	// Output: 200 OK
}

func ExampleNewMemoryReplayStore() {
	now := time.Unix(1685641159, 0)
	store := flyext.NewMemoryReplayStore(0, func() time.Time { return now })
	n := flyext.Nonce{Key: flyext.NonceKey("example", "e3f7b4c8"), Expires: now.Add(time.Minute)}
	for range 2 {
		fresh, err := store.Use(context.Background(), n)
		fmt.Println(fresh, err)
	}
	now = now.Add(2 * time.Minute) // the store has forgotten the nonce, and refuses it because it is expired
	fresh, err := store.Use(context.Background(), n)
	fmt.Println(fresh, err)
	// Output:
	// true <nil>
	// false <nil>
	// false the store's clock is past the nonce's expiry
}

// traced is a [flyext.Fetcher] that uses the request id of flyext's log.
type traced struct{ logjam }

func (traced) Fetch(ctx context.Context, id string) (*flyext.Extension, error) {
	return &flyext.Extension{Name: "logged under " + flyext.RequestID(ctx)}, nil
}

func ExampleRequestID() {
	provider, err := flyext.New(traced{}, flyext.Config{BaseURL: "https://logjam.io/flyio", Verifier: flyext.BearerToken("token")})
	if err != nil {
		log.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/flyio/extensions/x1", nil)
	r.Header.Set("Authorization", "Bearer token")
	w := httptest.NewRecorder()
	provider.ServeHTTP(w, r)
	id := w.Header().Get("X-Request-Id")
	fmt.Println(w.Body.String() == `{"id":"x1","name":"logged under `+id+`","status":"ready"}`)
	// Output: true
}

// NotFound's message is sent to the client. Any other error becomes a generic 500.
func ExampleNotFound() {
	err := flyext.NotFound("There is no such log stream.")
	fmt.Println(err.Status == http.StatusNotFound, err.Code, err.Message)
	// Output: true not_found There is no such log stream.
}
