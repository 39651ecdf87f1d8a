package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A plan sets the amount of load.
type plan struct {
	duration    time.Duration
	connections int
	hostilePart int // percent of the requests that arrive
	requests    int // minimum that must arrive, even if it takes longer
}

// A provider is the target of the load.
type provider struct {
	baseURL     string // the configured one; connections go to the machines instead
	oauthURL    string // of the simulated Fly.io sign-in; "" disables sign-ins
	credentials flytest.Credentials
	machines    []machine

	// sharedReplays reports whether every machine refuses a replay, even after a
	// restart. A memory store only knows the requests of its own process.
	sharedReplays bool

	// headers and whole are the provider's timeouts for sending the header fields
	// and the whole request.
	headers, whole time.Duration
	patience       time.Duration // added to the timeouts for a busy machine
	rest           time.Duration // time to release memory and goroutines

	// rows reads the provider's database.
	rows func(ctx context.Context) (map[string]row, error)
}

// A machine is a process of the provider.
type machine interface {
	// addr is the listening address, which changes at each start, or "" while the
	// machine is down.
	addr() string
	vitals(ctx context.Context) (vitals, error)
	rss() int64 // resident memory in bytes; 0 if unknown
}

// A load is a plan in execution.
type load struct {
	plan
	provider
	*ledger
	over    atomic.Bool
	end     time.Time
	keep    captures
	slow    sync.WaitGroup // slow senders
	slowNow atomic.Int32
	attacks atomic.Int64
}

// A worker is one of Fly.io's connections.
type worker struct {
	*load
	organization string
	home         int // index of its machine
	client       *http.Client
	at           string // address of its connection
	resent       int    // connections used by its last request
	last         flytest.Exchange
	own          []string // ids of the extensions that were acknowledged
	made         int
	session      *flytest.Browser // of the last customer who signed in
	sessionFor   string           // the stream of that customer
}

// answerPatience is longer than a provider takes, so a request that timed out is
// not applied later.
const answerPatience = 40 * time.Second

func newWorker(l *load, number int) *worker {
	w := &worker{load: l, organization: organization(number), home: number % len(l.machines)}
	w.client = &http.Client{Timeout: answerPatience, Transport: &http.Transport{
		MaxConnsPerHost: 1, MaxIdleConnsPerHost: 1,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return w.dial(ctx, addr)
		},
	}}
	return w
}

func organization(number int) string { return fmt.Sprint("organization-", number) }

// dial connects to the worker's machine if addr is the provider's.
func (w *worker) dial(ctx context.Context, addr string) (net.Conn, error) {
	if w.isProvider(addr) {
		if addr = w.machines[w.home].addr(); addr == "" {
			return nil, errDown
		}
		w.at = addr
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// isProvider reports whether addr is the host of the base URL.
func (p *provider) isProvider(addr string) bool {
	return strings.HasPrefix(p.baseURL, "http://"+addr+"/")
}

// formats are the signature formats that Fly.io may use; the current one is the
// most frequent. Cavage comes last because it has no nonce: each request must have
// different content.
var formats = []flytest.Format{
	flytest.FormatXSignature, flytest.FormatXSignature, flytest.FormatXSignature,
	flytest.FormatRFC9421, flytest.FormatDraft05, flytest.FormatCavage,
}

// platform returns a Fly.io that signs in a format.
func (w *worker) platform(format flytest.Format) *flytest.Platform {
	credentials := w.credentials
	if format.Generation() != flyext.Generation1 {
		credentials.BearerToken = ""
	}
	signer := format.Signer(credentials)
	if format == flytest.FormatCavage {
		// Without a digest, two requests with the same second, path and length have
		// the same signature, and the second one is refused as a replay.
		key := flyext.Key{ID: flytest.DefaultKeyID, Secret: credentials.SigningSecret}
		signer = flytest.All(flytest.BearerToken(credentials.BearerToken), flytest.CavageOptions{CoverDigest: true}.Cavage(key))
	}
	return &flytest.Platform{
		BaseURL: w.baseURL, Signer: signer, Client: w.client,
		Observe: func(e flytest.Exchange) { w.last = e },
	}
}

func anyFormat(n int) flytest.Format { return formats[rand.N(n)] }

// traced counts the connections that a request uses.
func (w *worker) traced(ctx context.Context) context.Context {
	w.resent = 0
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { w.resent++ },
	})
}

// ended records the result of a genuine request. After a failure it gives the
// provider a moment to recover.
func (w *worker) ended(kind string, start time.Time, err error) result {
	f, outcome := resultOf(err, w.resent > 1)
	w.count(kind, outcome)
	if f == answered {
		w.took(kind, time.Since(start))
		return f
	}
	w.home = (w.home + 1) % len(w.machines)
	w.client.CloseIdleConnections()
	time.Sleep(50 * time.Millisecond)
	return f
}

func (w *worker) run(ctx context.Context) {
	defer w.client.CloseIdleConnections()
	for !w.over.Load() {
		if w.hostileShare() < float64(w.hostilePart) {
			w.attack(ctx)
		} else {
			w.use(ctx)
		}
	}
}

// use makes a request of Fly.io or a customer.
func (w *worker) use(ctx context.Context) {
	n := rand.N(100)
	switch {
	case n < 20 || len(w.own) == 0:
		w.provision(ctx)
	case n < 50:
		w.update(ctx, w.own[rand.N(len(w.own))])
	case n < 90 || w.oauthURL == "":
		w.fetch(ctx, w.own[rand.N(len(w.own))])
	default:
		w.signIn(ctx, w.own[rand.N(len(w.own))])
	}
}

