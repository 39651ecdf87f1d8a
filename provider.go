package flyext

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Provisioner turns a service into a Fly.io extension provider. A service may
// have the methods of [Fetcher], [Deprovisioner] and [EventReceiver] as well. A
// request for a capability that it does not have is answered with 501.
//
// Every method is idempotent on the id, because Fly.io repeats a request after a
// failure. In one process, no two methods run at the same time for the same id;
// for different ids they run concurrently. The id that Fly.io chose and an id that
// Provision returned in its place are different ids.
//
// The context is cancelled after [Config.Timeout], not when the client
// disconnects. If a method returns the context's error, the client gets 504. A
// method that ignores its context keeps its request waiting. Return an *[Error] to
// control the response.
type Provisioner interface {
	// Provision makes the extension, or returns the extension that it made for
	// this req.ID before, secrets included. Fly.io waits about five seconds.
	// Return an extension that takes longer at once, with its secrets and the
	// status [Provisioning], and finish it later.
	Provision(ctx context.Context, req *ProvisionRequest) (*Extension, error)
	// Update changes the members of the extension that req has. The secrets that
	// it returns, if any, are part of the answer.
	Update(ctx context.Context, id string, req *UpdateRequest) (*Extension, error)
}

// A Fetcher answers GET {base}/extensions/{id}. Fly.io sends this request, too,
// while flyctl waits for an extension. The secrets need not be returned.
type Fetcher interface {
	Fetch(ctx context.Context, id string) (*Extension, error)
}

// A Deprovisioner answers DELETE {base}/extensions/{id}. The deletion of an
// extension that no longer exists is a success.
type Deprovisioner interface {
	Deprovision(ctx context.Context, id string) error
}

// A Lister answers GET {base}/organizations/{organization_id}/extensions with the
// extensions of an organization. No published page of Fly.io has this route; Fly.io
// agrees on it with single providers. Fly.io uses it to find orphans: resources
// that one side has and the other does not.
type Lister interface {
	// List returns all extensions of the organization, each with its ID. It
	// returns none for an organization that the service does not know. Secrets
	// need not be returned.
	List(ctx context.Context, organizationID string) ([]*Extension, error)
}

// A Config configures a provider. BaseURL and Verifier are required.
type Config struct {
	// BaseURL is the public URL under which Fly.io reaches the handler, such as
	// "https://logjam.io/flyio". Signatures are checked against it, because
	// X-Forwarded-* headers cannot be trusted. A proxy in front must pass on the
	// path, the query and the Host header unchanged. The path must not have
	// braces, which routers use for patterns.
	BaseURL string

	// Verifier decides whether a request comes from Fly.io.
	Verifier Verifier

	// EventVerifier decides whether an event comes from Fly.io; nil means
	// Verifier. X-Signature has its parameters in a JSON object, so it can sign an
	// event in binary mode with such data, and an event in structured mode. A batch
	// is a JSON array and needs a verifier of header fields, such as
	// [MessageSignature].
	EventVerifier Verifier

	// SSO signs Fly.io's customers in to the service; nil answers them with 501.
	SSO *SSOConfig

	// ReplayStore remembers the nonces that were used and, if it is a
	// [ReplayLookup], the events that were received; nil means
	// [NewMemoryReplayStore], which is for a service in one process.
	ReplayStore ReplayStore

	// MaxBodyBytes bounds the body of a request; 0 means 1 MiB.
	MaxBodyBytes int64

	// Timeout bounds the context of each call of the Provisioner; 0 means 25
	// seconds, and the maximum is 24 hours. Fly.io stops waiting after about 5
	// seconds, and a longer call is logged.
	Timeout time.Duration

	// Now is the clock that signatures and the sign-on are judged by; nil means
	// [time.Now].
	Now func() time.Time

	// Logger receives a record for each request that is refused, fails or is
	// slow; nil means [slog.Default]. slog.New([slog.DiscardHandler]) silences it.
	// A record never holds a payload, the value of a header, or a secret.
	//
	// A refusal is a WARN record, "request refused", with the reason. A status of
	// 5xx is an ERROR record, "request failed", with the stack of a panic. A
	// capability that the service does not offer (501) is a DEBUG record.
	Logger *slog.Logger

	// Observe is called once for each finished request of a [Provider], after the
	// answer was written, on the request's goroutine; nil is not called. It feeds
	// metrics, traces and error reporters. Let it return soon: net/http sends the
	// last part of an answer when the handler ends. A panic of Observe is logged.
	//
	// The context is the request's, with its values such as a trace span, and does not
	// end when the client leaves.
	Observe func(ctx context.Context, o Outcome)
}

