package flyext

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A Provisioner is what a service implements to become a provider. Beyond it,
// a service may offer more by having the methods of [Fetcher], [Deprovisioner]
// and [EventReceiver]; what it does not offer is answered with 501.
//
// Every method may be called again for what it has done already, because
// Fly.io sends a request again after a failure: all of them are idempotent on
// the id. None is called twice at the same time for one id in one process; for
// different ids they run concurrently, and so they do for the id that Fly.io
// chose and another one that Provision returned in its place. The context ends with
// [Config.Timeout], not when the caller hangs up; a method that returns its
// error, or does not return, is answered with 504. To answer with an error of
// your choice, return an *[Error].
//
// A method runs on a goroutine of its own, and must not leave it locked to its
// thread: it calls [runtime.UnlockOSThread] as often as [runtime.LockOSThread].
// Nor may a middleware have locked the goroutine that the request is served on.
type Provisioner interface {
	// Provision makes the extension, or returns the one that it made for this
	// req.ID before, secrets included. Fly.io waits about five seconds: what
	// takes longer is returned at once with its secrets and the status
	// [Provisioning], and finished later.
	Provision(ctx context.Context, req *ProvisionRequest) (*Extension, error)
	// Update changes what req has of the extension. The secrets that it
	// returns, if any, are part of the answer.
	Update(ctx context.Context, id string, req *UpdateRequest) (*Extension, error)
}

// A Fetcher answers GET {base}/extensions/{id}, which is also what flyctl
// polls while an extension is being made. The secrets need not be returned.
type Fetcher interface {
	Fetch(ctx context.Context, id string) (*Extension, error)
}

// A Deprovisioner answers DELETE {base}/extensions/{id}. To delete what is
// already deleted is a success.
type Deprovisioner interface {
	Deprovision(ctx context.Context, id string) error
}

// A Config says how a provider is reached and whom it trusts. BaseURL and
// Verifier are required.
type Config struct {
	// BaseURL is the public URL under which Fly.io reaches the handler, such
	// as "https://logjam.io/flyio". Signatures are checked against it, since
	// what a proxy in front says about itself cannot be trusted. The proxy
	// must pass on the path, the query and the Host header as they came. Keep
	// braces and spaces out of its path: routers take them for patterns.
	BaseURL string

	// Verifier decides whether a request comes from Fly.io.
	Verifier Verifier

	// EventVerifier decides whether an event comes from Fly.io; nil means
	// Verifier. X-Signature has its parameters in the body, so that it can sign an
	// event in binary mode whose data is a JSON object, and in structured mode; a
	// batch is a JSON array and takes a verifier of header fields, such as
	// [MessageSignature].
	EventVerifier Verifier

	// SSO signs Fly.io's customers in to the service; nil answers them with 501.
	SSO *SSOConfig

	// ReplayStore remembers the nonces that were used and, if it is a
	// [ReplayLookup], the events that were received; nil means
	// [NewMemoryReplayStore], which is for a service on one machine.
	ReplayStore ReplayStore

	// MaxBodyBytes bounds the body of a request; 0 means 1 MiB.
	MaxBodyBytes int64

	// Timeout bounds each call of the Provisioner; 0 means 25 seconds. Fly.io
	// stops waiting after about 5, and a longer call is logged.
	Timeout time.Duration

	// Now is the clock that signatures and the sign-on are judged by; nil means
	// [time.Now]. While it is set back behind messages that this process admitted
	// and ReplayStore may have forgotten, requests are answered with 503.
	Now func() time.Time

	// Logger receives a record for every request that is refused, fails or is
	// slow; nil is silent. A record never holds a payload, the value of a
	// header, or a secret.
	Logger *slog.Logger
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
//
// and to which a customer's browser comes, unsigned, to sign in:
//
//	GET    {base}/extensions/{id}/sso  SignOn.Begin
//	GET    {base}/callback             SignOn.Callback
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
	locks       lockTable
	delivery    *delivery
}

// New returns the handler of a provider. It fails on any configuration that
// would fail or be insecure later: a base URL that is none, an empty secret, a
// verifier of nothing.
func New(p Provisioner, c Config) (*Provider, error) {
	if p == nil {
		return nil, errors.New("flyext: Provisioner is nil")
	}
	if c.Timeout < 0 {
		return nil, errors.New("flyext: Config.Timeout is negative")
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
		eventAuth.clock = auth.clock
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
		timeout: c.Timeout, log: auth.log, delivery: newDelivery(auth.replay, auth.now),
	}, nil
}

// SignOn returns the provider's sign-on, whose Begin a service may call from
// routes of its own, or nil if [Config.SSO] is.
func (p *Provider) SignOn() *SignOn { return p.signOn }

// A route is what a path means.
type route struct {
	name    string // for the log; "" where there is nothing
	methods []string
	id      string // of the extension, decoded
	browser bool   // a person comes here, without a signature
}

var (
	collectionMethods = []string{http.MethodPost}
	extensionMethods  = []string{http.MethodDelete, http.MethodGet, http.MethodPatch}
	eventsMethods     = append(slices.Clone(extensionMethods), http.MethodPost)
)

