package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
)

const serveHelp = `Serve is the played Fly.io as a web page of your own machine: the extensions
that you provisioned on it, the events of machines, every request and answer.

The provider's dashboard comes there to sign customers on, if the provider is
started with the page's URL as its OAuth URL. What the provider tells Fly.io is
shown as it comes, if there is a webhook secret, and the provider's webhook
endpoint is the page's URL followed by /webhooks.

Whoever opens the page is Fly.io, so it is for this machine alone. Ctrl-C ends
it when the requests under way have ended, and a second one at once.`

// The bounds of one request and its answer. The page asks the provider
// meanwhile, which may take 30 seconds.
const (
	headerTimeout   = 10 * time.Second
	writeTimeout    = 45 * time.Second
	shutdownTimeout = 45 * time.Second
	maxHeader       = 64 << 10 // bytes, of an answer too; the page keeps those of all
)

func (p *program) serveCommand() *cobra.Command {
	var addr string
	var ssoGeneration int
	cmd := &cobra.Command{
		Use: "serve [flags]", Short: "Be Fly.io in a browser", Long: serveHelp, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context(), addr, ssoGeneration) },
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:4000", "serve the page on this loopback `address`")
	cmd.Flags().IntVar(&ssoGeneration, "sso-generation", 0, ssoGenerationHelp)
	return cmd
}

// serve serves until ctx ends, which is the only way to end it.
func (p *program) serve(ctx context.Context, addr string, ssoGeneration int) error {
	switch {
	case p.json:
		return usagef("serve has no document to write: --json is for other commands")
	case p.verbose:
		return usagef("the page shows every request and answer: --verbose is for other commands")
	}
	if err := p.needProvider(); err != nil {
		return err
	}
	generation, err := p.parseSSOGeneration(ssoGeneration)
	if err != nil {
		return err
	}
	listener, own, err := listen("addr", addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	page, err := console.New(console.Config{
		BaseURL: p.baseURL, Format: p.format, Credentials: p.credentials(),
		ClientID: p.clientID, ClientSecret: p.clientSecret, SSOGeneration: generation,
		WebhookSecret: p.webhookSecret,
		URL:           own, Client: p.client(), Now: time.Now,
		Logger: slog.New(slog.NewTextHandler(p.err.w, nil)),
	})
	if err != nil {
		return &usageError{err}
	}
	server := &http.Server{
		Handler: page, ReadHeaderTimeout: headerTimeout, WriteTimeout: writeTimeout, MaxHeaderBytes: maxHeader,
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	polled := make(chan error, 1)
	go func() { polled <- page.Run(running) }() // it ends the pages' streams, too, which Shutdown would wait for
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	p.out.line(plain, "", "Fly.io is at "+own+". Press Ctrl-C to end it.")
	if p.webhookSecret != "" {
		p.out.line(plain, "", "Webhooks go to "+own+console.WebhookPath+".")
	}
	select {
	case err = <-served: // by itself, which it should not
	case <-ctx.Done():
		shutDown(server)
		err = ctx.Err()
	}
	cancel()
	<-polled
	return err
}

// shutDown lets what is under way end, if it does in time.
func shutDown(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		server.Close()
	}
}
