// Package console is the web page of "flysim serve": a Fly.io simulator
// for a person with a browser. It provisions, updates, fetches and deprovisions
// extensions of one provider, sends it the events of machines, receives its
// webhooks, shows every request and answer as it went over the wire, and has the
// users who can sign in with the simulated OAuth server, which it serves as well.
//
// It is for the machine that it runs on. Whoever can open the page can use the
// provider's secrets, so it answers under loopback names alone, which keeps out
// pages that rebind their own name (DNS rebinding), takes forms from its own
// pages alone, and lets its pages load nothing but themselves. What a provider
// answers or sends is a stranger's bytes: it is shown, never run; and a webhook
// is believed only if its signature is right.
package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// Config is what a [Console] is made of. BaseURL, Format, URL and
// Credentials.SigningSecret are required. It prints and logs without its
// secrets.
type Config struct {
	// BaseURL is the provider's, as in [flytest.Platform.BaseURL].
	BaseURL string

	// Format is how requests are signed.
	Format flytest.Format

	// Credentials are those that the provider is configured with.
	Credentials flytest.Credentials

	// ClientID and ClientSecret are what the provider is to the OAuth server,
	// whose redirect URL is {BaseURL}/callback. Both "" means that there is no
	// sign-on.
	ClientID     string
	ClientSecret string

	// SSOGeneration is the version of the sign-on; 0 means that of Format.
	SSOGeneration flyext.Generation

	// WebhookSecret is what the provider signs its webhooks with; "" means that
	// none are received.
	WebhookSecret string

	// URL is the console's own, such as "http://localhost:4000": its host is a
	// loopback name or address, and it has no path. It is also what the provider
	// has as [flyext.SSO.OAuthURL], and with [WebhookPath] as
	// [flyext.WebhookConfig.Endpoint].
	URL string

	// Registration is what Fly.io has on record about the provider; see
	// [flytest.Platform.Registration].
	Registration flytest.Registration

	// Data is a directory that the history is kept in, so that it survives a
	// restart; "" keeps it in memory. Only one console may use it at a time.
	Data string

	// DataSecrets has secrets written to Data as they are. By default they are
	// masked.
	DataSecrets bool

	// Client, Now are as in [flytest.Platform].
	Client *http.Client
	Now    func() time.Time

	// Logger is told of what was done, never of a payload, a header or a secret;
	// nil is silent.
	Logger *slog.Logger
}

const redactedConfig = "console.Config([redacted])"

// String implements [fmt.Stringer]. It leaves everything out.
func (c Config) String() string { return redactedConfig }

// GoString implements [fmt.GoStringer]. It leaves everything out.
func (c Config) GoString() string { return redactedConfig }

// LogValue implements [slog.LogValuer].
func (c Config) LogValue() slog.Value { return slog.StringValue(redactedConfig) }

// A Console is an [http.Handler]. It answers everything below its URL: the
// pages, the simulated OAuth server under /oauth/, and the webhooks that are sent to
// [WebhookPath]. [Console.Run] does what goes on in the background. Both are safe
// for concurrent use.
type Console struct {
	platform      flytest.Platform // Observe is set on copies, one for each action
	base          string           // the provider's base URL, as it is signed
	format        flytest.Format
	oauth         *flytest.OAuthServer // nil: no sign-on
	clientID      string
	signingSecret string
	url           string
	hosts         []string // that the console answers under
	now           func() time.Time
	log           *slog.Logger
	handler       http.Handler

	webhookSecret string
	webhookURL    string                   // that webhooks are signed for; "": the one that they came to
	receiving     sync.Mutex               // held while receiver verifies one
	receiver      *flytest.WebhookReceiver // nil: no webhooks
	observed      flytest.Webhook          // what receiver found

	mu           sync.Mutex
	extensions   []*extension // the oldest first
	webhooks     []webhook    // the oldest first
	users        []flytest.User
	counter      int                 // of extensions and records
	appSecrets   map[string][]string // names of secrets, by app
	feed         []*record           // everything, the oldest first
	masker       masker
	history      *os.File // nil: nothing is saved
	historyName  string
	historyBytes int
	kept         []*record // those that have their wire, the oldest first
	keptBytes    int
	version      int64           // changes whenever a page would
	news         chan struct{}   // closed when version changes, and replaced
	latest       string          // what happened last, for a screen reader
	streams      []chan struct{} // open ones of live.go, the oldest first; closed to end one
	queue        []*waiting      // for Run
	wake         chan struct{}   // has one when the queue has
	running      bool
	stopped      chan struct{} // closed when Run has ended
}

