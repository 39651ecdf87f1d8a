package flyext

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Provisioner creates and changes the service's resources. It may also implement
// [Fetcher], [Deprovisioner], [Lister] and [EventReceiver]; requests for a missing
// capability get 501.
//
// Methods must be idempotent on the id, because Fly.io repeats a request after a
// failure. In one process, calls for the same id run one after another, in the order in
// which they were admitted. Calls for different ids run concurrently. The id that Fly.io
// chose and an id that Provision returned in its place count as different ids.
//
// The context is cancelled after [Config.Timeout], not when the client disconnects.
// If a method returns the context's error, the client gets 504. A method that ignores
// its context delays the response. Return an *[Error] to control the response. A panic,
// and a nil Extension without an error, are answered with 500.
type Provisioner interface {
	// Provision creates the extension, or returns the extension that it created for
	// this req.ID before, with the same secrets. Fly.io waits about five seconds. If
	// the extension takes longer, return its secrets with the status [Provisioning]
	// and finish it later; see [Status].
	Provision(ctx context.Context, req *ProvisionRequest) (*Extension, error)
	// Update applies the members that are present in req. Secrets that it returns
	// are sent in the response.
	Update(ctx context.Context, id string, req *UpdateRequest) (*Extension, error)
}

// A Fetcher handles GET {base}/extensions/{id}. Fly.io polls this route while flyctl
// waits for an extension. Secrets are optional in the result. Return [NotFound] for an
// extension that does not exist.
type Fetcher interface {
	Fetch(ctx context.Context, id string) (*Extension, error)
}

// A Deprovisioner handles DELETE {base}/extensions/{id}. Return nil for an extension
// that no longer exists.
type Deprovisioner interface {
	Deprovision(ctx context.Context, id string) error
}

// A Lister handles GET {base}/organizations/{organization_id}/extensions. Fly.io uses
// the list to find orphans: resources that exist on one side only. Fly.io does not
// publish this route; it agrees on it with individual providers.
type Lister interface {
	// List returns all extensions of the organization, each with its ID. It returns
	// an empty list for an unknown organization. Secrets are optional.
	List(ctx context.Context, organizationID string) ([]*Extension, error)
}

// A Config configures a provider. BaseURL and Verifier are required.
type Config struct {
	// BaseURL is the public URL of the handler, such as "https://logjam.io/flyio".
	// Signatures are checked against it, because X-Forwarded-* headers cannot be
	// trusted. A proxy in front must leave the path, the query and the Host header
	// unchanged. The path must not contain braces, which routers use for patterns.
	BaseURL string

	// Verifier decides whether a request comes from Fly.io.
	Verifier Verifier

	// EventVerifier decides whether an event comes from Fly.io; nil means Verifier.
	// X-Signature has its parameters in a JSON object, so it can sign events in
	// structured mode, and events in binary mode whose data is a JSON object. A batch
	// is a JSON array and needs a verifier that reads header fields, such as
	// [MessageSignature].
	EventVerifier Verifier

	// SSO signs Fly.io's customers in to the service; nil disables it with 501.
	SSO *SSOConfig

	// ReplayStore remembers used nonces and, if it is a [ReplayLookup], received
	// events. nil means [NewMemoryReplayStore], which suits a single process.
	ReplayStore ReplayStore

	// MaxBodyBytes bounds the body of a request; 0 means 1 MiB. A larger body gets 413.
	MaxBodyBytes int64

	// Timeout bounds each call of the Provisioner, including its wait for another call
	// with the same id; 0 means 25 seconds, and the maximum is 24 hours. Calls of more
	// than 5 seconds, after which Fly.io stops waiting, are logged.
	Timeout time.Duration

	// Now is the clock for signatures, the default ReplayStore, events and the sign-on;
	// nil means [time.Now]. It must be safe for concurrent use.
	Now func() time.Time

	// Logger receives a record for each request that is refused, fails or is slow, and
	// for each duplicate or malformed event; nil means [slog.Default].
	// slog.New([slog.DiscardHandler]) silences it.
	//
	// A record contains no secret and no unauthenticated text. Of a payload it contains
	// at most the extension's id, names of members and, after a mismatch, the signed
	// host. It contains the texts of the service's own errors and panics.
	//
	// A refusal is logged at WARN as "request refused", with the reason. A 5xx status
	// is logged at ERROR as "request failed", with the stack of a panic. A missing
	// capability (501) is logged at DEBUG.
	Logger *slog.Logger

	// Observe is called once for each finished request of a [Provider], after the
	// response was written, on the request's goroutine. Use it for metrics, traces
	// and error reports; nil disables it. It should return quickly, because net/http
	// completes the response only after the handler has returned. It must be safe for
	// concurrent use. A panic is logged.
	//
	// The context has the values of the request's context, such as a trace span. It
	// is not cancelled when the client disconnects.
	Observe func(ctx context.Context, o Outcome)
}

