// Service is an existing service that becomes a provider. It already has a router,
// sessions, logs, traces, metrics, rate limits, health checks and a graceful
// shutdown. docs/existing-service.md explains it.
package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func main() {
	slog.SetDefault(slog.New(traced{slog.NewJSONHandler(os.Stderr, nil)}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv); err != nil {
		slog.Error("service failed", "error", err)
		os.Exit(1)
	}
}

// run serves until the context is cancelled, and then completes the requests in
// progress.
func run(ctx context.Context, env func(string) string) error {
	traces := sdktrace.NewTracerProvider() // add your exporter: sdktrace.WithBatcher(…)
	s, err := newService(env, traces)
	if err != nil {
		return err
	}
	public := &http.Server{
		Addr: cmp.Or(env("ADDR"), "localhost:8080"), Handler: s.handler(),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 40 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	admin := &http.Server{Addr: cmp.Or(env("ADMIN_ADDR"), "localhost:9091"), Handler: s.admin(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 2)
	for _, server := range []*http.Server{public, admin} {
		go func() { failed <- server.ListenAndServe() }()
	}
	slog.Info("serving", "public", public.Addr, "admin", admin.Addr)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	return s.shutdown(public, admin, traces)
}

// shutdown waits for the calls in progress. Config.Timeout limits each to 25
// seconds.
func (s *service) shutdown(public, admin *http.Server, traces *sdktrace.TracerProvider) error {
	s.stopping.Store(true) // the readiness check fails, so the proxy stops sending requests
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return errors.Join(public.Shutdown(ctx), admin.Shutdown(ctx), traces.Shutdown(ctx))
}