// route finds the route of a request. An id is one path element, however it is
// escaped. "events" is one as well, to every method but POST.
func (p *Provider) route(method, target string) route {
	path, _, _ := strings.Cut(target, "?")
	path, ok := strings.CutPrefix(path, p.basePath)
	if !ok {
		return route{}
	}
	if path == "/extensions" {
		return route{name: "/extensions", methods: collectionMethods}
	}
	if path == callbackPath {
		return route{name: callbackPath, browser: true}
	}
	escaped, ok := strings.CutPrefix(path, "/extensions/")
	escaped, sso := strings.CutSuffix(escaped, "/sso")
	if !ok || escaped == "" || strings.Contains(escaped, "/") {
		return route{}
	}
	id, err := url.PathUnescape(escaped)
	if err != nil || !utf8.ValidString(id) {
		return route{}
	}
	if sso {
		return route{name: routeSSO, id: id, browser: true}
	}
	if id == eventsID && method == http.MethodPost {
		return route{name: routeEvents, methods: eventsMethods}
	}
	if id == eventsID {
		return route{name: "/extensions/{id}", methods: eventsMethods, id: id}
	}
	return route{name: "/extensions/{id}", methods: extensionMethods, id: id}
}

// ServeHTTP implements [http.Handler]. The order of its checks is: route, body,
// signature, freshness, URL, nonce, payload; then the call.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, requestID := withRequestID(r.Context(), w.Header())

	to := p.route(r.Method, requestTarget(r))
	log := record{log: p.log, requestID: requestID, method: r.Method, route: to.name}
	if to.name == "" {
		log.refuse(ctx, w, newError(http.StatusNotFound, CodeRouteNotFound, "There is nothing at this URL."))
		return
	}
	if to.browser {
		p.serveBrowser(w, r.WithContext(ctx), to)
		return
	}
	if !slices.Contains(to.methods, r.Method) {
		log.method = "" // a method of a stranger's own
		w.Header().Set("Allow", strings.Join(to.methods, ", "))
		log.refuse(ctx, w, newError(http.StatusMethodNotAllowed, CodeMethodNotAllowed, "This method is not allowed here."))
		return
	}
	var do operation
	err := log.catch(ctx, func() error {
		auth := p.auth
		if to.name == routeEvents {
			auth = p.eventAuth
		}
		in := auth.take(to.name == routeEvents) // whose data is the body
		v, err := auth.admit(w, r, in)
		if err == nil {
			do, err = p.operation(&in.message, v.Generation, to, log)
		}
		auth.release(in)
		return err
	})
	if err != nil {
		log.refuse(ctx, w, err)
		return
	}
	log.extensionID = do.id
	answer, err := p.call(ctx, log, do)
	if err != nil {
		log.refuse(ctx, w, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// An operation is a decoded request: what to do, to which extension, and what
// to answer with.
type operation struct {
	id     string // "" where it is to none
	run    func(ctx context.Context) (*Extension, error)
	answer answer
}

// operation decodes an admitted request.
func (p *Provider) operation(m *Message, g Generation, to route, rec record) (operation, error) {
	switch m.Method {
	case http.MethodPost:
		if to.name == routeEvents {
			return p.receive(m, g, rec)
		}
		return p.provision(m, g)
	case http.MethodPatch:
		return p.update(m, g, to.id)
	case http.MethodGet:
		return p.fetch(to.id)
	default:
		return p.deprovision(to.id)
	}
}

func (p *Provider) provision(m *Message, g Generation) (operation, error) {
	o, err := m.parse()
	if err != nil {
		return operation{}, err
	}
	req, err := decodeProvision(o, g)
	if err != nil {
		return operation{}, err
	}
	return operation{req.ID, func(ctx context.Context) (*Extension, error) {
		x, err := p.provisioner.Provision(ctx, req)
		if err == nil && x != nil && x.Secrets == nil {
			err = errNoSecrets
		}
		return x, err
	}, answerSecrets(g)}, nil
}

func (p *Provider) update(m *Message, g Generation, id string) (operation, error) {
	o, err := m.parse()
	if err != nil {
		return operation{}, err
	}
	req, err := decodeUpdate(o, g)
	if err != nil {
		return operation{}, err
	}
	return operation{id, func(ctx context.Context) (*Extension, error) {
		return p.provisioner.Update(ctx, id, req)
	}, answerSecrets(g)}, nil
}

func (p *Provider) fetch(id string) (operation, error) {
	f, ok := p.provisioner.(Fetcher)
	if !ok {
		return operation{}, Unsupported("This provider does not answer what an extension is.")
	}
	return operation{id, func(ctx context.Context) (*Extension, error) { return f.Fetch(ctx, id) }, resource}, nil
}

func (p *Provider) deprovision(id string) (operation, error) {
	d, ok := p.provisioner.(Deprovisioner)
	if !ok {
		return operation{}, Unsupported("This provider does not remove extensions by request.")
	}
	return operation{id, func(ctx context.Context) (*Extension, error) { return nil, d.Deprovision(ctx, id) }, nothing}, nil
}
