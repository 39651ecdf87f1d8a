package service

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/examples/logjam/backend"
)

// A config is what the flags and the environment say.
type config struct {
	addr    string // where to listen; "" leaves the choice to Logjam
	baseURL string // under which Fly.io reaches it; "" means under addr
	db      string // the database file; "" means a temporary one
	key     string // to the secrets in the database; "" means a file beside it
	once    bool   // end after the show
	debug   string // where to show an operator the process's state, on loopback; "" means nowhere

	servers     *backend.Servers // that this program can reach; nil means none
	databaseURL string           // of PostgreSQL; "" means the file
	redisURL    string           // where it is remembered which requests came; "" means in PostgreSQL, else in memory

	signingSecrets []string // Fly.io's; none means that Logjam plays Fly.io itself
	bearerTokens   []string

	clientID, clientSecret string // Fly.io's OAuth application; "" means no dashboard
	oauthURL               string // of its server; "" means the real one
	ssoGeneration          int    // of Fly.io's protocol, that customers sign in by

	webhookSecret string // what Logjam signs with; "" means no webhooks
	webhookURL    string // to send them to; "" means Fly.io's
	webhookAction string // to do instead of serving, or ""
}

const (
	defaultAddr = "127.0.0.1:8080"
	defaultDB   = "logjam.db"
)

const usage = `Logjam is a small Fly.io extension provider that sells log streams.

With FLYIO_SIGNING_SECRET in the environment it serves Fly.io. Without, it plays
Fly.io against itself and shows what happens.

  FLYIO_SIGNING_SECRET  the secret that Fly.io signs with; while it is being
                        changed, the new one and the old one with a comma
  FLYIO_BEARER_TOKEN    also accept the bearer token and message signature of
                        Fly.io's first proposal; several as above
  FLYIO_CLIENT_ID,      the OAuth application that Fly.io registered for Logjam,
  FLYIO_CLIENT_SECRET   with <base-url>/callback: turns the dashboard on
  FLYIO_OAUTH_URL       another OAuth server than Fly.io's
  FLYIO_WEBHOOK_SECRET  the secret to sign webhooks with: tell Fly.io what
                        customers do to their streams on the dashboard
  FLYIO_WEBHOOK_URL     another receiver of webhooks than Fly.io
  DATABASE_URL          the same as -database-url, for a server without -db;
                        needs the program examples/logjam/machines
  REDIS_URL             the same as -redis-url, for a server; likewise
  LOGJAM_KEY            the key to the secrets in the database, 32 bytes in
                        base64; by default a file beside the database,
                        which is none where that is PostgreSQL

Flags:
`

// readConfig reads flags and environment, and refuses what would fail or be
// insecure later.
func readConfig(servers *backend.Servers, args []string, lookupEnv func(string) (string, bool), stderr io.Writer) (config, error) {
	c := config{servers: servers}
	flags := flag.NewFlagSet("logjam", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a mistake is told once, by the caller
	flags.StringVar(&c.addr, "addr", "", "listen on this `address` (default "+defaultAddr+")")
	flags.StringVar(&c.baseURL, "base-url", "", "the public `URL` that Fly.io was given (default http://<addr>/flyio)")
	flags.StringVar(&c.db, "db", "", "keep the database in this `file` (default "+defaultDB+")")
	flags.StringVar(&c.databaseURL, "database-url", "", "keep the database in PostgreSQL, at this `URL`; needs LOGJAM_KEY")
	flags.StringVar(&c.redisURL, "redis-url", "", "remember in Redis, at this `URL`, which requests came")
	flags.StringVar(&c.webhookAction, "webhooks", "", "instead of serving, `list` the webhooks that failed so far, or retry them")
	flags.IntVar(&c.ssoGeneration, "sso-generation", int(flyext.Generation2), "sign customers in by this `generation` of the protocol, 1 or 2")
	flags.StringVar(&c.debug, "debug-addr", "", "show goroutines and memory on this loopback `address`")
	flags.BoolVar(&c.once, "once", false, "without FLYIO_SIGNING_SECRET: exit after the show")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stderr, usage)
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return c, err
	}
	if flags.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	env := environment{lookup: lookupEnv}
	c.signingSecrets = env.list("FLYIO_SIGNING_SECRET")
	c.bearerTokens = env.list("FLYIO_BEARER_TOKEN")
	c.clientID = env.text("FLYIO_CLIENT_ID")
	c.clientSecret = env.text("FLYIO_CLIENT_SECRET")
	c.oauthURL = env.text("FLYIO_OAUTH_URL")
	c.key = env.text("LOGJAM_KEY")
	c.webhookSecret = env.text("FLYIO_WEBHOOK_SECRET")
	c.webhookURL = env.text("FLYIO_WEBHOOK_URL")
	// The show keeps off: the variables may be there for another program.
	if !c.plays() && c.db == "" && c.databaseURL == "" {
		c.databaseURL = env.text("DATABASE_URL")
	}
	if !c.plays() && c.redisURL == "" {
		c.redisURL = env.text("REDIS_URL")
	}
	if env.err != nil {
		return c, env.err
	}
	return c, c.complete()
}