const (
	defaultTimeout = 25 * time.Second
	flyPatience    = 5 * time.Second
)

// A Provider is the [http.Handler] for the requests of Fly.io:
//
//	POST   {base}/extensions         Provisioner.Provision
//	PATCH  {base}/extensions/{id}    Provisioner.Update
//	GET    {base}/extensions/{id}    Fetcher.Fetch
//	DELETE {base}/extensions/{id}    Deprovisioner.Deprovision
//	POST   {base}/extensions/events  EventReceiver.ReceiveEvent
//	GET    {base}/organizations/{organization_id}/extensions  Lister.List
//
// It also serves the customer's browser, whose requests are not signed:
//
//	GET    {base}/extensions/{id}/sso                  SignOn.Begin
//	GET    {base}/organizations/{organization_id}/sso  SignOn.Begin
//	GET    {base}/callback                             SignOn.Callback
//
// Other paths get 404, and other methods 405. It routes by the request line, relative to
// the path of [Config.BaseURL]. Mount it under any router, with or without
// [http.StripPrefix]. It is safe for concurrent use.
type Provider struct {
	auth        *Authenticator
	eventAuth   *Authenticator // with Config.EventVerifier
	signOn      *SignOn        // nil without Config.SSO
	provisioner Provisioner
	basePath    string
	timeout     time.Duration
	log         *slog.Logger
	observe     func(context.Context, Outcome)
	locks       lockTable
	delivery    *delivery
}

// New returns a provider that calls p. It returns an error for an invalid or insecure
// configuration, such as a malformed base URL, an empty secret, or a verifier without
// keys.
func New(p Provisioner, c Config) (*Provider, error) {
	if p == nil {
		return nil, errors.New("flyext: Provisioner is nil")
	}
	if err := checkDuration("Config.Timeout", c.Timeout); err != nil {
		return nil, err
	}
	auth, err := NewAuthenticator(c)
	if err != nil {
		return nil, err
	}
	eventAuth := auth
	if c.EventVerifier != nil {
		events := c
		// The two share a store, so a nonce cannot be used once with each.
		events.Verifier, events.ReplayStore = c.EventVerifier, auth.replay
		if eventAuth, err = NewAuthenticator(events); err != nil {
			return nil, err
		}
	}
	var signOn *SignOn
	if c.SSO != nil {
		if signOn, err = NewSignOn(c); err != nil {
			return nil, err
		}
	}
	return &Provider{
		auth: auth, eventAuth: eventAuth, signOn: signOn, provisioner: p, basePath: auth.base.EscapedPath(),
		timeout: cmp.Or(c.Timeout, defaultTimeout), log: auth.log, observe: c.Observe, delivery: newDelivery(auth.replay, auth.now),
	}, nil
}

// Format implements [fmt.Formatter]. It redacts everything, whatever the verb.
func (p *Provider) Format(f fmt.State, verb rune) { hidden{}.Format(f, verb) }

// Authenticator returns the provider's authenticator, for the service's own signed
// routes, such as POST {base}/extensions/eligibility. It has the verifier, the replay
// store and the logger of the provider.
func (p *Provider) Authenticator() *Authenticator { return p.auth }

// SignOn returns the provider's sign-on, for routes of the service that call
// [SignOn.Begin]. It returns nil if [Config.SSO] is nil.
func (p *Provider) SignOn() *SignOn { return p.signOn }

// ServeHTTP implements [http.Handler].
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.observe != nil {
		p.observed(w, r)
		return
	}
	p.serve(w, r, &record{log: p.log})
}