const (
	defaultTimeout = 25 * time.Second
	flyPatience    = 5 * time.Second
)

// A Provider is the [http.Handler] that Fly.io talks to:
//
//	POST   {base}/extensions         Provisioner.Provision
//	PATCH  {base}/extensions/{id}    Provisioner.Update
//	GET    {base}/extensions/{id}    Fetcher.Fetch
//	DELETE {base}/extensions/{id}    Deprovisioner.Deprovision
//	POST   {base}/extensions/events  EventReceiver.ReceiveEvent
//	GET    {base}/organizations/{organization_id}/extensions  Lister.List
//
// It also serves the customer's browser, which cannot sign a request:
//
//	GET    {base}/extensions/{id}/sso                  SignOn.Begin
//	GET    {base}/organizations/{organization_id}/sso  SignOn.Begin
//	GET    {base}/callback                             SignOn.Callback
//
// It routes by the request line, relative to the path of [Config.BaseURL], so
// it may be mounted under any router, with or without [http.StripPrefix]. It
// is safe for concurrent use.
type Provider struct {
	auth        *Authenticator
	eventAuth   *Authenticator // the same, but for Config.EventVerifier
	signOn      *SignOn        // nil without Config.SSO
	provisioner Provisioner
	basePath    string
	timeout     time.Duration
	log         *slog.Logger
	observe     func(context.Context, Outcome)
	locks       lockTable
	delivery    *delivery
}

// New returns the handler of a provider. It returns an error for an invalid or
// insecure configuration, such as a malformed base URL, an empty secret, or a
// verifier without keys.
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
		// One store for both: a nonce that an event has used is used.
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
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return &Provider{
		auth: auth, eventAuth: eventAuth, signOn: signOn, provisioner: p, basePath: auth.base.EscapedPath(),
		timeout: c.Timeout, log: auth.log, observe: c.Observe, delivery: newDelivery(auth.replay, auth.now),
	}, nil
}

// Authenticator returns the provider's authenticator, for signed routes of the
// service's own, such as POST {base}/extensions/eligibility. They share the
// verifier, the replay store and the logger of the provider.
func (p *Provider) Authenticator() *Authenticator { return p.auth }

// SignOn returns the provider's sign-on, whose Begin a service may call from
// routes of its own, or nil if [Config.SSO] is.
func (p *Provider) SignOn() *SignOn { return p.signOn }

// ServeHTTP implements [http.Handler].
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.observe != nil {
		p.observed(w, r)
		return
	}
	p.serve(w, r, &record{log: p.log})
}

