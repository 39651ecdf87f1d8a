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

// A plan says how much load there is.
type plan struct {
	duration    time.Duration
	connections int
	hostilePart int // of a hundred requests that arrive
	requests    int // that arrive at least, however long it takes
}

// A provider is what the load is put on.
type provider struct {
	baseURL     string // that it believes in; its machines are dialled
	oauthURL    string // of the played Fly.io's sign-on; "" if customers cannot sign in
	credentials flytest.Credentials
	machines    []machine

	// sharedReplays says that a replay is refused by any machine and after any
	// restart. What one machine remembers in memory, no other one knows, and it
	// forgets it when it is killed.
	sharedReplays bool

	// headers and whole are when a slow sender is cut off at the latest: one of a
	// request's header fields, and one of all of it.
	headers, whole time.Duration
	patience       time.Duration // on top of that, with a busy machine
	rest           time.Duration // after which it has let go of what it does not need

	// rows returns what the provider's database has.
	rows func(ctx context.Context) (map[string]row, error)
}

// A machine is a process of the provider's.
type machine interface {
	// addr is where it listens, which is another address after each start, and ""
	// while it is down.
	addr() string
	vitals(ctx context.Context) (vitals, error)
	rss() int64 // its resident memory in bytes; 0 if nobody knows
}

// A load is a plan that is being carried out.
type load struct {
	plan
	provider
	*ledger
	over    atomic.Bool
	end     time.Time
	keep    keepsakes
	slow    sync.WaitGroup // senders that take their time
	slowNow atomic.Int32
	attacks atomic.Int64
}

// A worker is one of the connections that Fly.io has.
type worker struct {
	*load
	organization string
	home         int // index of its machine
	client       *http.Client
	at           string // address that its connection leads to
	resent       int    // connections that its last request took
	last         flytest.Exchange
	own          []string // ids that were answered
	made         int
	session      *flytest.Browser // of the customer who signed in last
	sessionFor   string           // the stream that they saw
}

// answerPatience is longer than any provider takes, so that no request is given up
// that is applied later.
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

// dial leads the provider's host to the worker's machine.
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

// isProvider says whether an address of a dialler is that of the base URL.
func (p *provider) isProvider(addr string) bool {
	return strings.HasPrefix(p.baseURL, "http://"+addr+"/")
}

// formats are those that Fly.io may sign in, today's most often. Cavage has no
// nonce: it signs what differs each time.
var formats = []flytest.Format{
	flytest.FormatXSignature, flytest.FormatXSignature, flytest.FormatXSignature,
	flytest.FormatRFC9421, flytest.FormatDraft05, flytest.FormatCavage,
}

// platform is a Fly.io that signs by one of the formats.
func (w *worker) platform(format flytest.Format) *flytest.Platform {
	credentials := w.credentials
	if format.Generation() != flyext.Generation1 {
		credentials.BearerToken = ""
	}
	signer := format.Signer(credentials)
	if format == flytest.FormatCavage {
		// Without a digest, two requests of one second, path and length have one
		// signature, and the second one is refused as a copy.
		key := flyext.Key{ID: flytest.DefaultKeyID, Secret: credentials.SigningSecret}
		signer = flytest.All(flytest.BearerToken(credentials.BearerToken), flytest.CavageOptions{CoverDigest: true}.Cavage(key))
	}
	return &flytest.Platform{
		BaseURL: w.baseURL, Signer: signer, Client: w.client,
		Observe: func(e flytest.Exchange) { w.last = e },
	}
}

func anyFormat(n int) flytest.Format { return formats[rand.N(n)] }

// traced counts the connections that a request is sent over.
func (w *worker) traced(ctx context.Context) context.Context {
	w.resent = 0
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { w.resent++ },
	})
}

// ended enters how a genuine request ended, and gives the provider a moment to
// come back.
func (w *worker) ended(kind string, start time.Time, err error) fate {
	f, outcome := fateOf(err, w.resent > 1)
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

// use is what Fly.io and its customers do.
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

// provision asks for an extension, again and again until there is an answer, as
// Fly.io does.
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

// provisionAs asks once.
func (w *worker) provisionAs(ctx context.Context, kind, id string) bool {
	fly, start := w.platform(anyFormat(len(formats))), time.Now()
	x, err := fly.Provision(w.traced(ctx), flyext.ProvisionRequest{
		ID: id, Name: id, OrganizationID: w.organization, UserID: customer, PrimaryRegion: "mad",
		UserEmail: fmt.Sprintf("%x@customer.example", rand.Uint64()), // so that no two requests are equal
	})
	f := w.ended(kind, start, err)
	secret := ""
	if f == answered {
		for _, value := range x.Secrets {
			secret = value
		}
		if secret == "" {
			w.violate(lost, "%s %s: it was answered without secrets", kind, id)
		}
		w.keep.add(keepsake{exchange: w.last, addr: w.at})
	}
	name := id
	if kind == kindVerify {
		name = "" // it has one
	}
	w.change(kind, id, name, secret, f, err)
	return f == answered
}

func (w *worker) update(ctx context.Context, id string) {
	fly, start, name := w.platform(anyFormat(len(formats))), time.Now(), fmt.Sprint("name-", rand.Uint64())
	_, err := fly.Update(w.traced(ctx), id, flyext.UpdateRequest{Name: flyext.OptionalOf(name)})
	f := w.ended("update", start, err)
	if f == answered {
		w.keep.add(keepsake{exchange: w.last, addr: w.at})
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
		w.keep.add(keepsake{exchange: w.last, addr: w.at})
	}
	w.read("fetch", id, name, f, err)
}

// customer is in all organizations.
const customer = "customer"

// signIn is a customer who opens the dashboard in a new browser, and sees the
// stream's page in the end.
func (w *worker) signIn(ctx context.Context, id string) {
	start := time.Now()
	// Without connections to be used again: net/http would send a GET twice when
	// one breaks, and a callback works once.
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
				w.keep.add(keepsake{exchange: e, addr: w.at, callback: true})
			}
		}
	case rejected:
		w.violate(refused, "sso %s: %v", id, err)
	}
}

// wantPage wants a visit to end at a stream's page.
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

// verifyAttempts are made of each request when nothing is broken any more: what
// was broken may have left connections that no longer work.
const verifyAttempts = 10

// verify asks in the end for what the worker was answered: the secrets, the name,
// and the page of who has signed in.
func (w *worker) verify(ctx context.Context) {
	defer w.client.CloseIdleConnections()
	for _, id := range w.own {
		there := false
		for attempt := 0; !there && attempt < verifyAttempts; attempt++ {
			there = w.provisionAs(ctx, kindVerify, id)
		}
		if !there {
			w.violate(lost, "%s is not answered for any more", id)
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
		err = errors.New("it led to " + visit.Last().Request.URL.Path)
	}
	if err == nil {
		err = wantPage(visit, w.sessionFor)
	}
	if err != nil {
		w.violate(lost, "the session of who signed in for %s: %v", w.sessionFor, err)
	}
}

// kindVerify is a provision of an extension that is there: it changes nothing.
const kindVerify = "verify"
