package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

func (m *memory) ReceiveEvent(_ context.Context, e *flyext.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, *e)
	return nil
}

func (m *memory) received() []flyext.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events)
}

// TestEvent: by default, an event has a new id and says that a machine started.
func TestEvent(t *testing.T) {
	t.Parallel()
	m := &memory{}
	term := newTerminal(m.serve(t, "", 0))
	got := term.run(t, "event").want(t, 0)
	term.run(t, "event").want(t, 0)
	events := m.received()
	if len(events) != 2 || events[0].ID == events[1].ID {
		t.Fatalf("received %+v", events)
	}
	e := events[0]
	if e.Type != "io.fly.machine.started" || e.Source != "https://api.fly.io" || e.MachineID != "5683977ad31768" || e.Status != "started" {
		t.Errorf("received %+v", e)
	}
	contains(t, got.stdout, "event    io.fly.machine.started, binary\n", "id       "+e.ID+"\n", "source   https://api.fly.io\n",
		"data     machine 5683977ad31768, started\n", "answer   200 OK\n")
	narrow(t, got.stdout)
	if got.stderr != "" {
		t.Errorf("standard error is %q", got.stderr)
	}
}

// TestEventFlags: the provider receives the values of all flags, in all modes that
// the format can sign.
func TestEventFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		format flytest.Format
		mode   string
	}{
		{flytest.FormatXSignature, "binary"}, {flytest.FormatXSignature, "structured"},
		{flytest.FormatRFC9421, "binary"}, {flytest.FormatRFC9421, "structured"}, {flytest.FormatRFC9421, "batched"},
		{flytest.FormatDraft05, "batched"}, {flytest.FormatCavage, "batched"},
	} {
		t.Run(string(c.format)+" "+c.mode, func(t *testing.T) {
			t.Parallel()
			m := &memory{}
			term := newTerminal(m.serve(t, "", 0))
			got := term.run(t, "event", "--format", string(c.format), "--mode", c.mode, "--type", "io.fly.machine.failed", "--id", "e1",
				"--source", "https://fly.example/machines", "--subject", "the <b>subject</b> größe", "--machine", "m1", "--status", "broken", "-v").want(t, 0)
			events := m.received()
			if len(events) != 1 {
				t.Fatalf("received %+v", events)
			}
			e := events[0]
			if e.Type != "io.fly.machine.failed" || e.ID != "e1" || e.Source != "https://fly.example/machines" ||
				e.Subject != "the <b>subject</b> größe" || e.MachineID != "m1" || e.Status != "broken" {
				t.Errorf("received %+v", e)
			}
			contains(t, got.stderr, "> POST /flyio/extensions/events HTTP/1.1", "--- signature base: ", "< HTTP/1.1 200 OK")
			contains(t, got.stdout, "event    io.fly.machine.failed, "+c.mode+"\n", "subject  the <b>subject</b> größe\n")
		})
	}
}

func TestEventData(t *testing.T) {
	t.Parallel()
	const data = `{"machine_id":"m2","status":"failed","data":{"Error":"image not found"}}`
	file := filepath.Join(t.TempDir(), "data.json")
	if err := os.WriteFile(file, []byte(data+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, arg := range map[string]string{"given": data, "file": "@" + file, "standard input": "-"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &memory{}
			term := newTerminal(m.serve(t, "", 0))
			term.stdin = data
			got := term.run(t, "event", "--mode", "structured", "--data", arg).want(t, 0)
			events := m.received()
			if len(events) != 1 || string(events[0].Data) != data || events[0].MachineID != "m2" || events[0].Status != "failed" {
				t.Errorf("received %+v", events)
			}
			contains(t, words(got.stdout), "image not found")
		})
	}
}

func TestEventCount(t *testing.T) {
	t.Parallel()
	for mode, requests := range map[string]int{"binary": 3, "batched": 1} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			m := &memory{}
			term := newTerminal(m.serve(t, "", 0))
			var doc jsonSendings
			term.run(t, "event", "--format", "rfc9421", "--mode", mode, "--count", "3", "--json").want(t, 0).decode(t, &doc)
			ids := map[string]bool{}
			for _, e := range m.received() {
				ids[e.ID] = true
			}
			for _, r := range doc.Requests {
				for _, e := range r.Events {
					if !ids[e.ID] {
						t.Errorf("the output has the event %s, which the provider did not receive", e.ID)
					}
				}
			}
			if len(ids) != 3 || len(doc.Requests) != requests || doc.Mode != mode || doc.Requests[0].Status != 200 || doc.Error != nil {
				t.Errorf("received %d events, and the document is %+v", len(ids), doc)
			}
		})
	}
}

// TestEventAgain: --again sends the same event in a new request.
func TestEventAgain(t *testing.T) {
	t.Parallel()
	m := &memory{}
	sound := newTerminal(m.serve(t, "", 0))
	var doc jsonSendings
	sound.run(t, "event", "--again", "--json").want(t, 0).decode(t, &doc)
	if len(doc.Requests) != 2 || doc.Requests[0].Again || !doc.Requests[1].Again || doc.Requests[0].Events[0] != doc.Requests[1].Events[0] {
		t.Errorf("the document is %+v", doc)
	}
	if n := len(m.received()); n != 1 {
		t.Errorf("received %d events, want 1", n)
	}

	seen := map[string]bool{}
	signatures := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signatures[r.Header.Get("X-Signature")] = true
		if id := r.Header.Get("Ce-Id"); seen[id] {
			w.WriteHeader(http.StatusConflict)
			w.Write([]byte(`{"error":"duplicate","message":"It was here."}`))
		} else {
			seen[id] = true
		}
	}))
	defer server.Close()
	got := newTerminal(server.URL).run(t, "event", "--again").want(t, 1)
	contains(t, words(got.stdout), "binary, duplicate", "answer 409 Conflict")
	contains(t, words(got.stderr), "the provider must accept a duplicate event, but the provider answered with 409 Conflict (duplicate): It was here.")
	if len(signatures) != 2 {
		t.Errorf("there are %d signatures, want 2", len(signatures))
	}
	doc = jsonSendings{}
	newTerminal(server.URL).run(t, "event", "--again", "--json").want(t, 1).decode(t, &doc)
	if doc.Error == nil || doc.Error.Status != 409 || len(doc.Requests) != 2 {
		t.Errorf("the document is %+v", doc)
	}
}

// TestEventRefused: event stops at the first refusal.
func TestEventRefused(t *testing.T) {
	t.Parallel()
	url := serveStatus(t, http.StatusNotImplemented, `{"error":"unsupported","message":"No events here."}`)
	got := newTerminal(url).run(t, "event", "--count", "3").want(t, 1)
	if n := strings.Count(got.stdout, "answer   501 Not Implemented"); n != 1 {
		t.Errorf("the output has %d answers, want 1:\n%s", n, got.stdout)
	}
	contains(t, words(got.stderr), "No events here.")
}
