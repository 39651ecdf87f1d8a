package observe

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/flyext/flyext"
)

// Telemetry records an OpenTelemetry metric of finished requests, and adds
// attributes to the span in each request's context.
type Telemetry struct{ duration metric.Float64Histogram }

// NewTelemetry creates the metric with a meter.
func NewTelemetry(m metric.Meter) (*Telemetry, error) {
	duration, err := m.Float64Histogram("http.server.request.duration",
		metric.WithUnit("s"), metric.WithDescription("Duration of requests of the extension provider."))
	return &Telemetry{duration}, err
}

// Observe records a request. It uses the names of OpenTelemetry's semantic
// conventions where they exist.
func (t *Telemetry) Observe(ctx context.Context, o flyext.Outcome) {
	low := []attribute.KeyValue{ // few values each, as metrics require
		attribute.String("http.request.method", o.Method),
		attribute.String("http.route", o.Route),
		attribute.Int("http.response.status_code", o.Status),
	}
	if o.Code != "" {
		low = append(low, attribute.String("error.type", o.Code))
	}
	t.duration.Record(ctx, o.Duration.Seconds(), metric.WithAttributes(low...))
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(low...)
	span.SetAttributes(
		attribute.String("flyext.request_id", o.RequestID),
		attribute.String("flyext.extension_id", o.ExtensionID),
		attribute.String("flyext.verifier", o.Verifier),
		attribute.String("flyext.replay", string(o.Replay)),
		attribute.String("flyext.reason", Reason(o.Err)),
		attribute.Float64("flyext.provisioner_seconds", o.ProvisionerDuration.Seconds()),
	)
	if o.Status >= 500 {
		span.SetStatus(codes.Error, o.Code)
	}
}
