package flytest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A logstore is the correct service of a provider. Tests add defects by its functions,
// which run before the correct code.
type logstore struct {
	mu      sync.Mutex
	streams map[string]*stream
	deleted map[string]bool
	tell    *flyext.Webhooks // announces new streams; nil sends no webhooks

	provision   func(s *logstore, req *flyext.ProvisionRequest) (*flyext.Extension, error)
	update      func(s *logstore, id string, req *flyext.UpdateRequest) error
	fetch       func(s *logstore, id string) (*flyext.Extension, error)
	deprovision func(s *logstore, id string) error
	receive     func(s *logstore, e *flyext.Event) error
	announce    func(told, made *flyext.Extension) // changes the webhook about a new stream
}

type stream struct {
	flyext.Extension
	organizationID string
	regions        []string
	updated        bool
}

var errInternal = errors.New("the database is on fire")

func (s *logstore) Provision(ctx context.Context, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
	if s.provision != nil {
		if x, err := s.provision(s, req); x != nil || err != nil {
			return x, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	made, ok := s.streams[req.ID]
	if !ok {
		made = &stream{organizationID: req.OrganizationID, regions: req.ReadRegions}
		made.Name = req.Name
		made.Secrets = newSecrets(req.ID)
		s.streams[req.ID] = made
		if s.tell != nil {
			told := &flyext.Extension{ID: req.ID, Status: flyext.Ready}
			if s.announce != nil {
				s.announce(told, &made.Extension)
			}
			_ = s.tell.Updated(ctx, told) // the receiver records failures
		}
	}
	x := made.Extension
	return &x, nil
}

func newSecrets(id string) flyext.Secrets {
	return flyext.Secrets{
		"LOGJAM_URL":  (&url.URL{Scheme: "https", User: url.UserPassword(id, rand.Text()), Host: "logjam.example"}).String(),
		"LOGJAM_PORT": "5432",
	}
}

// left returns the number of streams.
func (s *logstore) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

func (s *logstore) Update(_ context.Context, id string, req *flyext.UpdateRequest) (*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if name, ok := req.Name.Get(); ok {
		x.Name = name
	}
	if req.ReadRegions.Present {
		x.regions = req.ReadRegions.Value
	}
	x.updated = true
	if s.update != nil {
		if err := s.update(s, id, req); err != nil {
			return nil, err
		}
	}
	answer := x.Extension
	return &answer, nil
}

func (s *logstore) ReceiveEvent(_ context.Context, e *flyext.Event) error {
	if s.receive != nil {
		return s.receive(s, e)
	}
	return nil
}

// find returns a stream. The caller holds the lock.
func (s *logstore) find(id string) (*stream, error) {
	if s.deleted[id] {
		return nil, flyext.Gone("This log stream was deleted.")
	}
	x, ok := s.streams[id]
	if !ok {
		return nil, flyext.NotFound("There is no such log stream.")
	}
	return x, nil
}

func (s *logstore) Fetch(_ context.Context, id string) (*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetch != nil {
		if x, err := s.fetch(s, id); x != nil || err != nil {
			return x, err
		}
	}
	x, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return &flyext.Extension{Name: x.Name, Status: flyext.Ready}, nil
}

func (s *logstore) Deprovision(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deprovision != nil {
		if err := s.deprovision(s, id); err != nil {
			return err
		}
	}
	if _, err := s.find(id); err != nil && !s.deleted[id] {
		return err
	}
	delete(s.streams, id)
	s.deleted[id] = true
	return nil
}

// A world is a provider, a simulated Fly.io and the wires between them. It needs no
// network, so it can run in a synctest bubble with fake time. nil functions change
// nothing.
type world struct {
	format    flytest.Format
	service   *logstore
	offered   flyext.Provisioner // nil means the service
	noSignOn  bool
	config    flyext.Config                                     // of the provider
	verifying func(flyext.Verifier) flyext.Verifier             // changes the verifier
	handling  func(provider http.Handler) http.Handler          // wraps the provider
	asking    func(fly http.RoundTripper) http.RoundTripper     // wraps the way to the sign-on
	signingOn func(sso *flyext.SSOConfig)                       // changes the sign-on
	telling   func(c *flyext.WebhookConfig)                     // changes the webhooks; nil means no webhooks
	testing   func(c *flytest.Conformance)                      // changes the test
	last      string                                            // extension of the last sign-on
	spoil     func(w *world, r *http.Request, answer *answered) // changes each answer
}

const (
	conformanceBase  = "https://provider.example/flyio"
	conformanceOAuth = "https://oauth.example"
	conformanceHooks = "https://hooks.example/logjam"
)

// credentials returns the credentials for the world's format.
func (w *world) credentials() flytest.Credentials {
	c := flytest.Credentials{SigningSecret: secret}
	if w.format.Generation() == flyext.Generation1 {
		c.BearerToken = token
	}
	return c
}

func (w *world) verifier() flyext.Verifier {
	if w.format == flytest.FormatXSignature {
		return flyext.XSignature(secret)
	}
	return flyext.AllOf(flyext.BearerToken(token), flyext.MessageSignature(key))
}

// conformance creates the provider of this world and returns its test.
func (w *world) conformance(t *testing.T) *flytest.Conformance {
	t.Helper()
	if w.service == nil {
		w.service = &logstore{}
	}
	w.service.streams, w.service.deleted = make(map[string]*stream), make(map[string]bool)
	oauth := &flytest.OAuthServer{
		ClientID: "logjam", ClientSecret: "client-secret-0123456789", RedirectURLs: []string{conformanceBase + "/callback"},
		Generation: w.format.Generation(),
	}
	wires := wires{"oauth.example": oauth}
	ask := http.RoundTripper(wires)
	if w.asking != nil {
		ask = w.asking(wires)
	}
	sso := &flyext.SSOConfig{
		ClientID: oauth.ClientID, ClientSecret: oauth.ClientSecret, StateKey: strings.Repeat("k", 32), OAuthURL: conformanceOAuth,
		Generation: oauth.Generation, HTTPClient: &http.Client{Transport: ask},
		OrganizationOf: func(_ context.Context, id string) (string, error) {
			w.service.mu.Lock()
			defer w.service.mu.Unlock()
			x, err := w.service.find(id)
			if err != nil {
				return "", err
			}
			w.last = id
			return x.organizationID, nil
		},
		OrganizationExists: func(context.Context, string) (bool, error) { return true, nil },
		SignIn: func(rw http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
			http.Redirect(rw, r, "/streams/"+url.PathEscape(id.ExtensionID), http.StatusSeeOther)
			return nil
		},
	}
	if w.signingOn != nil {
		w.signingOn(sso)
	}
	c := w.config
	c.BaseURL, c.SSO, c.Logger = conformanceBase, sso, slog.New(slog.DiscardHandler)
	if w.noSignOn {
		c.SSO = nil
	}
	if c.Verifier == nil {
		c.Verifier = w.verifier()
	}
	if c.EventVerifier == nil {
		c.EventVerifier = w.verifier() // so that a defect of c.Verifier affects no events
	}
	if w.verifying != nil {
		c.Verifier = w.verifying(c.Verifier)
	}
	if w.offered == nil {
		w.offered = w.service
	}
	provider, err := flyext.New(w.offered, c)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/streams/", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "the stream") })
	mux.Handle("/flyio/", provider)
	var handler http.Handler = mux
	if w.spoil != nil {
		handler = w.spoiled(mux)
	}
	if w.handling != nil {
		handler = w.handling(handler)
	}
	wires["provider.example"] = handler
	conformance := flytest.Conformance{
		BaseURL: conformanceBase, Format: w.format, Credentials: w.credentials(), OAuth: oauth, OAuthURL: conformanceOAuth,
		Client: &http.Client{Transport: wires},
	}
	if w.telling != nil {
		conformance.Webhooks = &flytest.WebhookReceiver{Secret: webhookSecret, URL: conformanceHooks}
		wires["hooks.example"] = conformance.Webhooks
		hooks := flyext.WebhookConfig{
			ProviderName: "logjam", Secret: webhookSecret, Endpoint: conformanceHooks, HTTPClient: &http.Client{Transport: wires}, Attempts: 1,
		}
		w.telling(&hooks)
		if w.service.tell, err = flyext.NewWebhooks(hooks); err != nil {
			t.Fatal(err)
		}
	}
	if w.testing != nil {
		w.testing(&conformance)
	}
	return &conformance
}

// run tests the provider of this world.
func (w *world) run(t *testing.T) *flytest.Report {
	t.Helper()
	report, err := w.conformance(t).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// wires is a RoundTripper that passes requests to handlers by host.
type wires map[string]http.Handler

func (w wires) RoundTrip(r *http.Request) (*http.Response, error) {
	handler, ok := w[r.URL.Host]
	if !ok {
		return nil, errors.New("request to a host other than the provider and the simulated Fly.io: " + r.URL.Host)
	}
	received := r.Clone(r.Context())
	received.RequestURI = r.URL.RequestURI()
	received.Host = r.Host
	if received.Host == "" {
		received.Host = r.URL.Host
	}
	received.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	if r.ContentLength > 0 {
		received.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	if received.Body == nil {
		received.Body = http.NoBody
	}
	answers := make(chan *http.Response, 1)
	go func() {
		rec := httptest.NewRecorder()
		defer func() {
			if recover() != nil { // a server closes the connection then
				close(answers)
				return
			}
			answers <- rec.Result()
		}()
		handler.ServeHTTP(rec, received)
	}()
	select {
	case answer, ok := <-answers:
		if !ok {
			return nil, io.ErrUnexpectedEOF
		}
		answer.Request = r
		return answer, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// An answered is an answer that a test can still change.
type answered struct {
	status int
	header http.Header
	body   []byte
}

func (w *world) spoiled(provider http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		provider.ServeHTTP(rec, r)
		a := &answered{rec.Code, rec.Header(), rec.Body.Bytes()}
		w.spoil(w, r, a)
		for name, values := range a.header {
			rw.Header()[name] = values
		}
		rw.WriteHeader(a.status)
		_, _ = rw.Write(a.body)
	})
}

func (a *answered) replace(old, replacement string) {
	a.body = bytes.ReplaceAll(a.body, []byte(old), []byte(replacement))
}

// verifierFunc is a function that implements flyext.Verifier.
type verifierFunc func(ctx context.Context, m *flyext.Message) (flyext.Verification, error)

func (f verifierFunc) Verify(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
	return f(ctx, m)
}

// storeFunc is a function that implements flyext.ReplayStore.
type storeFunc func(ctx context.Context, n flyext.Nonce) (bool, error)

func (f storeFunc) Use(ctx context.Context, n flyext.Nonce) (bool, error) { return f(ctx, n) }
