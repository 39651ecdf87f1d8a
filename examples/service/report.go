package main

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/examples/service/internal/sentry" // yours: github.com/getsentry/sentry-go
)

// toSentry is an observe.Reporter that sends panics to Sentry.
type toSentry struct{}

func (toSentry) Report(ctx context.Context, o flyext.Outcome) {
	hub := sentry.CurrentHub().Clone()
	hub.Scope().SetTag("route", o.Route)
	hub.Scope().SetTag("request_id", o.RequestID)
	hub.Scope().SetExtra("stack", string(o.Stack))
	hub.RecoverWithContext(ctx, o.Panic)
}

// traced adds the trace id to each log record, including flyext's.
type traced struct{ slog.Handler }

func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(attrs)} }
func (h traced) WithGroup(name string) slog.Handler       { return traced{h.Handler.WithGroup(name)} }