// serve handles one request and fills in its record.
func (p *Provider) serve(w http.ResponseWriter, r *http.Request, rec *record) {
	ctx, requestID := withRequestID(r.Context(), w.Header())
	to := p.route(r.Method, requestTarget(r))
	rec.RequestID, rec.Method, rec.Route = requestID, r.Method, to.name
	if to.browser {
		p.serveBrowser(w, r.WithContext(ctx), rec, to)
		return
	}
	answer, err := p.handle(ctx, w, r, rec, to)
	if err != nil {
		rec.refuse(ctx, w, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// handle admits a request, decodes it, and calls the Provisioner.
func (p *Provider) handle(ctx context.Context, w http.ResponseWriter, r *http.Request, rec *record, to route) ([]byte, error) {
	if to.name == "" {
		rec.Method = "" // unauthenticated text must not reach the log
		return nil, newError(http.StatusNotFound, CodeRouteNotFound, "There is nothing at this URL.")
	}
	if !slices.Contains(to.methods, r.Method) {
		rec.Method = ""
		w.Header().Set("Allow", strings.Join(to.methods, ", "))
		return nil, newError(http.StatusMethodNotAllowed, CodeMethodNotAllowed, "This method is not allowed here.")
	}
	var answer []byte
	err := catch(func() (err error) { // the service may have its own Verifier or ReplayStore
		answer, err = p.admitted(ctx, w, r, rec, to)
		return err
	})
	return answer, err
}

// admitted verifies a request and serves it.
func (p *Provider) admitted(ctx context.Context, w http.ResponseWriter, r *http.Request, rec *record, to route) ([]byte, error) {
	auth := p.auth
	if to.name == routeEvents {
		auth = p.eventAuth
	}
	m, err := auth.read(w, r)
	if err != nil {
		return nil, err
	}
	m.newPayload, m.isEvent = payloadOf(r.Method, to), to.name == routeEvents
	v, err := auth.admit(ctx, m)
	rec.verified(v, err)
	switch {
	case err != nil:
		return nil, err
	case to.name == routeEvents:
		return p.receive(ctx, rec, m, v)
	case to.name == routeList:
		return p.list(ctx, rec, to.id)
	case r.Method == http.MethodPost:
		return p.provision(ctx, rec, m, v.Generation)
	case r.Method == http.MethodPatch:
		return p.update(ctx, rec, m, v.Generation, to.id)
	case r.Method == http.MethodGet:
		return p.fetch(ctx, rec, to.id)
	}
	return p.deprovision(ctx, rec, to.id)
}

// payloadOf returns the constructor of a request's payload, or nil.
func payloadOf(method string, to route) func() payload {
	switch {
	case to.name == routeExtensions:
		return func() payload { return &provisionPayload{} }
	case to.name == routeExtension && method == http.MethodPatch:
		return func() payload { return &updatePayload{} }
	}
	return nil
}

var noAnswer = []byte("{}")

func (p *Provider) provision(ctx context.Context, rec *record, m *Message, g Generation) ([]byte, error) {
	body, err := m.decode()
	if err != nil {
		return nil, err
	}
	req, err := body.(*provisionPayload).request(g)
	if err != nil {
		return nil, err
	}
	return p.call(ctx, rec, req.ID, func(ctx context.Context) ([]byte, error) {
		x, err := p.provisioner.Provision(ctx, req)
		if err == nil && x != nil && x.Secrets == nil {
			err = errNoSecrets
		}
		if err != nil {
			return nil, err
		}
		return encodeSecrets(g, req.ID, x)
	})
}

func (p *Provider) update(ctx context.Context, rec *record, m *Message, g Generation, id string) ([]byte, error) {
	body, err := m.decode()
	if err != nil {
		return nil, err
	}
	req, err := body.(*updatePayload).request(g)
	if err != nil {
		return nil, err
	}
	return p.call(ctx, rec, id, func(ctx context.Context) ([]byte, error) {
		x, err := p.provisioner.Update(ctx, id, req)
		if err != nil {
			return nil, err
		}
		return encodeSecrets(g, id, x)
	})
}

func (p *Provider) fetch(ctx context.Context, rec *record, id string) ([]byte, error) {
	f, ok := p.provisioner.(Fetcher)
	if !ok {
		return nil, Unsupported("This provider does not support GET for an extension.")
	}
	return p.call(ctx, rec, id, func(ctx context.Context) ([]byte, error) {
		x, err := f.Fetch(ctx, id)
		if err != nil {
			return nil, err
		}
		return encodeResource(id, x)
	})
}

func (p *Provider) list(ctx context.Context, rec *record, organizationID string) ([]byte, error) {
	l, ok := p.provisioner.(Lister)
	if !ok {
		return nil, Unsupported("This provider does not list the extensions of an organization.")
	}
	return p.call(ctx, rec, "", func(ctx context.Context) ([]byte, error) {
		all, err := l.List(ctx, organizationID)
		if err != nil {
			return nil, err
		}
		return encodeList(all)
	})
}

func (p *Provider) deprovision(ctx context.Context, rec *record, id string) ([]byte, error) {
	d, ok := p.provisioner.(Deprovisioner)
	if !ok {
		return nil, Unsupported("This provider does not support DELETE for an extension.")
	}
	return p.call(ctx, rec, id, func(ctx context.Context) ([]byte, error) { return noAnswer, d.Deprovision(ctx, id) })
}