// provision requests an extension and retries until it is acknowledged, as Fly.io
// does.
func (w *worker) provision(ctx context.Context) {
	w.made++
	id := fmt.Sprintf("%s-%d", w.organization, w.made)
	for !w.over.Load() {
		if w.provisionAs(ctx, "provision", id) {
			w.own = append(w.own, id)
			return
		}
	}
}

// provisionAs makes one attempt.
func (w *worker) provisionAs(ctx context.Context, kind, id string) bool {
	fly, start := w.platform(anyFormat(len(formats))), time.Now()
	x, err := fly.Provision(w.traced(ctx), flyext.ProvisionRequest{
		ID: id, Name: id, OrganizationID: w.organization, UserID: customer, PrimaryRegion: "mad",
		UserEmail: fmt.Sprintf("%x@customer.example", rand.Uint64()), // makes each request unique
	})
	f := w.ended(kind, start, err)
	secret := ""
	if f == answered {
		for _, value := range x.Secrets {
			secret = value
		}
		if secret == "" {
			w.violate(lost, "%s %s: the response has no secrets", kind, id)
		}
		w.keep.add(capture{exchange: w.last, addr: w.at})
	}
	name := id
	if kind == kindVerify {
		name = "" // unchanged
	}
	w.change(kind, id, name, secret, f, err)
	return f == answered
}

func (w *worker) update(ctx context.Context, id string) {
	fly, start, name := w.platform(anyFormat(len(formats))), time.Now(), fmt.Sprint("name-", rand.Uint64())
	_, err := fly.Update(w.traced(ctx), id, flyext.UpdateRequest{Name: flyext.OptionalOf(name)})
	f := w.ended("update", start, err)
	if f == answered {
		w.keep.add(capture{exchange: w.last, addr: w.at})
	}
	w.change("update", id, name, "", f, err)
}

func (w *worker) fetch(ctx context.Context, id string) {
	fly, start := w.platform(anyFormat(len(formats)-1)), time.Now()
	x, err := fly.Fetch(w.traced(ctx), id)
	f := w.ended("fetch", start, err)
	name := ""
	if f == answered {
		name = x.Name
		w.keep.add(capture{exchange: w.last, addr: w.at})
	}
	w.read("fetch", id, name, f, err)
}

// customer is a member of all organizations.
const customer = "customer"

// signIn opens the dashboard in a new browser, as a customer does, and checks that
// it ends at the stream's page.
func (w *worker) signIn(ctx context.Context, id string) {
	start := time.Now()
	// Keep-alives are disabled because net/http resends a GET if a reused
	// connection breaks, and a callback works only once.
	client := &http.Client{Timeout: answerPatience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, addr string) (net.Conn, error) { return w.dial(ctx, addr) },
	}}
	browser, err := flytest.NewBrowser(client, w.baseURL, w.oauthURL)
	var visit *flytest.Visit
	if err == nil {
		visit, err = browser.Open(ctx, w.baseURL+flytest.ExtensionPath(id)+"/sso")
	}
	if err == nil {
		err = wantPage(visit, id)
	}
	w.resent = 1
	switch w.ended("sso", start, err) {
	case answered:
		w.session, w.sessionFor = browser, id
		for _, e := range visit.Exchanges {
			if strings.HasSuffix(e.Request.URL.Path, "/callback") {
				w.keep.add(capture{exchange: e, addr: w.at, callback: true})
			}
		}
	case rejected:
		w.violate(refused, "sso %s: %v", id, err)
	}
}

// wantPage checks that a visit ended at a stream's page.
func wantPage(visit *flytest.Visit, id string) error {
	last := visit.Last()
	if last.Response.StatusCode != http.StatusOK {
		return &flyext.Error{Status: last.Response.StatusCode, Message: fmt.Sprintf("%s: %.300s", last.Request.URL.Path, last.ResponseBody)}
	}
	if visit.Elsewhere != nil || last.Request.URL.Path != "/streams/"+id || !strings.Contains(string(last.ResponseBody), id) {
		return &flyext.Error{Status: http.StatusNotFound, Message: "the visit ended at " + last.Request.URL.Path}
	}
	return nil
}

// verifyAttempts is the number of attempts for each request after the last fault.
// Some connections may still be broken.
const verifyAttempts = 10

// verify checks after the run that the provider still has what it acknowledged to
// this worker: the secrets, the names, and the session of the customer who signed
// in.
func (w *worker) verify(ctx context.Context) {
	defer w.client.CloseIdleConnections()
	for _, id := range w.own {
		there := false
		for attempt := 0; !there && attempt < verifyAttempts; attempt++ {
			there = w.provisionAs(ctx, kindVerify, id)
		}
		if !there {
			w.violate(lost, "%s: the provider no longer answers for it", id)
			continue
		}
		w.fetch(ctx, id)
	}
	if w.session == nil {
		return
	}
	base, _, _ := strings.Cut(strings.TrimPrefix(w.baseURL, "http://"), "/")
	visit, err := w.session.Open(ctx, "http://"+base+"/streams/"+w.sessionFor)
	if err == nil && len(visit.Exchanges) > 1 {
		err = errors.New("redirected to " + visit.Last().Request.URL.Path)
	}
	if err == nil {
		err = wantPage(visit, w.sessionFor)
	}
	if err != nil {
		w.violate(lost, "the customer's session for %s: %v", w.sessionFor, err)
	}
}

// kindVerify is a provision of an existing extension, which changes nothing.
const kindVerify = "verify"
