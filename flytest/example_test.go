package flytest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// logjam is the provider under test.
type logjam struct{}

func (logjam) Provision(_ context.Context, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
	if req.PrimaryRegion == "xyz" {
		return nil, flyext.Invalid("There is no region xyz.")
	}
	return &flyext.Extension{ID: "stream-1", Secrets: flyext.Secrets{"LOGJAM_URL": "https://user:password@test.logjam.org"}}, nil
}

func (logjam) Update(_ context.Context, id string, req *flyext.UpdateRequest) (*flyext.Extension, error) {
	return &flyext.Extension{}, nil
}

// serveLogjam serves the provider with the base URL https://example.com/flyio.
func serveLogjam(v flyext.Verifier) *httptest.Server {
	provider, err := flyext.New(logjam{}, flyext.Config{BaseURL: "https://example.com/flyio", Verifier: v})
	if err != nil {
		log.Fatal(err)
	}
	return httptest.NewTLSServer(provider)
}

func ExamplePlatform() {
	server := serveLogjam(flyext.XSignature("signing-secret"))
	defer server.Close()

	fly := flytest.Platform{BaseURL: "https://example.com/flyio", Signer: flytest.XSignature("signing-secret"), Client: server.Client()}
	x, err := fly.Provision(context.Background(), flyext.ProvisionRequest{ID: "30bqn49y2jh", OrganizationID: "M03FclA4m"})
	fmt.Println(x.ID, x.Secrets["LOGJAM_URL"], err)

	_, err = fly.Provision(context.Background(), flyext.ProvisionRequest{ID: "2", OrganizationID: "M03FclA4m", PrimaryRegion: "xyz"})
	if e, ok := errors.AsType[*flyext.Error](err); ok {
		fmt.Println(e.Status, e.Code, e.Message)
	}
	// Output:
	// stream-1 https://user:password@test.logjam.org <nil>
	// 422 invalid There is no region xyz.
}

// The provider refuses a changed request and the replay of a genuine one.
func ExamplePlatform_NewRequest() {
	key := flyext.Key{ID: "flyio-signing-secret", Secret: "signing-secret"}
	server := serveLogjam(flyext.MessageSignature(key))
	defer server.Close()
	fly := flytest.Platform{BaseURL: "https://example.com/flyio", Signer: flytest.RFC9421(key), Client: server.Client()}

	body := []byte(`{"plan":"free"}`)
	r, err := fly.NewRequest(context.Background(), http.MethodPatch, flytest.ExtensionPath("stream-1"), body)
	if err != nil {
		log.Fatal(err)
	}
	send := func(what string) {
		answer, err := fly.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(what, answer.StatusCode)
	}
	flytest.SetBody(r, bytes.Replace(body, []byte("free"), []byte("gold"), 1))
	send("changed:")
	flytest.SetBody(r, body)
	send("genuine:")
	send("again:")
	// Output:
	// changed: 401
	// genuine: 200
	// again: 401
}

// Generation 1 sends a bearer token in addition to the signature. The signature covers
// the token.
func ExampleAll() {
	key := flyext.Key{ID: "flyio-signing-secret", Secret: "signing-secret"}
	server := serveLogjam(flyext.AllOf(flyext.BearerToken("bearer-token"), flyext.MessageSignature(key)))
	defer server.Close()

	fly := flytest.Platform{
		BaseURL: "https://example.com/flyio",
		Signer:  flytest.All(flytest.BearerToken("bearer-token"), flytest.RFC9421(key)),
		Client:  server.Client(),
		Observe: func(e flytest.Exchange) { fmt.Printf("%s\n", e.ResponseBody) },
	}
	x, err := fly.Provision(context.Background(), flyext.ProvisionRequest{ID: "30bqn49y2jh", OrganizationID: "M03FclA4m"})
	fmt.Println(x.ID, err)
	// Output:
	// {"LOGJAM_URL":"https://user:password@test.logjam.org"}
	// 30bqn49y2jh <nil>
}

func ExampleCavageOptions() {
	key := flyext.Key{ID: "flyio-signing-secret", Secret: "signing-secret"}
	fly := flytest.Platform{
		BaseURL: "https://example.com/flyio",
		Signer:  flytest.CavageOptions{CoverDigest: true}.Cavage(key),
		Now:     func() time.Time { return time.Unix(1685641159, 0) },
	}
	r, err := fly.NewRequest(context.Background(), http.MethodPost, "/extensions", []byte(`{"id":"30bqn49y2jh"}`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Header.Get("Date"))
	fmt.Println(r.Header.Get("Digest"))
	fmt.Println(r.Header.Get("Signature"))
	// Output:
	// Thu, 01 Jun 2023 17:39:19 GMT
	// SHA-256=RCho/saRl2wfROuQqiSzHzv+PORxKuft+B02eqUWiJM=
	// keyId="flyio-signing-secret",algorithm="hmac-sha256",headers="(request-target) date content-length digest",signature="RFjvlbVxXdQgELaH3ANXF/bHqEN3tx4QTEXzx43/T+g="
}

// sharedSecretHeader is a custom authentication scheme.
type sharedSecretHeader string

func (s sharedSecretHeader) Sign(r *http.Request, _ time.Time) error {
	r.Header.Set("X-Shared-Secret", string(s))
	return nil
}

func ExampleSigner() {
	fly := flytest.Platform{BaseURL: "https://example.com/flyio", Signer: sharedSecretHeader("shared-secret")}
	r, err := fly.NewRequest(context.Background(), http.MethodGet, flytest.ExtensionPath("a/b"), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.URL, r.Header.Get("X-Shared-Secret"))
	// Output: https://example.com/flyio/extensions/a%2Fb shared-secret
}
