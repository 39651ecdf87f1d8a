package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/cmd/flysim/internal/har"
	"github.com/flyext/flyext/flytest"
)

// TestRecordAndReplay: check --record writes a failure to a file, and replay and
// explain read it.
func TestRecordAndReplay(t *testing.T) {
	t.Parallel()
	term := newTerminal(startPython(t, "number").baseURL)
	dir := filepath.Join(t.TempDir(), "failures")
	term.run(t, "check", "--only", "secret-values,idempotent", "--record", dir).want(t, exitRefused)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != "secret-values.har" {
		t.Fatalf("the files are %v, %v", files, err)
	}
	file := filepath.Join(dir, files[0].Name())
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	// The provider accepts the signature. The extension is gone, because check removes
	// its extensions.
	contains(t, term.run(t, "replay", file).want(t, exitRefused).stdout, "The stream was deleted.")
	contains(t, term.run(t, "replay", file, "--same-bytes").want(t, exitRefused).stdout, "unauthorized")
	contains(t, term.run(t, "explain", file).want(t, 0).stdout, "The signature is right")
	for _, args := range [][]string{{"replay"}, {"replay", "nosuch"}, {"replay", os.DevNull}} {
		term.run(t, args...).want(t, exitUsage)
	}
}

// recordedFile returns the name of a HAR file with a request.
func recordedFile(t *testing.T, r *http.Request) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := har.Encode([]flytest.Exchange{{Request: r, RequestBody: body}}, "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "recorded.har")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestReplayKeepsTheRequest: replay changes only the signature of a recorded request.
func TestReplayKeepsTheRequest(t *testing.T) {
	t.Parallel()
	event := flyext.Event{ID: "e1", Type: "io.fly.machine.started", MachineID: "m1", Status: "started"}
	ofEvent := func(mode flytest.EventMode) func(*testing.T, *flytest.Platform) (*http.Request, error) {
		return func(t *testing.T, fly *flytest.Platform) (*http.Request, error) {
			return fly.NewEventRequest(t.Context(), mode, event)
		}
	}
	ofPOST := func(path, body string) func(*testing.T, *flytest.Platform) (*http.Request, error) {
		return func(t *testing.T, fly *flytest.Platform) (*http.Request, error) {
			return fly.NewRequest(t.Context(), http.MethodPost, path, []byte(body))
		}
	}
	for _, c := range []struct {
		name   string
		format flytest.Format
		make   func(*testing.T, *flytest.Platform) (*http.Request, error)
		fields map[string]string // of the replayed request
		body   string            // "" means the recorded one, without the parameters of X-Signature
		target string
	}{
		{"a binary event", flytest.FormatXSignature, ofEvent(flytest.BinaryMode), map[string]string{"Ce-Id": "e1", "Ce-Type": event.Type}, "", "/flyio/extensions/events"},
		{"a structured event", flytest.FormatXSignature, ofEvent(flytest.StructuredMode), map[string]string{"Content-Type": "application/cloudevents+json"}, "", "/flyio/extensions/events"},
		{"a binary event of generation 1", flytest.FormatRFC9421, ofEvent(flytest.BinaryMode), map[string]string{"Ce-Id": "e1", "Ce-Type": event.Type}, "", "/flyio/extensions/events"},
		{
			"parameters of the provider", flytest.FormatRFC9421, ofPOST("/extensions?nonce=1&x=2", `{"id": "x", "url": "u", "timestamp": 1}`), nil,
			`{"id": "x", "url": "u", "timestamp": 1}`, "/flyio/extensions?nonce=1&x=2",
		},
		{"parameters of X-Signature", flytest.FormatXSignature, ofPOST("/extensions", `{"id":"x","a": 1.0}`), nil, `{"id":"x","a":1.0`, "/flyio/extensions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got *http.Request
			var body []byte
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got = r
				body, _ = io.ReadAll(r.Body)
			}))
			defer server.Close()
			fly := &flytest.Platform{BaseURL: server.URL + "/flyio", Signer: c.format.Signer(flytest.Credentials{SigningSecret: signingSecret, BearerToken: bearerToken})}
			recorded, err := c.make(t, fly)
			if err != nil {
				t.Fatal(err)
			}
			recorded.Header.Set("X-Own", "1")
			newTerminal(server.URL+"/flyio").run(t, "replay", recordedFile(t, recorded), "--format", string(c.format)).want(t, 0)
			if got.RequestURI != c.target || got.Header.Get("X-Own") != "1" {
				t.Errorf("got %s %v", got.RequestURI, got.Header)
			}
			for name, value := range c.fields {
				if got.Header.Get(name) != value {
					t.Errorf("got %v, want the %s %s", got.Header, name, value)
				}
			}
			if c.body != "" && !bytes.HasPrefix(body, []byte(c.body)) {
				t.Errorf("got the body %s, want %s", body, c.body)
			}
			for _, name := range []string{"X-Signature", "Signature"} {
				if sent := recorded.Header.Get(name); len(got.Header.Values(name)) > 1 || sent != "" && (got.Header.Get(name) == "" || got.Header.Get(name) == sent) {
					t.Errorf("the recorded %s is %s, and the new one %q", name, sent, got.Header.Values(name))
				}
			}
		})
	}
}

// TestReplayedEventArrives: a provider accepts a replayed event.
func TestReplayedEventArrives(t *testing.T) {
	t.Parallel()
	for _, mode := range []flytest.EventMode{flytest.BinaryMode, flytest.StructuredMode} {
		m := &memory{}
		base := m.serve(t, "", 0)
		fly := &flytest.Platform{BaseURL: base, Signer: flytest.XSignature(signingSecret)}
		recorded, err := fly.NewEventRequest(t.Context(), mode, flyext.Event{ID: "e1", Type: "io.fly.machine.started", MachineID: "m1", Status: "started"})
		if err != nil {
			t.Fatal(err)
		}
		newTerminal(base).run(t, "replay", recordedFile(t, recorded)).want(t, 0)
		if got := m.received(); len(got) != 1 || got[0].ID != "e1" || got[0].Status != "started" {
			t.Errorf("mode %v: received %+v", mode, got)
		}
	}
}
