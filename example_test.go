package flyext_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/flyext/flyext"
)

// logjam is a service that sells log streams.
type logjam struct{}

func (logjam) Provision(_ context.Context, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
	return &flyext.Extension{
		ID:      "stream-" + req.ID,
		Secrets: flyext.Secrets{"LOGJAM_URL": "https://user:password@test.logjam.org"},
	}, nil
}

func (logjam) Update(_ context.Context, id string, req *flyext.UpdateRequest) (*flyext.Extension, error) {
	if regions, ok := req.ReadRegions.Get(); ok && len(regions) > 3 {
		return nil, flyext.Invalid("A stream has at most three read regions.")
	}
	return &flyext.Extension{}, nil
}

// atFiveOClock is the clock of the examples. It shows the time at which their requests
// were signed.
func atFiveOClock() time.Time { return time.Unix(1685641159, 0) }

// recorded returns a request as Fly.io sends it.
func recorded() *http.Request {
	r := httptest.NewRequest("POST", "https://logjam.io/flyio/extensions", strings.NewReader(
		`{"name":"test","id":"test","organization_id":"highflyers","timestamp":1685641159,`+
			`"nonce":"e3f7b4c8","url":"https://logjam.io/flyio/extensions"}`))
	r.Header.Set("X-Signature", "cec17eb7606776e522428e3574a523e277bdf5ddd9ca6e9833e5ee04c1b2cb63")
	return r
}

func ExampleNew() {
	provider, err := flyext.New(logjam{}, flyext.Config{
		BaseURL:  "https://logjam.io/flyio",
		Verifier: flyext.XSignature("signing-secret"),
		Now:      atFiveOClock,
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/flyio/", provider)

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, recorded())
	fmt.Println(w.Code, w.Body)

	w = httptest.NewRecorder()
	mux.ServeHTTP(w, recorded()) // a second time: a replay
	fmt.Println(w.Code, w.Body)
	// Output:
	// 200 {"id":"stream-test","config":{"LOGJAM_URL":"https://user:password@test.logjam.org"}}
	// 401 {"error":"unauthenticated","message":"The request is not authenticated."}
}

// A service accepts both generations of the protocol and both secrets of a rotation.
func ExampleAnyOf() {
	newSecret, oldSecret, token := "new-signing-secret", "signing-secret", "bearer-token"
	_, err := flyext.New(logjam{}, flyext.Config{
		BaseURL: "https://logjam.io/flyio",
		Verifier: flyext.AnyOf(
			flyext.XSignature(newSecret, oldSecret),
			flyext.AllOf(
				flyext.BearerToken(token),
				flyext.MessageSignature(
					flyext.Key{ID: "flyio-signing-secret", Secret: newSecret},
					flyext.Key{ID: "flyio-signing-secret", Secret: oldSecret},
				),
			),
		),
	})
	fmt.Println(err)
	// Output: <nil>
}

// New refuses an empty secret, with which anyone could sign requests.
func ExampleXSignature_empty() {
	_, err := flyext.New(logjam{}, flyext.Config{
		BaseURL:  "https://logjam.io/flyio",
		Verifier: flyext.XSignature(""), // the environment variable was not set
	})
	fmt.Println(err)
	// Output: flyext: XSignature has an empty secret
}

// A stricter policy requires every signature to cover the body and the host.
func ExamplePolicy() {
	verifier := flyext.Policy{
		MaxAge:            time.Minute,
		RequireDigest:     true,
		RequireComponents: []string{"@authority"},
	}.MessageSignature(flyext.Key{ID: "flyio-signing-secret", Secret: "signing-secret"})
	fmt.Println(verifier)
	// Output: [redacted]
}

// A service protects a handler of its own, so that it receives only signed requests.
func ExampleAuthenticator_Handler() {
	auth, err := flyext.NewAuthenticator(flyext.Config{
		BaseURL:  "https://logjam.io/flyio",
		Verifier: flyext.XSignature("signing-secret"),
		Now:      atFiveOClock,
	})
	if err != nil {
		log.Fatal(err)
	}
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "read %d bytes", len(body))
	})
	w := httptest.NewRecorder()
	auth.Handler(own).ServeHTTP(w, recorded())
	fmt.Println(w.Code, w.Body)
	// Output: 200 read 143 bytes
}

// The error of Check has the reason of the refusal. Log it, but do not send it to the
// client.
func ExampleAuthenticator_Check() {
	auth, err := flyext.NewAuthenticator(flyext.Config{
		BaseURL:  "https://logjam.io/flyio",
		Verifier: flyext.XSignature("another-secret"),
		Now:      atFiveOClock,
	})
	if err != nil {
		log.Fatal(err)
	}
	err = auth.Check(recorded())
	if e, ok := errors.AsType[*flyext.Error](err); ok {
		fmt.Println(e.Status, e.Code)
		fmt.Println(e.Err)
	}
	// Output:
	// 401 unauthenticated
	// x-signature: MAC does not match
}

func ExampleError() {
	err := fmt.Errorf("charging the card: %w", &flyext.Error{
		Status:  http.StatusPaymentRequired,
		Code:    "card_declined",
		Message: "Your card was declined.",             // sent to the client
		Err:     errors.New("processor: do_not_honor"), // only logged
	})
	if e, ok := errors.AsType[*flyext.Error](err); ok {
		fmt.Println(e.Status, e.Message)
	}
	// Output: 402 Your card was declined.
}

func ExampleOptional() {
	update := flyext.UpdateRequest{ReadRegions: flyext.OptionalOf([]string{})}
	if regions, ok := update.ReadRegions.Get(); ok {
		fmt.Println("new number of read regions:", len(regions))
	}
	if _, ok := update.Name.Get(); !ok {
		fmt.Println("the name does not change")
	}
	// Output:
	// new number of read regions: 0
	// the name does not change
}

func ExampleSecrets() {
	secrets := flyext.Secrets{"LOGJAM_URL": "https://user:password@test.logjam.org"}
	fmt.Println(secrets)
	// Output: map[LOGJAM_URL:[redacted]]
}

// unsupported is a [flyext.Verifier] that refuses every request.
type unsupported struct{}

func (unsupported) Verify(context.Context, *flyext.Message) (flyext.Verification, error) {
	return flyext.Verification{}, errors.New("unsupported signature format")
}

func ExampleVerifier() {
	auth, err := flyext.NewAuthenticator(flyext.Config{BaseURL: "https://logjam.io/flyio", Verifier: unsupported{}})
	if err != nil {
		log.Fatal(err)
	}
	w := httptest.NewRecorder()
	auth.Handler(http.NotFoundHandler()).ServeHTTP(w, recorded())
	fmt.Println(w.Code)
	// Output: 401
}
