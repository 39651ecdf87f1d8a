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

// A config holds the settings from the flags and the environment.
type config struct {
	addr    string // listen address; "" means the default, or any free port
	baseURL string // public base URL, which Fly.io calls; "" means one made from addr
	db      string // database file; "" means a temporary file
	key     string // key that encrypts the secrets in the database; "" means the key file next to it
	once    bool   // exit after the demo
	debug   string // loopback address for the debug pages; "" means none

	servers     *backend.Servers // PostgreSQL and Redis; nil means a program without them
	databaseURL string           // PostgreSQL; "" means the file db
	redisURL    string           // replay store; "" means PostgreSQL if databaseURL is set, or memory

	signingSecrets []string // secrets that Fly.io signs with; if empty, Logjam runs the demo
	bearerTokens   []string

	clientID, clientSecret string // OAuth application at Fly.io; "" means no dashboard
	oauthURL               string // OAuth server; "" means Fly.io's
	ssoGeneration          int    // generation of the sign-on protocol

	webhookSecret string // secret that Logjam signs webhooks with; "" means no webhooks
	webhookURL    string // webhook receiver; "" means Fly.io's
	webhookAction string // "list" or "retry" instead of serving; "" means serve
}

const (
	defaultAddr = "127.0.0.1:8080"
	defaultDB   = "logjam.db"
)

const usage = `Logjam is a small Fly.io extension provider that sells log streams.

If FLYIO_SIGNING_SECRET is set, Logjam serves Fly.io. Otherwise it runs a demo:
it starts a Fly.io simulator and prints each request and answer.

Environment:
  FLYIO_SIGNING_SECRET  secret that Fly.io signs requests with; to rotate it,
                        set the new and the old secret, separated by a comma
  FLYIO_BEARER_TOKEN    token of Fly.io's first proposal: also accept requests
                        with this token and a message signature; to rotate it,
                        set two tokens, separated by a comma
  FLYIO_CLIENT_ID,      OAuth application that Fly.io registered for Logjam,
  FLYIO_CLIENT_SECRET   with the redirect URI <base-url>/callback; turns on the
                        dashboard
  FLYIO_OAUTH_URL       OAuth server (default Fly.io's)
  FLYIO_WEBHOOK_SECRET  secret that signs webhooks; turns on webhooks, which
                        tell Fly.io about changes made on the dashboard
  FLYIO_WEBHOOK_URL     webhook receiver (default Fly.io's)
  DATABASE_URL          default of -database-url, unless -db is set or the demo
                        runs; needs examples/logjam/machines
  REDIS_URL             default of -redis-url, unless the demo runs; needs
                        examples/logjam/machines
  LOGJAM_KEY            key that encrypts the secrets in the database, 32 bytes
                        in base64 (default: the key file next to the SQLite
                        file; required for PostgreSQL)

Flags:
`

// readConfig reads the flags and the environment. It returns an error for a
// configuration that is incomplete, contradictory or insecure.
func readConfig(servers *backend.Servers, args []string, lookupEnv func(string) (string, bool), stderr io.Writer) (config, error) {
	c := config{servers: servers}
	if err := c.readFlags(args, stderr); err != nil {
		return c, err
	}
	if err := c.readEnvironment(lookupEnv); err != nil {
		return c, err
	}
	return c, c.complete()
}

// flags returns the flags, which set the settings of c.
func (c *config) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("logjam", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the caller prints the error
	flags.StringVar(&c.addr, "addr", "", "listen on this `address` (default "+defaultAddr+")")
	flags.StringVar(&c.baseURL, "base-url", "", "public base `URL`, as registered with Fly.io (default http://<addr>/flyio)")
	flags.StringVar(&c.db, "db", "", "keep the data in this SQLite `file` (default "+defaultDB+")")
	flags.StringVar(&c.databaseURL, "database-url", "", "keep the data in PostgreSQL at this `URL`; needs LOGJAM_KEY")
	flags.StringVar(&c.redisURL, "redis-url", "", "keep the replay store in Redis at this `URL`")
	flags.StringVar(&c.webhookAction, "webhooks", "", "`list` or retry the failed webhooks, and exit")
	flags.IntVar(&c.ssoGeneration, "sso-generation", int(flyext.Generation2), "`generation` of the sign-on protocol, 1 or 2")
	flags.StringVar(&c.debug, "debug-addr", "", "serve profiles and memory figures on this loopback `address`")
	flags.BoolVar(&c.once, "once", false, "exit after the demo")
	return flags
}

// readFlags reads the flags. For -help it prints the usage on stderr.
func (c *config) readFlags(args []string, stderr io.Writer) error {
	flags := c.flags()
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stderr, usage)
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return nil
}

// readEnvironment reads the settings that are not flags, and defaults of two flags.
func (c *config) readEnvironment(lookupEnv func(string) (string, bool)) error {
	env := environment{lookup: lookupEnv}
	c.signingSecrets = env.list("FLYIO_SIGNING_SECRET")
	c.bearerTokens = env.list("FLYIO_BEARER_TOKEN")
	c.clientID = env.text("FLYIO_CLIENT_ID")
	c.clientSecret = env.text("FLYIO_CLIENT_SECRET")
	c.oauthURL = env.text("FLYIO_OAUTH_URL")
	c.key = env.text("LOGJAM_KEY")
	c.webhookSecret = env.text("FLYIO_WEBHOOK_SECRET")
	c.webhookURL = env.text("FLYIO_WEBHOOK_URL")
	// The demo ignores these variables: they may be set for another program.
	if !c.isDemo() && c.db == "" && c.databaseURL == "" {
		c.databaseURL = env.text("DATABASE_URL")
	}
	if !c.isDemo() && c.redisURL == "" {
		c.redisURL = env.text("REDIS_URL")
	}
	return env.err
}