// plays says whether Logjam plays Fly.io.
func (c *config) plays() bool { return len(c.signingSecrets) == 0 }

// hasDashboard says whether customers can sign in.
func (c *config) hasDashboard() bool { return c.clientID != "" }

// complete fills in the defaults and checks what belongs together.
func (c *config) complete() error {
	switch {
	case (c.clientID == "") != (c.clientSecret == ""):
		return errors.New("of FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET one is set and the other is not")
	case c.ssoGeneration != int(flyext.Generation1) && c.ssoGeneration != int(flyext.Generation2):
		return errors.New("-sso-generation is neither 1 nor 2")
	case c.ssoGeneration == int(flyext.Generation1) && !c.hasDashboard():
		return errors.New("-sso-generation is 1, and FLYIO_CLIENT_ID is not set")
	case c.oauthURL != "" && !c.hasDashboard():
		return errors.New("FLYIO_OAUTH_URL is set, and FLYIO_CLIENT_ID is not")
	case c.hasDashboard() && c.plays():
		return errors.New("FLYIO_CLIENT_ID is set and FLYIO_SIGNING_SECRET is not; without it Logjam plays Fly.io's sign-on itself")
	}
	switch {
	case c.servers == nil && (c.databaseURL != "" || c.redisURL != ""):
		return errors.New("this program has no PostgreSQL and no Redis; use go run ./examples/logjam/machines")
	case c.databaseURL != "" && c.db != "":
		return errors.New("of -db and -database-url one is enough")
	case c.databaseURL != "" && c.key == "":
		return errors.New("LOGJAM_KEY is not set, and a database in PostgreSQL has no key file beside it")
	case c.webhookURL != "" && c.webhookSecret == "":
		return errors.New("FLYIO_WEBHOOK_URL is set, and FLYIO_WEBHOOK_SECRET is not")
	case c.webhookSecret != "" && c.plays():
		return errors.New("FLYIO_WEBHOOK_SECRET is set and FLYIO_SIGNING_SECRET is not; the show sends no webhooks")
	case c.webhookAction != "" && c.webhookAction != "list" && c.webhookAction != "retry":
		return errors.New("-webhooks is neither list nor retry")
	case c.webhookAction != "" && c.webhookSecret == "":
		return errors.New("-webhooks is about webhooks, and FLYIO_WEBHOOK_SECRET is not set")
	}
	if c.debug != "" && !isLoopback(c.debug) {
		return errors.New("-debug-addr is for this machine alone: choose an address on loopback, such as 127.0.0.1:6060")
	}
	if c.plays() {
		switch {
		case c.debug != "":
			return errors.New("-debug-addr is for a server: set FLYIO_SIGNING_SECRET")
		case len(c.bearerTokens) > 0:
			return errors.New("FLYIO_BEARER_TOKEN is set and FLYIO_SIGNING_SECRET is not; a token alone does not authenticate")
		case c.baseURL != "":
			return errors.New("-base-url is for a server that Fly.io knows: set FLYIO_SIGNING_SECRET")
		case c.addr != "" && !isLoopback(c.addr):
			return errors.New("without FLYIO_SIGNING_SECRET Logjam listens on loopback only, such as -addr " + defaultAddr)
		}
		return nil
	}
	if c.once {
		return errors.New("-once ends the show that FLYIO_SIGNING_SECRET turns off; unset one of them")
	}
	if c.addr == "" {
		c.addr = defaultAddr
	}
	if c.db == "" && c.databaseURL == "" {
		c.db = defaultDB
	}
	if c.baseURL == "" && !isLoopback(c.addr) {
		return errors.New("-base-url is missing: which URL, such as https://logjam.example/flyio, does Fly.io call?")
	}
	if u, err := url.Parse(c.baseURL); err == nil && strings.ContainsAny(u.Path, "{} \t") {
		return errors.New("-base-url has a path with a brace or a space, of which http.ServeMux makes something else")
	}
	return nil
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// An environment reads variables and keeps the first mistake.
type environment struct {
	lookup func(string) (string, bool)
	err    error
}

// text reads a variable that may be absent. Set and empty is a mistake, of a
// deployment that lost a secret: not a wish to go without.
func (e *environment) text(name string) string {
	value, ok := e.lookup(name)
	if ok && strings.TrimSpace(value) == "" && e.err == nil {
		e.err = fmt.Errorf("%s is set, but empty", name)
	}
	return value
}

// list reads a variable of several values with commas between them.
func (e *environment) list(name string) []string {
	text := e.text(name)
	if text == "" {
		return nil
	}
	values := strings.Split(text, ",")
	for i := range values {
		if values[i] = strings.TrimSpace(values[i]); values[i] == "" && e.err == nil {
			e.err = fmt.Errorf("%s has an empty value between its commas", name)
		}
	}
	return values
}
