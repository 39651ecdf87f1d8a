package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// settings holds the values of the flags that all commands share.
type settings struct {
	baseURL    string
	format     flytest.Format
	generation flyext.Generation

	signingSecret, bearerToken string
	clientID, clientSecret     string
	webhookSecret              string
	keyID                      string

	json, verbose bool
	timeout       time.Duration
	helpAll       bool

	formatName string
	gen        int
	envFile    string
	fileValues map[string]string
}

// fromEnvironment lists the flags that environment variables and --env-file can
// also set.
var fromEnvironment = []struct{ flag, variable string }{
	{"base-url", "FLYSIM_BASE_URL"},
	{"signing-secret", "FLYIO_SIGNING_SECRET"},
	{"bearer-token", "FLYIO_BEARER_TOKEN"},
	{"client-id", "FLYIO_CLIENT_ID"},
	{"client-secret", "FLYIO_CLIENT_SECRET"},
	{"webhook-secret", "FLYIO_WEBHOOK_SECRET"},
}

const defaultTimeout = 30 * time.Second

func (s *settings) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&s.baseURL, "base-url", "", "the provider's base `URL` as registered with Fly.io (or set FLYSIM_BASE_URL)")
	flags.StringVar(&s.formatName, "format", "", "the signature `format`: x-signature, or rfc9421, draft-05 or cavage in generation 1 (default x-signature)")
	flags.IntVar(&s.gen, "generation", 0, "the generation `N` of the protocol: 2 signs with x-signature, 1 with rfc9421 (default 2)")
	flags.StringVar(&s.signingSecret, "signing-secret", "", "the `secret` that signs requests (or set FLYIO_SIGNING_SECRET)")
	flags.StringVar(&s.bearerToken, "bearer-token", "", "the `token` that generation 1 sends in addition to a signature (or set FLYIO_BEARER_TOKEN)")
	flags.StringVar(&s.clientID, "client-id", "", "the OAuth client `id` of the provider's sign-on (or set FLYIO_CLIENT_ID)")
	flags.StringVar(&s.clientSecret, "client-secret", "", "the OAuth client `secret` of the provider's sign-on (or set FLYIO_CLIENT_SECRET)")
	flags.StringVar(&s.webhookSecret, "webhook-secret", "", "the `secret` that signs the provider's webhooks (or set FLYIO_WEBHOOK_SECRET)")
	flags.StringVar(&s.keyID, "key-id", "", "the `id` of the signing key in generation 1 (default "+flytest.DefaultKeyID+")")
	flags.StringVar(&s.envFile, "env-file", "", "read the settings that are in neither flags nor environment from this `file` of KEY=VALUE lines; values are literal")
	flags.DurationVar(&s.timeout, "timeout", defaultTimeout, "the `duration` to wait for an answer; Fly.io waits 5s")
	flags.BoolVar(&s.json, "json", false, "write one JSON document to standard output")
	flags.BoolVarP(&s.verbose, "verbose", "v", false, "show each request, each answer and the exact signed bytes on standard error; the bearer token is hidden, but answers contain secrets")
	flags.BoolVar(&s.helpAll, "help-all", false, "show the help of a command with the flags of all commands")
}

const secretsHelp = `Other users of the machine can see a secret in a flag, and the shell keeps it in
its history. Set environment variables instead, or use --env-file. Flags override
environment variables, and environment variables override the file.`

// resolve completes the settings from the environment and the file. It returns an
// error for values that contradict each other.
func (p *program) resolve(cmd *cobra.Command) error {
	s := &p.settings
	if err := p.readEnvFile(); err != nil {
		return err
	}
	for _, from := range fromEnvironment {
		if err := p.setFromVariable(cmd.Flags().Lookup(from.flag), from.variable); err != nil {
			return err
		}
	}
	if s.timeout <= 0 {
		return usagef("--timeout must be more than 0")
	}
	if err := s.chooseFormat(); err != nil {
		return err
	}
	if s.format == flytest.FormatXSignature {
		for _, flag := range []string{"bearer-token", "key-id"} {
			if cmd.Flags().Changed(flag) {
				return usagef("--%s applies to generation 1 only; add --generation 1 or omit the flag", flag)
			}
		}
	}
	if (s.clientID == "") != (s.clientSecret == "") {
		return usagef("only one of client id and client secret is set; set both or neither")
	}
	return nil
}

// setFromVariable sets a flag from its variable unless the command line sets it. It
// returns an error for an empty value.
func (p *program) setFromVariable(flag *pflag.Flag, variable string) error {
	if flag.Changed {
		if strings.TrimSpace(flag.Value.String()) == "" {
			return usagef("--%s is empty; set a value or omit the flag", flag.Name)
		}
		return nil
	}
	value, where, ok := p.lookup(variable)
	if !ok {
		return nil
	}
	if strings.TrimSpace(value) == "" {
		return usagef("%s is empty%s; set a value or remove the variable", variable, where)
	}
	if err := flag.Value.Set(value); err != nil {
		return usagef("%s: %w", variable, err)
	}
	return nil
}

func (p *program) readEnvFile() error {
	if p.envFile == "" {
		return nil
	}
	file, err := os.Open(p.envFile)
	if err != nil {
		return usagef("--env-file: %w", err)
	}
	defer file.Close()
	if p.fileValues, err = parseEnvFile(file); err != nil {
		return usagef("--env-file %s: %w", p.envFile, err)
	}
	return nil
}

// lookup returns the value of a variable in the environment or else in the file.
// where is text for an error.
func (p *program) lookup(name string) (value, where string, ok bool) {
	if value, ok := p.lookupEnv(name); ok {
		return value, "", true
	}
	value, ok = p.fileValues[name]
	return value, " in " + p.envFile, ok
}

