package service

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
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

// orderWith returns a request for a stream of a machine.
func orderWith(id, organizationID, machine string) *flyext.ProvisionRequest {
	return &flyext.ProvisionRequest{ID: id, OrganizationID: organizationID, Extra: machineOption(machine)}
}

func machineOption(machine string) map[string]json.RawMessage {
	return map[string]json.RawMessage{"machine_id": json.RawMessage(`"` + machine + `"`)}
}

// TestMachineOfAnotherOrganization checks that an organization cannot get the events of
// a machine that another organization's stream names.
func TestMachineOfAnotherOrganization(t *testing.T) {
	t.Parallel()
	update := func(t *testing.T, l *Logjam, id string, req *flyext.UpdateRequest) error {
		_, err := l.Update(t.Context(), id, req)
		return err
	}
	tests := []struct {
		name string
		do   func(t *testing.T, l *Logjam) error
		want *flyext.Error
	}{
		{"another organization's new stream", func(t *testing.T, l *Logjam) error {
			_, err := l.Provision(t.Context(), orderWith("3", "other", "m"))
			return err
		}, errForeignMachine},
		{"another organization's stream", func(t *testing.T, l *Logjam) error {
			return update(t, l, "2", &flyext.UpdateRequest{Extra: machineOption("m")})
		}, errForeignMachine},
		{"one of two streams moves to another organization", func(t *testing.T, l *Logjam) error {
			provision(t, l, orderWith("3", "org", "m"))
			return update(t, l, "1", &flyext.UpdateRequest{OrganizationID: flyext.OptionalOf("other")})
		}, errForeignMachine},
		{"the only stream moves to another organization", func(t *testing.T, l *Logjam) error {
			return update(t, l, "1", &flyext.UpdateRequest{OrganizationID: flyext.OptionalOf("other")})
		}, nil},
		{"the same organization", func(t *testing.T, l *Logjam) error {
			_, err := l.Provision(t.Context(), orderWith("3", "org", "m"))
			return err
		}, nil},
		{"another machine", func(t *testing.T, l *Logjam) error {
			_, err := l.Provision(t.Context(), orderWith("3", "other", "n"))
			return err
		}, nil},
		{"the machine of a deleted stream", func(t *testing.T, l *Logjam) error {
			if err := l.Deprovision(t.Context(), "1"); err != nil {
				return err
			}
			return update(t, l, "2", &flyext.UpdateRequest{Extra: machineOption("m")})
		}, nil},
	}
	onEach(t, func(t *testing.T, db string) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				l := newLogjam(t, another(t, db))
				provision(t, l, orderWith("1", "org", "m"))
				provision(t, l, orderWith("2", "other", ""))
				err := test.do(t, l)
				if test.want == nil {
					if err != nil {
						t.Error(err)
					}
					return
				}
				wantError(t, err, test.want)
				event := &flyext.Event{ID: "1", Source: "https://api.fly.io", MachineID: "m", Status: "failed"}
				if err := l.ReceiveEvent(t.Context(), event); err != nil {
					t.Fatal(err)
				}
				for organization, want := range map[string]bool{"org": true, "other": false} {
					all := strings.Join(activities(t, l.store, organization, ""), "\n")
					if strings.Contains(all, "Machine m: failed") != want {
						t.Errorf("organization %s has the activities %s", organization, all)
					}
				}
			})
		}
	})
}

// TestMachineClaimedAtOnce checks that of two organizations that name a machine at the
// same time, one gets it.
func TestMachineClaimedAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, db string) {
		l := newLogjam(t, db)
		for round := range 10 {
			errs := make([]error, 2)
			var calls sync.WaitGroup
			for i := range errs {
				calls.Go(func() {
					id := fmt.Sprint(round, "-", i)
					_, errs[i] = l.Provision(t.Context(), orderWith(id, fmt.Sprint("org-", i), fmt.Sprint("machine-", round)))
				})
			}
			calls.Wait()
			if (errs[0] == nil) == (errs[1] == nil) {
				t.Fatalf("round %d: the organizations got the errors %v, want one of them to be refused", round, errs)
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
