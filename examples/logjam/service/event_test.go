package service

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// TestEvent checks that an event of a machine becomes one activity of each stream
// that collects the machine's logs, and of no other stream. Duplicates count once,
// even if they reach different machines of Logjam.
func TestEvent(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		c := databaseConfig(db)
		c.addr, c.signingSecrets = "127.0.0.1:0", []string{testSecret}
		var machines []*flytest.Platform
		var l *Logjam
		for range 2 {
			s, err := newServer(t.Context(), c, testLog(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.logjam.store.close() })
			t.Cleanup(func() { s.http.Close() })
			go s.http.Serve(s.listener) // until it is closed
			l = s.logjam
			machines = append(machines, &flytest.Platform{BaseURL: s.baseURL, Signer: flytest.XSignature(testSecret)})
		}
		for id, machine := range map[string]string{"42": `"5683977ad31768"`, "43": `"e2865641be9786"`, "44": `""`} {
			_, err := machines[0].Provision(t.Context(), flyext.ProvisionRequest{
				ID: id, Name: "stream " + id, OrganizationID: "org", Extra: map[string]json.RawMessage{"machine_id": json.RawMessage(machine)},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		send := func(e flyext.Event) {
			t.Helper()
			for _, fly := range machines {
				if err := fly.SendEvent(t.Context(), e, flytest.StructuredMode); err != nil {
					t.Error(err)
				}
			}
		}
		send(flyext.Event{ID: "1", MachineID: "5683977ad31768", Status: "failed"})
		send(flyext.Event{ID: "2", MachineID: "5683977ad31768"}) // no status, so the type is shown
		send(flyext.Event{ID: "3", MachineID: "unknown", Status: "failed"})
		send(flyext.Event{ID: "4", Type: "io.fly.account.renamed", Data: []byte(`{}`)})
		want := []string{
			"Machine 5683977ad31768: io.fly.machine.started stream 42: Fly.io", "Machine 5683977ad31768: failed stream 42: Fly.io",
			"Created stream 42: Fly.io",
		}
		if got := activities(t, l.store, "org", "42"); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		for _, other := range []string{"43", "44"} {
			if got := activities(t, l.store, "org", other); len(got) != 1 {
				t.Errorf("stream %s has the activities %q, want one", other, got)
			}
		}
	})
}

// TestEventInDashboard checks that the page escapes the text of an event.
func TestEventInDashboard(t *testing.T) {
	t.Parallel()
	d := newDashboardTest(t)
	_, err := d.logjam.Update(t.Context(), "alpha", &flyext.UpdateRequest{Extra: map[string]json.RawMessage{"machine_id": json.RawMessage(`"5683977ad31768"`)}})
	if err != nil {
		t.Fatal(err)
	}
	event := &flyext.Event{ID: "1", Source: "https://api.fly.io", MachineID: "5683977ad31768", Status: "failed" + hostile}
	if err := d.logjam.ReceiveEvent(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "https://logjam.example/streams/alpha", nil)
	r.AddCookie(d.in(collider))
	if page := d.do(r).Body.String(); !strings.Contains(page, "Machine 5683977ad31768: failed") {
		t.Errorf("the page does not show the event:\n%s", page)
	}
}

// TestEventFails checks that ReceiveEvent fails if it cannot store the event, so that
// Fly.io retries.
func TestEventFails(t *testing.T) {
	t.Parallel()
	l := newLogjam(t, dbPath(t))
	if err := l.store.close(); err != nil {
		t.Fatal(err)
	}
	if err := l.ReceiveEvent(t.Context(), &flyext.Event{ID: "1", Source: "s", MachineID: "m"}); err == nil {
		t.Error("ReceiveEvent accepted an event without storing it")
	}
}