// chooseFormat sets the format and the generation from --format and --generation.
func (s *settings) chooseFormat() error {
	byGeneration := map[int]flytest.Format{
		0: flytest.FormatXSignature, 1: flytest.FormatRFC9421, 2: flytest.FormatXSignature,
	}
	format, ok := byGeneration[s.gen]
	if !ok {
		return usagef("unknown generation %d; --generation is 1 or 2", s.gen)
	}
	if s.formatName != "" {
		var err error
		if format, err = flytest.ParseFormat(s.formatName); err != nil {
			return usagef("--format: %w", err)
		}
	}
	s.format, s.generation = format, generationOf(format.Generation() == flyext.Generation1)
	if s.gen != 0 && generationOf(s.gen == 1) != s.generation {
		if s.gen == 1 {
			return usagef("--format %s belongs to generation 2, but --generation is 1; use rfc9421, draft-05 or cavage", format)
		}
		return usagef("--format %s belongs to generation 1, but --generation is 2; use x-signature", format)
	}
	return nil
}

func generationOf(first bool) flyext.Generation {
	if first {
		return flyext.Generation1
	}
	return flyext.Generation2
}

var errNoSigningSecret = usagef("missing signing secret; set FLYIO_SIGNING_SECRET, in the environment or an --env-file, to the value that the provider has")

// needProvider returns an error unless there are a valid base URL and a signing
// secret.
func (s *settings) needProvider() error {
	if s.baseURL == "" {
		return usagef("missing base URL; set --base-url or FLYSIM_BASE_URL, such as http://localhost:8080/flyio")
	}
	u, err := url.Parse(s.baseURL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return usagef("the base URL must start with http:// or https://, such as http://localhost:8080/flyio")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return usagef("the base URL has a user, a query or a fragment; remove it")
	}
	s.baseURL = strings.TrimRight(s.baseURL, "/")
	if s.signingSecret == "" {
		return errNoSigningSecret
	}
	return nil
}

func (s *settings) credentials() flytest.Credentials {
	return flytest.Credentials{SigningSecret: s.signingSecret, BearerToken: s.bearerToken, KeyID: s.keyID}
}

// client returns the HTTP client for the provider. It ignores the environment's
// proxy.
func (s *settings) client() *http.Client {
	return &http.Client{
		Timeout: s.timeout,
		Transport: &http.Transport{
			Proxy:               nil,
			DialContext:         (&net.Dialer{Timeout: s.timeout}).DialContext,
			TLSHandshakeTimeout: s.timeout,
			MaxIdleConnsPerHost: 16,

			// The page of flysim serve keeps the headers of many answers.
			MaxResponseHeaderBytes: maxHeader,

			// Less than the keep-alive timeout of providers, such as Node's 5 s: net/http
			// does not repeat a POST on a connection that the server has closed.
			IdleConnTimeout: 2 * time.Second,
		},
	}
}

// flyWaits is how long Fly.io waits for an answer.
const flyWaits = 5 * time.Second

// platform returns the simulated Fly.io of a command.
func (p *program) platform() (*flytest.Platform, error) {
	if err := p.needProvider(); err != nil {
		return nil, err
	}
	client := p.client()
	fly := &flytest.Platform{BaseURL: p.baseURL, Signer: p.format.Signer(p.credentials()), Client: client}
	if p.verbose {
		p.wire.next, p.wire.program = client.Transport, p
		client.Transport = &p.wire
	}
	fly.Observe = func(e flytest.Exchange) {
		p.reportToConsole(e)
		if p.verbose {
			p.showAnswer(e)
		}
		if e.Duration > flyWaits {
			p.err.wrap(yellow, "", fmt.Sprintf("The answer took %v. Fly.io waits %v and then repeats the request. Answer immediately with the status %q, and with %q when Fly.io fetches the extension later.",
				e.Duration.Round(100*time.Millisecond), flyWaits, flyext.Provisioning, flyext.Ready))
		}
	}
	return fly, nil
}

// needClient returns an error without the provider's OAuth client.
func (s *settings) needClient() error {
	if s.clientID == "" {
		return usagef("missing OAuth client; set FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET to the values that the provider has")
	}
	return nil
}

// parseSSOGeneration returns the generation of --sso-generation, which is 0 by
// default.
func (s *settings) parseSSOGeneration(n int) (flyext.Generation, error) {
	switch n {
	case 0:
		return s.generation, nil
	case 1, 2:
		return generationOf(n == 1), nil
	}
	return 0, usagef("unknown generation %d; --sso-generation is 1 or 2", n)
}

// checkLoopback returns an error unless only this machine can connect to an
// address, because a client of the simulator can sign on as any user.
func checkLoopback(flag, addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return usagef("--%s: invalid address %q; use one such as 127.0.0.1:4000", flag, addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usagef("--%s: %s is open to other machines; use a loopback address such as 127.0.0.1:4000", flag, addr)
	}
	return nil
}

// listen listens on a loopback address and returns its URL. The URL has the host
// of addr, because localhost and 127.0.0.1 are two sites to a browser.
func listen(flag, addr string) (net.Listener, string, error) {
	if err := checkLoopback(flag, addr); err != nil {
		return nil, "", err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		if e, ok := errors.AsType[*net.OpError](err); ok {
			err = cmp.Or(e.Err, err)
		}
		return nil, "", usagef("--%s %s: %w", flag, addr, err)
	}
	host, _, _ := net.SplitHostPort(addr)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return listener, "http://" + net.JoinHostPort(host, port), nil
}