// serve is the way of one request: route, body, signature, nonce, payload, call,
// answer. It fills in the record.
func (p *Provider) serve(w http.ResponseWriter, r *http.Request, rec *record) {
	ctx, requestID := withRequestID(r.Context(), w.Header())
	to := p.route(r.Method, requestTarget(r))
	rec.requestID, rec.method, rec.route = requestID, r.Method, to.name
	if to.browser {
		ctx = context.WithValue(ctx, outcomeKey{}, rec.outcome)
		p.serveBrowser(w, r.WithContext(ctx), to)
		return
	}
	defer rec.finish() // also when http.ErrAbortHandler passes
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
		rec.method = "" // the log must not have a stranger's text
		return nil, newError(http.StatusNotFound, CodeRouteNotFound, "There is nothing at this URL.")
	}
	if !slices.Contains(to.methods, r.Method) {
		rec.method = ""
		w.Header().Set("Allow", strings.Join(to.methods, ", "))
		return nil, newError(http.StatusMethodNotAllowed, CodeMethodNotAllowed, "This method is not allowed here.")
	}
	var do operation
	err := catch(func() error { // a Verifier or a ReplayStore may be the service's own
		auth := p.auth
		if to.name == routeEvents {
			auth = p.eventAuth
		}
		m, err := auth.read(w, r)
		if err != nil {
			return err
		}
		m.newPayload, m.isEvent = payloadOf(r.Method, to), to.name == routeEvents
		v, err := auth.admit(ctx, m)
		rec.verified(v, err)
		if err == nil {
			do, err = p.operation(m, v, to, rec)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	rec.extensionID = do.id
	return p.call(ctx, rec, do)
}

// payloadOf returns the maker of the payload of a request, or nil.
func payloadOf(method string, to route) func() payload {
	switch {
	case to.name == routeExtensions:
		return func() payload { return &provisionPayload{} }
	case to.name == routeExtension && method == http.MethodPatch:
		return func() payload { return &updatePayload{} }
	}
	return nil
}

// An operation is a decoded request. It calls the service and encodes the answer.
type operation struct {
	id  string // of the extension; "" for events and a list
	run func(ctx context.Context) ([]byte, error)
}

var noAnswer = []byte("{}")

// operation decodes an admitted request.
func (p *Provider) operation(m *Message, v Verification, to route, rec *record) (operation, error) {
	switch {
	case to.name == routeEvents:
		return p.receive(m, v, rec)
	case to.name == routeList:
		return p.list(to.id)
	case m.Method == http.MethodPost:
		return p.provision(m, v.Generation)
	case m.Method == http.MethodPatch:
		return p.update(m, v.Generation, to.id)
	case m.Method == http.MethodGet:
		return p.fetch(to.id)
	}
	return p.deprovision(to.id)
}

func (p *Provider) provision(m *Message, g Generation) (operation, error) {
	body, err := m.decode()
	if err != nil {
		return operation{}, err
	}
	req, err := body.(*provisionPayload).request(g, m.Body)
	if err != nil {
		return operation{}, err
	}
	return operation{req.ID, func(ctx context.Context) ([]byte, error) {
		x, err := p.provisioner.Provision(ctx, req)
		if err == nil && x != nil && x.Secrets == nil {
			err = errNoSecrets
		}
		if err != nil {
			return nil, err
		}
		return encodeSecrets(g, req.ID, x)
	}}, nil
}

func (p *Provider) update(m *Message, g Generation, id string) (operation, error) {
	body, err := m.decode()
	if err != nil {
		return operation{}, err
	}
	req, err := body.(*updatePayload).request(g, m.Body)
	if err != nil {
		return operation{}, err
	}
	return operation{id, func(ctx context.Context) ([]byte, error) {
		x, err := p.provisioner.Update(ctx, id, req)
		if err != nil {
			return nil, err
		}
		return encodeSecrets(g, id, x)
	}}, nil
}

func (p *Provider) fetch(id string) (operation, error) {
	f, ok := p.provisioner.(Fetcher)
	if !ok {
		return operation{}, Unsupported("This provider does not answer GET for an extension.")
	}
	return operation{id, func(ctx context.Context) ([]byte, error) {
		x, err := f.Fetch(ctx, id)
		if err != nil {
			return nil, err
		}
		return encodeResource(id, x)
	}}, nil
}

func (p *Provider) list(organizationID string) (operation, error) {
	l, ok := p.provisioner.(Lister)
	if !ok {
		return operation{}, Unsupported("This provider does not list the extensions of an organization.")
	}
	return operation{"", func(ctx context.Context) ([]byte, error) {
		all, err := l.List(ctx, organizationID)
		if err != nil {
			return nil, err
		}
		return encodeList(all)
	}}, nil
}

func (p *Provider) deprovision(id string) (operation, error) {
	d, ok := p.provisioner.(Deprovisioner)
	if !ok {
		return operation{}, Unsupported("This provider does not remove extensions by request.")
	}
	return operation{id, func(ctx context.Context) ([]byte, error) { return noAnswer, d.Deprovision(ctx, id) }}, nil
}
