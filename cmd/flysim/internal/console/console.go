// Package console is the web page of "flysim serve": a Fly.io simulator for a
// person with a browser. It can:
//
//   - provision, update, fetch and deprovision extensions of one provider
//   - send machine events to the provider, and receive its webhooks
//   - show each request and answer byte for byte, and explain its signature
//   - manage the users of the simulated OAuth server, which it also serves
//
// The console is for the machine that it runs on, because anyone who can open the
// page can use the provider's secrets:
//
//   - It answers only under loopback names. This stops pages that rebind their own
//     name (DNS rebinding).
//   - It accepts forms only from its own pages, and its pages load nothing else.
//   - It shows the bytes of a provider, and never runs them. It believes a webhook
//     only if the signature is right.
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

// Config configures a [Console]. BaseURL, Format, URL and
// Credentials.SigningSecret are required. It prints and logs without its secrets.
type Config struct {
	// BaseURL is the provider's base URL, as in [flytest.Platform.BaseURL].
	BaseURL string

	// Format is the signature format of the requests.
	Format flytest.Format

	// Credentials are the credentials that the provider is configured with.
	Credentials flytest.Credentials

	// ClientID and ClientSecret are the provider's OAuth credentials. Its
	// redirect URL is {BaseURL}/callback. Leave both empty for no sign-on.
	ClientID     string
	ClientSecret string

	// SSOGeneration is the version of the sign-on. 0 means the version of Format.
	SSOGeneration flyext.Generation

	// WebhookSecret is the secret that the provider signs its webhooks with. If
	// it is "", the console receives no webhooks.
	WebhookSecret string

	// URL is the console's own URL, such as "http://localhost:4000". Its host is
	// a loopback name or address, and it has no path. Give it to the provider as
	// [flyext.SSOConfig.OAuthURL] and, followed by [WebhookPath], as
	// [flyext.WebhookConfig.Endpoint].
	URL string

	// Registration is Fly.io's record of the provider; see
	// [flytest.Platform.Registration].
	Registration flytest.Registration

	// Data is a directory for the history, which then survives a restart. ""
	// keeps the history in memory. Only one console may use a directory at a
	// time.
	Data string

	// DataSecrets writes secrets to Data unmasked. By default they are masked.
	DataSecrets bool

	// Client and Now are as in [flytest.Platform].
	Client *http.Client
	Now    func() time.Time

	// Logger logs each action, without payloads, headers and secrets. nil logs
	// nothing.
	Logger *slog.Logger
}

const redactedConfig = "console.Config([redacted])"

// String implements [fmt.Stringer]. It omits all fields.
func (c Config) String() string { return redactedConfig }

// GoString implements [fmt.GoStringer]. It omits all fields.
func (c Config) GoString() string { return redactedConfig }

// LogValue implements [slog.LogValuer]. It omits all fields.
func (c Config) LogValue() slog.Value { return slog.StringValue(redactedConfig) }

// A Console is an [http.Handler] for everything below its URL: the pages, the
// simulated OAuth server under /oauth/, and the webhooks at [WebhookPath].
// [Console.Run] does the work in the background. Both are safe for concurrent
// use.
type Console struct {
	platform      flytest.Platform // each action sets Observe on a copy
	base          string           // the provider's base URL, as it is signed
	format        flytest.Format
	oauth         *flytest.OAuthServer // nil: no sign-on
	clientID      string
	signingSecret string
	url           string
	hosts         []string // the Host values that the console answers to
	now           func() time.Time
	log           *slog.Logger
	handler       http.Handler

	webhookSecret string
	webhookURL    string                   // the URL that webhooks are signed for; "" means the URL of the request
	receiving     sync.Mutex               // held while receiver verifies a webhook
	receiver      *flytest.WebhookReceiver // nil: no webhooks
	observed      flytest.Webhook          // the result of receiver

	mu           sync.Mutex
	extensions   []*extension // the oldest first
	webhooks     []webhook    // the oldest first
	users        []flytest.User
	counter      int                 // the last number of an extension or a record
	appSecrets   map[string][]string // names of secrets, by app
	feed         []*record           // all records, the oldest first
	masker       masker
	history      *os.File // nil: nothing is saved
	historyName  string
	historyBytes int
	kept         []*record // the records that have their wire, the oldest first
	keptBytes    int
	version      int64           // changes whenever a page would change
	news         chan struct{}   // closed when version changes, and replaced
	latest       string          // the last event, for a screen reader
	streams      []chan struct{} // the open streams of live.go, the oldest first; closing one ends it
	queue        []*waiting      // for Run
	wake         chan struct{}   // has an element if queue has one
	running      bool
	stopped      chan struct{} // closed when Run has ended
}