// New returns a console. It does not ask the provider for anything. An error
// says what is wrong with the configuration.
func New(config Config) (*Console, error) {
	own, err := url.Parse(config.URL)
	if err != nil || own.Scheme != "http" && own.Scheme != "https" || !isLoopback(own.Hostname()) {
		return nil, fmt.Errorf("console: the console's URL %q is not one of this machine, such as http://localhost:4000", config.URL)
	}
	if own.User != nil || strings.Trim(own.Path, "/") != "" || own.RawQuery != "" || own.Fragment != "" {
		return nil, errors.New("console: the console's URL has more than a scheme, a host and a port")
	}
	if (config.ClientID == "") != (config.ClientSecret == "") {
		return nil, errors.New("console: ClientID and ClientSecret are needed both, or neither")
	}
	c := &Console{
		platform: flytest.Platform{
			BaseURL: config.BaseURL, Signer: config.Format.Signer(config.Credentials), Client: config.Client, Now: config.Now,
			Registration: config.Registration,
		},
		format:        config.Format,
		masker:        newMasker(config.DataSecrets, config),
		signingSecret: config.Credentials.SigningSecret,
		clientID:      config.ClientID,
		url:           own.Scheme + "://" + own.Host,
		hosts:         hostsOf(own),
		now:           config.Now,
		log:           config.Logger,
		users:         defaultUsers(),
		version:       rand.Int64N(1 << 40), // so that a page of an earlier run never seems up to date
		news:          make(chan struct{}),
		wake:          make(chan struct{}, 1),
		appSecrets:    make(map[string][]string),
		stopped:       make(chan struct{}),
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	// One signed request shows what is wrong with the secrets and the URL.
	if _, err := c.platform.NewRequest(context.Background(), http.MethodGet, flytest.ExtensionPath("x"), nil); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	dashboard, err := c.platform.DashboardURL("x")
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	c.base = strings.TrimSuffix(dashboard, flytest.ExtensionPath("x")+"/sso")
	if config.ClientID != "" {
		c.oauth = newOAuth(config, c.base)
		c.oauth.SetUsers(c.users...)
	}
	if c.webhookSecret = config.WebhookSecret; c.webhookSecret != "" {
		if own.Scheme == "https" { // before something that ends TLS, requests do not say so
			c.webhookURL = c.url + WebhookPath
		}
		c.receiver = c.newReceiver()
	}
	c.handler = c.routes()
	if config.Data != "" {
		if err := c.openHistory(config.Data); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// newOAuth returns the simulated sign-on. The provider's redirect URL is compared
// byte by byte, so its base URL counts both as it was given and as it is signed.
func newOAuth(config Config, base string) *flytest.OAuthServer {
	o := &flytest.OAuthServer{
		ClientID: config.ClientID, ClientSecret: config.ClientSecret,
		RedirectURLs: []string{base + "/callback"}, Generation: config.SSOGeneration, Now: config.Now,
	}
	if given := strings.TrimRight(config.BaseURL, "/") + "/callback"; given != o.RedirectURLs[0] {
		o.RedirectURLs = append(o.RedirectURLs, given)
	}
	if o.Generation == 0 {
		o.Generation = config.Format.Generation()
	}
	return o
}

func isLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	host = strings.ToLower(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// hostsOf returns the values of the Host header that mean this console: the
// loopback names, with its port.
func hostsOf(own *url.URL) []string {
	hosts := []string{strings.ToLower(own.Host)}
	for _, name := range []string{own.Hostname(), "localhost", "127.0.0.1", "::1"} {
		host := net.JoinHostPort(strings.ToLower(name), own.Port())
		hosts = append(hosts, strings.TrimSuffix(host, ":"))
		if port := own.Port(); port == "80" && own.Scheme == "http" || port == "443" && own.Scheme == "https" {
			hosts = append(hosts, strings.TrimSuffix(host, ":"+port)) // as browsers write it
		}
	}
	return hosts
}

// ServeHTTP implements [http.Handler].
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// routes is everything that the console answers.
func (c *Console) routes() http.Handler {
	pages := http.NewServeMux()
	pages.HandleFunc("GET /{$}", c.serveProvisionPage)
	pages.HandleFunc("POST /extensions", c.serveProvision)
	pages.HandleFunc("GET /extensions/{n}", c.withExtension(c.serveExtensionPage))
	pages.HandleFunc("POST /extensions/{n}/provision", c.withExtension(c.serveProvisionAgain))
	pages.HandleFunc("POST /extensions/{n}/update", c.withExtension(c.serveUpdate))
	pages.HandleFunc("POST /extensions/{n}/event", c.withExtension(c.serveEvent))
	pages.HandleFunc("POST /extensions/{n}/fetch", c.withExtension(c.serveFetch))
	pages.HandleFunc("POST /extensions/{n}/deprovision", c.withExtension(c.serveDeprovision))
	pages.HandleFunc("POST /extensions/{n}/forget", c.withExtension(c.serveForget))
	pages.HandleFunc("GET /wire/{n}/{part}", c.serveWire)
	pages.HandleFunc("GET "+requestsPath, c.serveRequestsPage)
	pages.HandleFunc("GET "+requestsPath+".har", c.serveHAR)
	pages.HandleFunc("GET /requests/{n}", c.withRecord(c.serveRequestPage))
	pages.HandleFunc("GET /requests/{n}/har", c.withRecord(c.serveOneHAR))
	pages.HandleFunc("GET /requests/{n}/curl", c.withRecord(c.serveCurl))
	pages.HandleFunc("GET /requests/{n}/edit", c.withRecord(c.serveEditPage))
	pages.HandleFunc("POST /requests/{n}/edit", c.withRecord(c.serveEdited))
	pages.HandleFunc("POST /requests/{n}/resend", c.withRecord(c.serveResend))
	pages.HandleFunc("POST /requests/{n}/replay", c.withRecord(c.serveReplay))
	pages.HandleFunc("GET /requests/{n}/explain", c.withRecord(c.serveExplainPage))
	pages.HandleFunc("GET "+debuggerPath, c.serveDebuggerPage)
	pages.HandleFunc("POST "+debuggerPath, c.serveDebugger)
	pages.HandleFunc("GET /users", c.serveUsersPage)
	pages.HandleFunc("POST /users", c.serveUsers)
	pages.HandleFunc("GET "+WebhookPath, c.serveWebhooksPage)
	pages.HandleFunc("POST "+WebhookPath, c.serveNoWebhook) // unless it is taken below
	pages.HandleFunc("GET "+livePath, c.serveLive)
	pages.HandleFunc("GET /icon.svg", serveIcon)
	pages.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.failPage(w, http.StatusNotFound, "There is no such page", "The address leads nowhere, or it takes a form and you came by a link.")
	})

	// The OAuth server and the webhook endpoint have no protect: programs send them
	// what no form of the console's has.
	all := http.NewServeMux()
	all.Handle("/", c.protect(pages))
	if c.oauth != nil {
		all.HandleFunc("/oauth/", c.serveOAuth)
	}
	all.HandleFunc("POST /graphql", c.serveGraphQL)
	all.HandleFunc("POST "+ReportPath, c.serveReport)
	all.HandleFunc("GET /v1/apps/{app}/machines", c.serveMachines)
	if c.receiver != nil {
		all.HandleFunc("POST "+WebhookPath, c.serveWebhook)
	}
	return &guard{hosts: c.hosts, next: all, deny: c.denyForeign}
}

// denyForeign answers a request that another site has a browser send.
func (c *Console) denyForeign(w http.ResponseWriter, r *http.Request) {
	c.log.Warn("refused a request of another site", "path", clip(r.URL.Path, 100))
	http.Error(w, "Another site sent this request. The console serves its own pages only.", http.StatusForbidden)
}

// maxForm bounds what a form may hold, in bytes.
const maxForm = 256 << 10

// protect refuses forms that are not the console's own or are too large.
func (c *Console) protect(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setSafeHeaders(w.Header())
		if err := origin.Check(r); err != nil {
			c.log.Warn("refused a form of another site", "path", r.URL.Path)
			c.failPage(w, http.StatusForbidden, "Another site sent this form", "The console takes forms from its own pages alone. Open it and do there what you want to do.")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if r.Method == http.MethodPost {
			if err := r.ParseForm(); err != nil {
				status, text := http.StatusBadRequest, "It is not encoded as a form."
				if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
					status, text = http.StatusRequestEntityTooLarge, fmt.Sprintf("A form may have %d KiB.", maxForm>>10)
				}
				c.failPage(w, status, "The form cannot be read", text)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// setSafeHeaders sets what holds for every answer of the console's own. The
// pages have a wider Content-Security-Policy.
func setSafeHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Not no-referrer: that would take the origin from the forms' requests.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
}

// changed tells the pages that there is something new. What happened is for a
// screen reader; "" leaves what it was. The console is locked.
func (c *Console) changed(happened string) {
	if happened != "" {
		c.latest = happened
	}
	c.version++
	close(c.news)
	c.news = make(chan struct{})
}
