package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// The secrets that Fly.io shares with the provider of the tests.
const (
	signingSecret = "signing-secret-of-the-tests"
	bearerToken   = "bearer-token-of-the-tests"
	clientID      = "client-of-the-tests"
	clientSecret  = "client-secret-of-the-tests"
	webhookSecret = "webhook-secret-of-the-tests"
	shortSecret   = "secret" // the provider accepts it too
)

// A memory is a provider that keeps its extensions in memory.
type memory struct {
	mu       sync.Mutex
	streams  map[string]flyext.ProvisionRequest
	deleted  map[string]bool
	updates  []flyext.UpdateRequest
	events   []flyext.Event
	polls    int // number of GETs to answer with "provisioning"
	failed   string
	webhooks *flyext.Webhooks // receives each provisioned extension; may be nil
	secrets  func(id string) flyext.Secrets
	url      string // of the provider, without the path of the base URL
}

func (m *memory) extension(id string) *flyext.Extension {
	secrets := flyext.Secrets{"LOGJAM_URL": "https://" + id + ":pass'word$@logjam.example"}
	if m.secrets != nil {
		secrets = m.secrets(id)
	}
	x := &flyext.Extension{ID: id, Name: m.streams[id].Name, Secrets: secrets, Status: flyext.Ready}
	if m.polls > 0 {
		x.Status = flyext.Provisioning
	} else if m.failed != "" {
		x.Status, x.Message = flyext.Failed, m.failed
	}
	return x
}

func (m *memory) Provision(ctx context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.streams == nil {
		m.streams, m.deleted = map[string]flyext.ProvisionRequest{}, map[string]bool{}
	}
	if m.deleted[r.ID] {
		return nil, flyext.Gone("The stream was deleted.")
	}
	if _, ok := m.streams[r.ID]; !ok {
		m.streams[r.ID] = *r
	}
	if m.webhooks != nil {
		_ = m.webhooks.Updated(ctx, &flyext.Extension{ID: r.ID, Status: flyext.Ready}) // the receiver checks the result
	}
	return m.extension(r.ID), nil
}

func (m *memory) Update(_ context.Context, id string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stream, ok := m.streams[id]
	if !ok {
		return nil, flyext.NotFound("There is no such stream.")
	}
	if name, ok := r.Name.Get(); ok {
		stream.Name = name
		m.streams[id] = stream
	}
	m.updates = append(m.updates, *r)
	return m.extension(id), nil
}

func (m *memory) Fetch(_ context.Context, id string) (*flyext.Extension, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.streams[id]; !ok {
		return nil, flyext.NotFound("There is no such stream.")
	}
	x := m.extension(id)
	m.polls = max(0, m.polls-1)
	return x, nil
}

func (m *memory) Deprovision(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.streams[id]; ok {
		m.deleted[id] = true
	}
	delete(m.streams, id)
	return nil
}

func (m *memory) request(id string) flyext.ProvisionRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.streams[id]
}

func (m *memory) lastUpdate(t *testing.T) flyext.UpdateRequest {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.updates) == 0 {
		t.Fatal("the provider got no update")
	}
	return m.updates[len(m.updates)-1]
}

// serve serves the memory as a provider of both generations and returns its base
// URL. Without an oauthURL it offers no sign-on.
func (m *memory) serve(t *testing.T, oauthURL string, generation flyext.Generation) string {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	m.url = "http://" + server.Listener.Addr().String()
	config := flyext.Config{
		BaseURL: m.url + "/flyio",
		Logger:  slog.New(slog.DiscardHandler),
		Verifier: flyext.AnyOf(
			flyext.XSignature(signingSecret, shortSecret),
			flyext.AllOf(
				flyext.BearerToken(bearerToken),
				flyext.MessageSignature(flyext.Key{ID: flytest.DefaultKeyID, Secret: signingSecret}),
			),
		),
	}
	if oauthURL != "" {
		config.SSO = &flyext.SSOConfig{
			ClientID: clientID, ClientSecret: clientSecret, StateKey: strings.Repeat("k", 32),
			OAuthURL: oauthURL, Generation: generation,
			// Each run of flysim has its own OAuth server at this address, so a connection
			// to the last one must not be reused.
			HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
			OrganizationOf: func(_ context.Context, id string) (string, error) {
				if stream := m.request(id); stream.ID != "" {
					return stream.OrganizationID, nil
				}
				return "", flyext.NotFound("There is no such stream.")
			},
			SignIn: func(w http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
				http.Redirect(w, r, "/streams/"+url.PathEscape(id.ExtensionID), http.StatusSeeOther)
				return nil
			},
		}
	}
	provider, err := flyext.New(m, config)
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/flyio/", provider)
	mux.HandleFunc("/streams/", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("the stream")) })
	server.Start()
	t.Cleanup(server.Close)
	return config.BaseURL
}

// sendWebhooks makes the provider send a webhook to an endpoint for each provisioned
// extension.
func (m *memory) sendWebhooks(t *testing.T, secret, endpoint string) {
	t.Helper()
	var err error
	m.webhooks, err = flyext.NewWebhooks(flyext.WebhookConfig{ProviderName: "logjam", Secret: secret, Endpoint: endpoint, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
}

// A terminal is the environment and the input of a run of flysim.
type terminal struct {
	env   map[string]string
	stdin string
}

// newTerminal returns a terminal with the base URL and the secrets of the provider.
func newTerminal(baseURL string) *terminal {
	return &terminal{env: map[string]string{
		"FLYSIM_BASE_URL":      baseURL,
		"FLYIO_SIGNING_SECRET": signingSecret,
		"FLYIO_BEARER_TOKEN":   bearerToken,
	}}
}

// with returns a terminal with changed variables. The value "-" removes a variable.
func (term *terminal) with(variables ...string) *terminal {
	changed := &terminal{env: maps.Clone(term.env), stdin: term.stdin}
	for pair := range slices.Chunk(variables, 2) {
		if changed.env[pair[0]] = pair[1]; pair[1] == "-" {
			delete(changed.env, pair[0])
		}
	}
	return changed
}

type output struct {
	status         int
	stdout, stderr string
}

func (term *terminal) run(t *testing.T, args ...string) output {
	t.Helper()
	return term.runUntil(t.Context(), args...)
}

func (term *terminal) runUntil(ctx context.Context, args ...string) output {
	var stdout, stderr bytes.Buffer
	lookup := func(name string) (string, bool) { value, ok := term.env[name]; return value, ok }
	status := run(ctx, args, lookup, strings.NewReader(term.stdin), &stdout, &stderr)
	return output{status, stdout.String(), stderr.String()}
}

// want fails the test unless flysim ended with a status.
func (o output) want(t *testing.T, status int) output {
	t.Helper()
	if o.status != status {
		t.Fatalf("the exit status is %d, want %d\nstdout:\n%s\nstderr:\n%s", o.status, status, o.stdout, o.stderr)
	}
	return o
}

// decode decodes standard output, which must be one JSON document.
func (o output) decode(t *testing.T, into any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(o.stdout))
	if err := dec.Decode(into); err != nil {
		t.Fatalf("standard output is not JSON: %v\n%s", err, o.stdout)
	}
	if dec.More() {
		t.Fatalf("standard output is more than one document:\n%s", o.stdout)
	}
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}

// words returns a text with one space between words, to ignore wrapping.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }
