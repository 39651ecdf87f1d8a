package flytest_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// watchful is logjam with events of machines.
type watchful struct{ logjam }

func (watchful) ReceiveEvent(_ context.Context, e *flyext.Event) error {
	fmt.Println(e.MachineID, e.Status)
	return nil
}

// A duplicate event is received once, even if it is sent in another mode.
func ExamplePlatform_SendEvent() {
	provider, err := flyext.New(watchful{}, flyext.Config{
		BaseURL: "https://example.com/flyio", Verifier: flyext.XSignature("signing-secret"),
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewTLSServer(provider)
	defer server.Close()
	fly := &flytest.Platform{BaseURL: "https://example.com/flyio", Signer: flytest.XSignature("signing-secret"), Client: server.Client()}

	e := flyext.Event{ID: "01HTCQZ5", Type: "io.fly.machine.stopped", MachineID: "5683977ad31768", Status: "stopped"}
	for _, mode := range []flytest.EventMode{flytest.BinaryMode, flytest.StructuredMode} {
		fmt.Println(mode, fly.SendEvent(context.Background(), e, mode))
	}
	// Output:
	// 5683977ad31768 stopped
	// binary <nil>
	// structured <nil>
}

// A fault makes the first webhook fail. The second one is accepted.
func ExampleWebhookReceiver() {
	fly := &flytest.WebhookReceiver{Secret: "webhook secret"}
	server := httptest.NewServer(fly)
	defer server.Close()
	hooks, err := flyext.NewWebhooks(flyext.WebhookConfig{
		ProviderName: "logjam", Secret: "webhook secret", Endpoint: server.URL + "/api/hooks/extensions/logjam", Attempts: 1,
	})
	if err != nil {
		log.Fatal(err)
	}
	stream := &flyext.Extension{ID: "5lgmabb3y30", Status: flyext.Ready}

	fly.SetFault(flytest.StatusAnswer(503))
	fmt.Println(hooks.Updated(context.Background(), stream))
	fly.SetFault(nil)
	fmt.Println(hooks.Updated(context.Background(), stream))

	for _, w := range fly.Resources() {
		fmt.Println(w.Action, w.Resource.ID, w.Resource.Status)
	}
	// Output:
	// flyext: webhook resource.updated of "5lgmabb3y30" failed after 1 attempt: status 503
	// <nil>
	// resource.updated 5lgmabb3y30 ready
}
