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
that you provisioned on it, every request and answer, and the sign-on, to which
the provider's dashboard comes if it is started with the page's URL as its OAuth
URL.

Whoever opens the page is Fly.io, so it is for this machine alone.`

func (p *program) serveCommand() *cobra.Command {
	var addr string
	cmd := &cobra.Command{
		Use: "serve [flags]", Short: "Be Fly.io in a browser", Long: serveHelp, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context(), addr) },
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:4000", "serve the page on this loopback `address`")
	return cmd
}

// serve serves until ctx ends, which is the only way to end it.
func (p *program) serve(ctx context.Context, addr string) error {
	if err := p.needProvider(); err != nil {
		return err
	}
	listener, own, err := listen("addr", addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	page, err := console.New(console.Config{
		BaseURL: p.baseURL, Format: p.format, Credentials: p.credentials(),
		ClientID: p.clientID, ClientSecret: p.clientSecret,
		URL: own, Client: p.client(), Now: time.Now,
		Logger: slog.New(slog.NewTextHandler(p.err.w, nil)),
	})
	if err != nil {
		return &usageError{err}
	}
	server := &http.Server{Handler: page, ReadHeaderTimeout: 10 * time.Second}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(running, func() { server.Close() })()
	polled := make(chan error, 1)
	go func() { polled <- page.Run(running) }()
	p.out.line(plain, "", "Fly.io is at "+own+". Press Ctrl-C to end it.")
	err = server.Serve(listener)
	cancel()
	<-polled
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