// New returns a console. It sends nothing to the provider. The error describes
// the fault of the configuration.
func New(config Config) (*Console, error) {
	own, err := config.ownURL()
	if err != nil {
		return nil, err
	}
	if (config.ClientID == "") != (config.ClientSecret == "") {
		return nil, errors.New("console: set both ClientID and ClientSecret, or neither of them")
	}
	c := bareConsole(config, own)
	if c.base, err = c.signedBase(); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	if config.ClientID != "" {
		c.oauth = newOAuth(config, c.base)
		c.oauth.SetUsers(c.users...)
	}
	if c.webhookSecret = config.WebhookSecret; c.webhookSecret != "" {
		if own.Scheme == "https" { // behind a TLS proxy, requests do not show the scheme
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

// ownURL parses and checks the console's own URL.
func (c Config) ownURL() (*url.URL, error) {
	own, err := url.Parse(c.URL)
	if err != nil || own.Scheme != "http" && own.Scheme != "https" || !isLoopback(own.Hostname()) {
		return nil, fmt.Errorf("console: the console's URL %q must be one of this machine, such as http://localhost:4000", c.URL)
	}
	if own.User != nil || strings.Trim(own.Path, "/") != "" || own.RawQuery != "" || own.Fragment != "" {
		return nil, errors.New("console: the console's URL must be only a scheme, a host and a port")
	}
	return own, nil
}

// bareConsole returns a console without its handler, sign-on, webhooks and history.
func bareConsole(config Config, own *url.URL) *Console {
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
		version:       rand.Int64N(1 << 40), // a page of an earlier run must not seem up to date
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
	return c
}

// signedBase returns the provider's base URL, as it is signed. It signs one request,
// to find faults of the secrets and the URL.
func (c *Console) signedBase() (string, error) {
	if _, err := c.platform.NewRequest(context.Background(), http.MethodGet, flytest.ExtensionPath("x"), nil); err != nil {
		return "", err
	}
	dashboard, err := c.platform.DashboardURL("x")
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(dashboard, flytest.ExtensionPath("x")+"/sso"), nil
}

// newOAuth returns the simulated sign-on. It compares redirect URLs byte by byte,
// so it accepts the base URL both as it was given and as it is signed.
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

// hostsOf returns the Host values of this console: the loopback names with its
// port.
func hostsOf(own *url.URL) []string {
	hosts := []string{strings.ToLower(own.Host)}
	for _, name := range []string{own.Hostname(), "localhost", "127.0.0.1", "::1"} {
		host := net.JoinHostPort(strings.ToLower(name), own.Port())
		hosts = append(hosts, strings.TrimSuffix(host, ":"))
		if port := own.Port(); port == "80" && own.Scheme == "http" || port == "443" && own.Scheme == "https" {
			hosts = append(hosts, strings.TrimSuffix(host, ":"+port)) // browsers omit the default port
		}
	}
	return hosts
}

// ServeHTTP implements [http.Handler].
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// changed tells the pages to update themselves. happened is for a screen reader;
// "" keeps the previous text. The console is locked.
func (c *Console) changed(happened string) {
	if happened != "" {
		c.latest = happened
	}
	c.version++
	close(c.news)
	c.news = make(chan struct{})
}
