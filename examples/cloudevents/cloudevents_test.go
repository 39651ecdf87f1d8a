// Package cloudevents tests that flyext receives the events of the official
// CloudEvents SDK unchanged.
package cloudevents

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const (
	baseURL = "https://example.com/flyio"
	secret  = "signing-secret"
)

// A receiver records the events that it receives.
type receiver struct {
	flyext.Provisioner // not used here
	mu                 sync.Mutex
	events             []*flyext.Event
}

func (r *receiver) ReceiveEvent(_ context.Context, e *flyext.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	return nil
}

// A signing transport signs the SDK's requests as Fly.io would.
type signing struct {
	signer flytest.Signer
	next   http.RoundTripper
}

func (s signing) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	signed := r.Clone(r.Context())
	flytest.SetBody(signed, body)
	if err := s.signer.Sign(signed, time.Now()); err != nil {
		return nil, err
	}
	return s.next.RoundTrip(signed)
}

// sent returns events made with the SDK.
func sent(t *testing.T) []sdk.Event {
	t.Helper()
	at := time.Date(2026, 11, 24, 7, 30, 15, 123456789, time.UTC)
	var events []sdk.Event
	for i, data := range []any{
		map[string]any{"machine_id": "5683977ad31768", "status": "failed", "data": map[string]string{"Error": "image not found"}},
		map[string]any{"machine_id": "größe-✈", "status": "started"},
	} {
		e := sdk.NewEvent()
		e.SetID(fmt.Sprintf("event-%d", i))
		e.SetSource("https://api.fly.io/apps/collider-prod?region=mad")
		e.SetType("io.fly.machine.starting")
		e.SetSubject("5683977ad31768 of \"collider\"")
		e.SetTime(at.Add(time.Duration(i) * time.Hour))
		e.SetDataSchema("https://fly.io/schemas/machine#1")
		e.SetExtension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		e.SetExtension("attempt", 3)
		e.SetExtension("sampled", true)
		if err := e.SetData(sdk.ApplicationJSON, data); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func TestReceivedAsSent(t *testing.T) {
	t.Parallel()
	key := flyext.Key{ID: flytest.DefaultKeyID, Secret: secret}
	message := flyext.MessageSignature(key)
	for _, c := range []struct {
		name     string
		signer   flytest.Signer
		verifier flyext.Verifier
		batch    bool // supports batches
	}{
		{"RFC 9421", flytest.RFC9421(key), message, true},
		{"draft-cavage", flytest.CavageOptions{CoverDigest: true}.Cavage(key), message, true},
		{"X-Signature", flytest.XSignature(secret), flyext.XSignature(secret), false},
	} {
		for _, mode := range []string{"binary", "structured", "batched"} {
			if mode == "batched" && !c.batch {
				continue // X-Signature's parameters need an object, and a batch is an array
			}
			t.Run(c.name+", "+mode, func(t *testing.T) {
				t.Parallel()
				r := &receiver{}
				provider, err := flyext.New(r, flyext.Config{BaseURL: baseURL, Verifier: c.verifier})
				if err != nil {
					t.Fatal(err)
				}
				server := httptest.NewTLSServer(provider)
				t.Cleanup(server.Close)
				events := sent(t)
				send(t, mode, signing{c.signer, server.Client().Transport}, events)
				if len(r.events) != len(events) {
					t.Fatalf("received %d events, want %d", len(r.events), len(events))
				}
				for i, want := range events {
					compare(t, r.events[i], want, c.name == "X-Signature" && mode == "binary")
				}
			})
		}
	}
}

// send sends events with the SDK, one at a time or as a batch.
func send(t *testing.T, mode string, transport http.RoundTripper, events []sdk.Event) {
	t.Helper()
	const target = baseURL + "/extensions/events"
	if mode == "batched" {
		r, err := sdk.NewHTTPRequestFromEvents(t.Context(), target, events)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("the response to the batch is %s", answer.Status)
		}
		return
	}
	client, err := sdk.NewClientHTTP(sdk.WithTarget(target), sdk.WithRoundTripper(transport))
	if err != nil {
		t.Fatal(err)
	}
	ctx := binding.WithForceBinary(t.Context())
	if mode == "structured" {
		ctx = binding.WithForceStructured(t.Context())
	}
	for _, e := range events {
		if result := client.Send(ctx, e); !sdk.IsACK(result) {
			t.Fatalf("%s: %v", e.ID(), result)
		}
	}
}

// compare compares a received event with the sent one. If signed is true, the data
// is the body, to which X-Signature adds members.
func compare(t *testing.T, got *flyext.Event, want sdk.Event, signed bool) {
	t.Helper()
	for _, attribute := range []struct{ name, got, want string }{
		{"id", got.ID, want.ID()},
		{"source", got.Source, want.Source()},
		{"type", got.Type, want.Type()},
		{"specversion", got.SpecVersion, want.SpecVersion()},
		{"subject", got.Subject, want.Subject()},
		{"datacontenttype", got.DataContentType, want.DataContentType()},
		{"dataschema", got.DataSchema, want.DataSchema()},
	} {
		if attribute.got != attribute.want {
			t.Errorf("%s: got %q, want %q", attribute.name, attribute.got, attribute.want)
		}
	}
	if !got.Time.Equal(want.Time()) {
		t.Errorf("time: got %v, want %v", got.Time, want.Time())
	}
	extensions := make(map[string]string)
	for name, value := range want.Extensions() {
		extensions[name] = fmt.Sprint(value)
	}
	if !maps.Equal(got.Extensions, extensions) {
		t.Errorf("extensions: got %q, want %q", got.Extensions, extensions)
	}
	var data struct {
		MachineID string `json:"machine_id"`
		Status    string `json:"status"`
	}
	if err := want.DataAs(&data); err != nil {
		t.Fatal(err)
	}
	if got.MachineID != data.MachineID || got.Status != data.Status {
		t.Errorf("got machine %q, status %q, want %+v", got.MachineID, got.Status, data)
	}
	if !signed && string(got.Data) != string(want.Data()) {
		t.Errorf("data: got %s, want %s", got.Data, want.Data())
	}
}
