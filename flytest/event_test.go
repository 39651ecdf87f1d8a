package flytest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// listener is a service that receives events.
type listener struct {
	service
	mu     sync.Mutex
	events []*flyext.Event
	err    error
}

func (l *listener) ReceiveEvent(_ context.Context, e *flyext.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	return l.err
}

func startListener(t *testing.T, l *listener, signer flytest.Signer) *flytest.Platform {
	t.Helper()
	provider, err := flyext.New(l, flyext.Config{
		BaseURL: baseURL, Verifier: flyext.AnyOf(flyext.XSignature(secret), flyext.MessageSignature(key)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &flytest.Platform{BaseURL: baseURL, Signer: signer, Client: serve(t, provider)}
}

// TestSendEventFillsIn checks the defaults of an event, which are the same in every
// mode.
func TestSendEventFillsIn(t *testing.T) {
	t.Parallel()
	for _, mode := range []flytest.EventMode{flytest.BinaryMode, flytest.StructuredMode, flytest.BatchedMode} {
		l := &listener{}
		fly := startListener(t, l, flytest.RFC9421(key))
		now := time.Now()
		fly.Now = func() time.Time { return now }
		for range 2 {
			if err := fly.SendEvent(t.Context(), flyext.Event{MachineID: "m1", Status: "started"}, mode); err != nil {
				t.Fatal(err)
			}
		}
		if len(l.events) != 2 || l.events[0].ID == l.events[1].ID {
			t.Fatalf("%v: %d events", mode, len(l.events))
		}
		e := l.events[0]
		if e.Source != "https://api.fly.io" || e.Type != "io.fly.machine.started" || !e.Time.Equal(now) || e.SpecVersion != "1.0" ||
			e.MachineID != "m1" || e.Status != "started" || e.DataContentType != "application/json" ||
			string(e.Data) != `{"machine_id":"m1","status":"started"}` {
			t.Errorf("%v: got %+v", mode, e)
		}
	}
}

func TestSendEvents(t *testing.T) {
	t.Parallel()
	l := &listener{}
	fly := startListener(t, l, flytest.RFC9421(key))
	if err := fly.SendEvents(t.Context(), flyext.Event{ID: "1"}, flyext.Event{ID: "2", Data: []byte{0xff}, DataContentType: "image/png"}, flyext.Event{ID: "1"}); err != nil {
		t.Fatal(err)
	}
	if len(l.events) != 2 || l.events[0].ID != "1" || l.events[1].ID != "2" || string(l.events[1].Data) != "\xff" {
		t.Errorf("got %+v", l.events)
	}
	if err := fly.SendEvents(t.Context()); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
	l.err = errors.New("lost")
	err := fly.SendEvent(t.Context(), flyext.Event{}, flytest.StructuredMode)
	if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Status != http.StatusInternalServerError || e.Code != flyext.CodeInternal {
		t.Errorf("got %v", err)
	}
}

// TestEventOnTheWire checks each header of binary mode and each member of structured
// mode.
func TestEventOnTheWire(t *testing.T) {
	t.Parallel()
	fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.XSignature(secret), Now: func() time.Time { return time.Unix(1_700_000_000, 0).UTC() }}
	e := flyext.Event{
		ID: `a "b" 1%`, Source: "/s", Type: "t", Subject: "€\n", DataSchema: "https://fly.io/s",
		Extensions: map[string]string{"region": "mad"}, Data: []byte(`{"status": "failed"}`),
	}
	r, err := fly.NewEventRequest(t.Context(), flytest.BinaryMode, e)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ce-specversion": "1.0", "ce-id": "a%20%22b%22%201%25", "ce-source": "/s", "ce-type": "t", "ce-subject": "%E2%82%AC%0A",
		"ce-time": "2023-11-14T22:13:20Z", "ce-dataschema": "https://fly.io/s", "ce-region": "mad", "content-type": "application/json",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || !strings.HasPrefix(string(body), `{"status": "failed","timestamp":1700000000,"nonce":"`) {
		t.Errorf("body %s, %v", body, err)
	}

	r, err = fly.NewEventRequest(t.Context(), flytest.StructuredMode, e)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&members); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"specversion": `"1.0"`, "id": `"a \"b\" 1%"`, "source": `"/s"`, "region": `"mad"`, "data": `{"status":"failed"}`,
		"datacontenttype": `"application/json"`, "timestamp": "1700000000", "url": `"https://example.com/flyio/extensions/events"`,
	} {
		if got := string(members[name]); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestEventMisuse(t *testing.T) {
	t.Parallel()
	fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.XSignature(secret), Client: unreachable(t)}
	for name, c := range map[string]struct {
		mode   flytest.EventMode
		events []flyext.Event
		want   string
	}{
		"two events at once":           {flytest.BinaryMode, make([]flyext.Event, 2), "flytest: binary mode takes one event, not 2"},
		"no event":                     {flytest.StructuredMode, nil, "flytest: structured mode takes one event, not 0"},
		"another mode":                 {7, make([]flyext.Event, 1), "flytest: unknown mode EventMode(7)"},
		"an id that is not UTF-8":      {flytest.BinaryMode, []flyext.Event{{ID: "\xff"}}, `flytest: the event's "id" is not UTF-8`},
		"an id that is not UTF-8 JSON": {flytest.StructuredMode, []flyext.Event{{ID: "\xff"}}, "flytest: encoding the request"},
		"a batch under X-Signature":    {flytest.BatchedMode, make([]flyext.Event, 1), "flytest: XSignature: the body must be a JSON object"},
		"text under X-Signature":       {flytest.BinaryMode, []flyext.Event{{Data: []byte("text"), DataContentType: "text/plain"}}, "flytest: XSignature: the body must be a JSON object"},
	} {
		if r, err := fly.NewEventRequest(t.Context(), c.mode, c.events...); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if err := (&flytest.Platform{BaseURL: baseURL}).SendEvent(t.Context(), flyext.Event{}, flytest.BinaryMode); err == nil || err.Error() != "flytest: Platform.Signer is missing" {
		t.Errorf("no signer: %v", err)
	}
}
