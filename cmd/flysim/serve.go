package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
)

const serveHelp = `Serve is a Fly.io simulator with a web page. The page shows your extensions and,
live, each request: provider calls, events, webhooks and OAuth requests. You can
send a request again, edit it, copy it as a curl command, or export it as HAR.

To test the sign-on, set your provider's OAuth URL to the page's URL, and set
FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET to the values that your provider has.

To test the webhooks, set your provider's webhook endpoint to the page's URL
followed by /webhooks, and set FLYIO_WEBHOOK_SECRET to the value that your
provider has.

The real flyctl works too. Choose any provider that flyctl knows:

  export FLY_API_BASE_URL=http://127.0.0.1:4000
  export FLY_FLAPS_BASE_URL=http://127.0.0.1:4000
  export FLY_API_TOKEN=any
  flyctl ext arcjet create --org o --name x

Anyone who can open the page can use the secrets. Serve therefore listens on this
machine only. Ctrl-C ends it after the pending requests. A second Ctrl-C ends it
immediately.`

// The limits of one request to the page. The page may call the provider meanwhile,
// which takes up to 30 seconds.
const (
	headerTimeout   = 10 * time.Second
	writeTimeout    = 45 * time.Second
	shutdownTimeout = 45 * time.Second
	maxHeader       = 64 << 10 // bytes; also of an answer, because the page keeps the headers of all
)

// serveOptions holds the flags of serve.
type serveOptions struct {
	addr          string
	ssoGeneration int
	data          string
	dataSecrets   bool
	registration  flytest.Registration
}

func (p *program) serveCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use: "serve [flags]", Short: "Run the Fly.io simulator with a web page", Long: serveHelp, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.addr, "addr", "127.0.0.1:4000", "the loopback `address` of the page")
	flags.IntVar(&o.ssoGeneration, "sso-generation", 0, ssoGenerationHelp)
	flags.StringVar(&o.data, "data", "", "keep the history in this `directory` across restarts")
	flags.BoolVar(&o.dataSecrets, "data-secrets", false, "write secrets to --data without masking them")
	r := &o.registration
	flags.StringVar(&r.DisplayName, "display-name", "", "the `name` of the provider as registered with Fly.io (default Example)")
	flags.StringVar(&r.ResourceName, "resource-name", "", "the `noun` for what the provider provisions, such as \"log stream\" (default extension)")
	flags.StringVar(&r.ProvisioningInstructions, "instructions", "", "the `command` that flyctl recommends after a success")
	flags.BoolVar(&r.Async, "async", false, "the provider is registered as asynchronous: flyctl waits until an extension is ready")
	flags.BoolVar(&r.SelectRegion, "select-region", false, "the customer chooses a region")
	flags.StringVar(&r.App, "app", "", "the customer's `app`, on which flyctl sets the secrets")
	flags.BoolVar(&r.AppDeployed, "app-deployed", false, "the app is already deployed")
	flags.StringArrayVar(&r.AppSecrets, "app-secret", nil, "the `name` of a secret that the app already has; repeatable")
	return cmd
}

// serve serves the page until ctx ends.
func (p *program) serve(ctx context.Context, o serveOptions) error {
	if err := p.checkServe(o); err != nil {
		return err
	}
	generation, err := p.parseSSOGeneration(o.ssoGeneration)
	if err != nil {
		return err
	}
	listener, own, err := listen("addr", o.addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	page, err := console.New(console.Config{
		BaseURL: p.baseURL, Format: p.format, Credentials: p.credentials(),
		ClientID: p.clientID, ClientSecret: p.clientSecret, SSOGeneration: generation,
		WebhookSecret: p.webhookSecret, Registration: o.registration, Data: o.data, DataSecrets: o.dataSecrets,
		URL: own, Client: p.client(), Now: time.Now,
		Logger: slog.New(slog.NewTextHandler(p.err.w, nil)),
	})
	if err != nil {
		return &usageError{err}
	}
	return p.servePage(ctx, page, listener, own)
}

// checkServe returns an error for flags that serve cannot use, and without a
// provider.
func (p *program) checkServe(o serveOptions) error {
	switch {
	case p.json:
		return usagef("serve writes no JSON document; omit --json")
	case p.verbose:
		return usagef("the page of serve shows all requests and answers; omit --verbose")
	case o.dataSecrets && o.data == "":
		return usagef("--data-secrets needs --data; set a directory or omit the flag")
	}
	return p.needProvider()
}

// servePage runs the page and its server until ctx ends. own is the page's URL.
func (p *program) servePage(ctx context.Context, page *console.Console, listener net.Listener, own string) error {
	server := &http.Server{
		Handler: page, ReadHeaderTimeout: headerTimeout, WriteTimeout: writeTimeout, MaxHeaderBytes: maxHeader,
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	polled := make(chan error, 1)
	go func() { polled <- page.Run(running) }() // its end also ends the pages' streams, for which Shutdown would wait
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	p.out.line(plain, "", "Fly.io simulator: "+own+" (press Ctrl-C to end)")
	if p.webhookSecret != "" {
		p.out.line(plain, "", "Webhook endpoint: "+own+console.WebhookPath)
	}
	var err error
	select {
	case err = <-served: // only on an error
	case <-ctx.Done():
		shutDown(server)
		err = ctx.Err()
	}
	cancel()
	<-polled
	return err
}

// shutDown stops the server after the pending requests, or after shutdownTimeout.
func shutDown(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		server.Close()
	}
}
