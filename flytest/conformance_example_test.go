package flytest_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// Run is for programs. In a test use [flytest.Conformance.Test], which runs each
// requirement as a subtest.
func ExampleConformance() {
	server := serveLogjam(flyext.XSignature("signing-secret"))
	defer server.Close()

	conformance := flytest.Conformance{
		BaseURL:     "https://example.com/flyio",
		Credentials: flytest.Credentials{SigningSecret: "signing-secret"},
		Client:      server.Client(),
		Only:        []string{"provision", "same-name", "replay", "sso-redirect"},
		Finished:    func(r flytest.Result) { fmt.Println(r) },
	}
	report, err := conformance.Run(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Count(flytest.Failed), "failed")
	// Output:
	// passed provision: A provision request returns an extension and its secrets (docs/protocol.md#answers)
	// failed same-name: Two organizations can use the same name independently (docs/protocol.md#idempotence)
	//   sent: POST /flyio/extensions
	//   want: a separate extension for each organization
	//    got: the extension "stream-1" for both
	//    fix: Identify extensions only by their id: names collide and change.
	// passed replay: A request is accepted only once (docs/protocol.md#decisions)
	// skipped sso-redirect: The customer's browser is sent to Fly.io's sign-on (docs/protocol.md#sso)
	//   single sign-on is not offered (501 Not Implemented)
	// 1 failed
}

// Create returns the output of flyctl, for a success and for an error.
func ExamplePlatform_Create() {
	server := serveLogjam(flyext.XSignature("signing-secret"))
	defer server.Close()
	fly := flytest.Platform{
		BaseURL: "https://example.com/flyio", Signer: flytest.XSignature("signing-secret"), Client: server.Client(),
		Registration: flytest.Registration{DisplayName: "Logjam", ResourceName: "log stream"},
	}

	order := flyext.ProvisionRequest{ID: "30bqn49y2jh", Name: "collider-prod", OrganizationID: "M03FclA4m", PrimaryRegion: "mad"}
	made, err := fly.Create(context.Background(), order)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(made.Terminal)

	order.PrimaryRegion = "xyz"
	failed, err := fly.Create(context.Background(), order)
	fmt.Print(failed.Terminal)
	fmt.Println(err)
	// Output:
	// Your Logjam log stream (collider-prod) is ready. See details and next steps with: flyctl ext logjam --help
	//
	// Set the following secrets on your target app.
	// LOGJAM_URL: https://user:password@test.logjam.org
	// Error: input:3:2: createAddOn There is no region xyz.
	//
	// 422 invalid: There is no region xyz.
}

// A Browser follows redirects to the origins of its URLs. This provider does not offer
// single sign-on, so the visit ends at its first answer.
func ExampleBrowser() {
	server := serveLogjam(flyext.XSignature("signing-secret"))
	defer server.Close()

	browser, err := flytest.NewBrowser(server.Client(), "https://example.com")
	if err != nil {
		log.Fatal(err)
	}
	visit, err := browser.Open(context.Background(), "https://example.com/flyio/extensions/stream-1/sso")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(visit.Last().Response.Status, visit.Elsewhere)
	// Output: 501 Not Implemented <nil>
}

// SignatureBase returns the signed bytes. Compare them with those that your verifier
// computes.
func ExampleSignatureBase() {
	fly := flytest.Platform{
		BaseURL: "https://example.com/flyio",
		Signer:  flytest.CavageOptions{Headers: []string{"(request-target)", "host"}}.Cavage(flyext.Key{ID: "k", Secret: "s"}),
	}
	r, err := fly.NewRequest(context.Background(), http.MethodGet, flytest.ExtensionPath("a/b"), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(flytest.SignatureBase(r))
	// Output:
	// (request-target): get /flyio/extensions/a%2Fb
	// host: example.com
}
