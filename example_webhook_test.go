package flyext_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

func ExampleWebhooks() {
	fly := &flytest.WebhookReceiver{Secret: "webhook secret"} // stands in for Fly.io
	server := httptest.NewServer(fly)
	defer server.Close()

	hooks, err := flyext.NewWebhooks(flyext.WebhookConfig{
		ProviderName: "logjam", Secret: "webhook secret",
		Endpoint: server.URL, // omit it in production
	})
	if err != nil {
		log.Fatal(err)
	}
	// Pass the same Extension as Fetch returns. Secrets are never sent.
	stream := &flyext.Extension{
		ID: "5lgmabb3y30", Status: flyext.Ready, Secrets: flyext.Secrets{"LOGJAM_URL": "https://user:password@test.logjam.org"},
		Extra: map[string]json.RawMessage{"plan": json.RawMessage(`"scaler_pro"`)},
	}
	if err := hooks.Updated(context.Background(), stream); err != nil {
		log.Fatal(err)
	}
	told, _ := fly.Resource("5lgmabb3y30")
	fmt.Println(told.Action, told.Resource.Status, string(told.Resource.Extra["plan"]), told.Resource.Secrets)
	// Output: resource.updated ready "scaler_pro" map[]
}

func ExampleWebhookError() {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	hooks, err := flyext.NewWebhooks(flyext.WebhookConfig{ProviderName: "logjam", Secret: "webhook secret", Endpoint: server.URL})
	if err != nil {
		log.Fatal(err)
	}
	err = hooks.Deleted(context.Background(), &flyext.Extension{ID: "5lgmabb3y30"})
	if e, ok := errors.AsType[*flyext.WebhookError](err); ok {
		fmt.Println("temporary:", e.Temporary())
		fmt.Println(e)
	}
	// Output:
	// temporary: false
	// flyext: webhook resource.deleted of "5lgmabb3y30" failed after 1 attempt: status 404
}

// watching is logjam with a receiver for the events of its customers' machines.
type watching struct{ logjam }

func (watching) ReceiveEvent(_ context.Context, e *flyext.Event) error {
	var data struct{ Data struct{ Error string } }
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return nil // not an event of ours; an error would make Fly.io send it again
	}
	fmt.Println(e.Type, e.MachineID, e.Status+":", data.Data.Error)
	return nil
}

func ExampleEventReceiver() {
	provider, err := flyext.New(watching{}, flyext.Config{
		BaseURL:  "https://logjam.io/flyio",
		Verifier: flyext.XSignature("signing-secret"),
		Now:      atFiveOClock,
	})
	if err != nil {
		log.Fatal(err)
	}
	// Fly.io sends CloudEvents in binary mode: the data is the body.
	r := httptest.NewRequest("POST", "https://logjam.io/flyio/extensions/events", strings.NewReader(
		`{"machine_id":"5683977ad31768","status":"failed","data":{"Error":"image not found"},"timestamp":1685641159,`+
			`"nonce":"a1b2c3d4","url":"https://logjam.io/flyio/extensions/events"}`))
	r.Header.Set("X-Signature", "435a9b7f4d5a506e4a5f4de89011fcda5b7a9b3db415487f67530d00d3173fe2")
	r.Header.Set("Ce-Id", "01HTCQZ5")
	r.Header.Set("Ce-Source", "https://api.fly.io/v1/machines")
	r.Header.Set("Ce-Type", "io.fly.machine.starting")
	r.Header.Set("Ce-Specversion", "1.0")
	w := httptest.NewRecorder()
	provider.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output:
	// io.fly.machine.starting 5683977ad31768 failed: image not found
	// 200 {}
}