// isDemo reports whether Logjam runs the demo instead of serving Fly.io.
func (c *config) isDemo() bool { return len(c.signingSecrets) == 0 }

// hasDashboard reports whether customers can sign in.
func (c *config) hasDashboard() bool { return c.clientID != "" }

// complete sets the defaults and checks that the settings fit together.
func (c *config) complete() error {
	for _, check := range []func() error{c.checkSignOn, c.checkStores, c.checkWebhooks, c.checkDebug} {
		if err := check(); err != nil {
			return err
		}
	}
	if c.isDemo() {
		return c.checkDemo()
	}
	return c.completeServing()
}

// checkSignOn checks the settings of the dashboard's sign-on.
func (c *config) checkSignOn() error {
	switch {
	case (c.clientID == "") != (c.clientSecret == ""):
		return errors.New("FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET need each other; set both or neither")
	case c.ssoGeneration != int(flyext.Generation1) && c.ssoGeneration != int(flyext.Generation2):
		return errors.New("invalid -sso-generation; use 1 or 2")
	case c.ssoGeneration == int(flyext.Generation1) && !c.hasDashboard():
		return errors.New("-sso-generation needs a dashboard; set FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET")
	case c.oauthURL != "" && !c.hasDashboard():
		return errors.New("FLYIO_OAUTH_URL needs a dashboard; set FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET")
	case c.hasDashboard() && c.isDemo():
		return errors.New("the demo has its own sign-on; set FLYIO_SIGNING_SECRET, or unset FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET")
	}
	return nil
}

// checkStores checks the settings of the database and the replay store.
func (c *config) checkStores() error {
	switch {
	case c.servers == nil && (c.databaseURL != "" || c.redisURL != ""):
		return errors.New("this program does not support PostgreSQL and Redis; use go run ./examples/logjam/machines")
	case c.databaseURL != "" && c.db != "":
		return errors.New("-db and -database-url exclude each other; use one of them")
	case c.databaseURL != "" && c.key == "":
		return errors.New("-database-url needs a key; set LOGJAM_KEY (make one with: openssl rand -base64 32)")
	}
	return nil
}

// checkWebhooks checks the settings of the webhooks.
func (c *config) checkWebhooks() error {
	switch {
	case c.webhookURL != "" && c.webhookSecret == "":
		return errors.New("FLYIO_WEBHOOK_URL needs a secret; set FLYIO_WEBHOOK_SECRET")
	case c.webhookSecret != "" && c.isDemo():
		return errors.New("the demo sends no webhooks; set FLYIO_SIGNING_SECRET, or unset FLYIO_WEBHOOK_SECRET")
	case c.webhookAction != "" && c.webhookAction != "list" && c.webhookAction != "retry":
		return errors.New("invalid -webhooks; use list or retry")
	case c.webhookAction != "" && c.webhookSecret == "":
		return errors.New("-webhooks needs a secret; set FLYIO_WEBHOOK_SECRET")
	}
	return nil
}

func (c *config) checkDebug() error {
	if c.debug != "" && !isLoopback(c.debug) {
		return errors.New("-debug-addr must be a loopback address, such as 127.0.0.1:6060")
	}
	return nil
}

// checkDemo refuses settings that the demo does not use.
func (c *config) checkDemo() error {
	switch {
	case c.debug != "":
		return errors.New("the demo has no debug pages; set FLYIO_SIGNING_SECRET, or omit -debug-addr")
	case len(c.bearerTokens) > 0:
		return errors.New("FLYIO_BEARER_TOKEN needs a signing secret; set FLYIO_SIGNING_SECRET")
	case c.baseURL != "":
		return errors.New("the demo has no public URL; set FLYIO_SIGNING_SECRET, or omit -base-url")
	case c.addr != "" && !isLoopback(c.addr):
		return errors.New("the demo listens on loopback only; use an address such as -addr " + defaultAddr)
	}
	return nil
}

// completeServing sets the defaults for serving Fly.io, and checks the base URL.
func (c *config) completeServing() error {
	if c.once {
		return errors.New("-once is for the demo; omit it, or unset FLYIO_SIGNING_SECRET")
	}
	if c.addr == "" {
		c.addr = defaultAddr
	}
	if c.db == "" && c.databaseURL == "" {
		c.db = defaultDB
	}
	if c.baseURL == "" && !isLoopback(c.addr) {
		return errors.New("missing -base-url; set the URL that Fly.io calls, such as https://logjam.example/flyio")
	}
	if u, err := url.Parse(c.baseURL); err == nil && strings.ContainsAny(u.Path, "{} \t") {
		// http.ServeMux gives these characters a meaning.
		return errors.New("the path of -base-url contains a brace or a space; use another path")
	}
	return nil
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// An environment reads variables and keeps the first error.
type environment struct {
	lookup func(string) (string, bool)
	err    error
}

// text reads an optional variable. A variable that is set but empty is an error,
// because it usually means that a deployment lost a secret.
func (e *environment) text(name string) string {
	value, ok := e.lookup(name)
	if ok && strings.TrimSpace(value) == "" && e.err == nil {
		e.err = fmt.Errorf("%s is empty; set or unset it", name)
	}
	return value
}

// list reads an optional variable that holds comma-separated values.
func (e *environment) list(name string) []string {
	text := e.text(name)
	if text == "" {
		return nil
	}
	values := strings.Split(text, ",")
	for i := range values {
		if values[i] = strings.TrimSpace(values[i]); values[i] == "" && e.err == nil {
			e.err = fmt.Errorf("%s has an empty value; separate the values with single commas", name)
		}
	}
	return values
}
