// Package service implements Logjam, a small Fly.io extension provider that sells
// log streams. It has the provider, the database, the dashboard and the webhooks.
// The programs examples/logjam and examples/logjam/machines run it.
package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/flyext/flyext/examples/logjam/backend"
)

// Main runs Logjam with the process's arguments and environment, and exits. The
// parameter servers opens PostgreSQL and Redis. Pass nil in a program without
// their drivers.
func Main(servers *backend.Servers) {
	signaled, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(signaled, func() {
		stop() // from now on a second signal kills the process
		cancel()
	})
	os.Exit(run(ctx, servers, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// run returns the exit status: 0 for success, 2 if Logjam could not start, and 1
// for a later error.
func run(ctx context.Context, servers *backend.Servers, args []string, lookupEnv func(string) (string, bool), stdout, stderr io.Writer) int {
	c, err := readConfig(servers, args, lookupEnv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		err = &startError{err}
	case c.webhookAction != "":
		err = untold(ctx, c, stdout, slog.New(slog.NewTextHandler(stderr, nil)))
	case c.isDemo():
		err = runDemo(ctx, c, newPage(stdout, lookupEnv), stderr)
	default:
		err = serve(ctx, c, slog.New(slog.NewTextHandler(stderr, nil)))
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "logjam:", err)
	if _, ok := errors.AsType[*startError](err); ok {
		return 2
	}
	return 1
}

// A startError is an error that kept Logjam from starting.
type startError struct{ reason error }

func (e *startError) Error() string { return e.reason.Error() }
func (e *startError) Unwrap() error { return e.reason }

// serve serves Fly.io until the context ends.
func serve(ctx context.Context, c config, log *slog.Logger) error {
	s, err := newServer(ctx, c, log)
	if err != nil {
		return &startError{err}
	}
	if c.debug != "" {
		listener, err := net.Listen("tcp", c.debug)
		if err != nil {
			return errors.Join(&startError{err}, s.listener.Close(), s.logjam.store.close())
		}
		defer listener.Close()
		log.Info("debugging", "address", listener.Addr().String())
		go serveDebug(listener, log)
	}
	s.http.RegisterOnShutdown(func() { log.Info("stopping") }) // it accepts no new connections
	log.Info("listening", "address", s.listener.Addr().String(), "base_url", s.baseURL, "replay_store", s.replay.where)
	err = s.serve(ctx)
	log.Info("stopped")
	return err
}
