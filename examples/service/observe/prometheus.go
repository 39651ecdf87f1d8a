// Package observe connects flyext's Config.Observe to Prometheus, OpenTelemetry and
// an error reporter. Copy the parts that you need.
package observe

import (
	"context"
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flyext/flyext"
)

// Prometheus records metrics of finished requests. Each label has few values: route
// pattern, method, status, error code and reason.
type Prometheus struct {
	requests    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	provisioner *prometheus.HistogramVec
}

// NewPrometheus registers the metrics. It panics if they are already registered.
func NewPrometheus(r prometheus.Registerer) *Prometheus {
	p := &Prometheus{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flyext_requests_total", Help: "Finished requests of the extension provider.",
		}, []string{"route", "method", "status", "code", "reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "flyext_request_duration_seconds", Help: "Time from the arrival of a request to the end of its response.",
			Buckets: []float64{.005, .025, .1, .5, 1, 2.5, 5, 10, 25}, // Fly.io waits about 5 seconds
		}, []string{"route", "method"}),
		provisioner: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "flyext_provisioner_duration_seconds", Help: "Time that the service's own code took for an accepted request.",
			Buckets: []float64{.005, .025, .1, .5, 1, 2.5, 5, 10, 25},
		}, []string{"route", "method"}),
	}
	r.MustRegister(p.requests, p.duration, p.provisioner)
	return p
}

// Observe records a request.
func (p *Prometheus) Observe(_ context.Context, o flyext.Outcome) {
	p.requests.WithLabelValues(o.Route, o.Method, strconv.Itoa(o.Status), o.Code, Reason(o.Err)).Inc()
	p.duration.WithLabelValues(o.Route, o.Method).Observe(o.Duration.Seconds())
	if o.ProvisionerDuration > 0 {
		p.provisioner.WithLabelValues(o.Route, o.Method).Observe(o.ProvisionerDuration.Seconds())
	}
}

// reasons are label values for flyext's errors.
var reasons = []struct {
	err  error
	name string
}{
	{flyext.ErrUnsigned, "unsigned"},
	{flyext.ErrSignatureMismatch, "signature_mismatch"},
	{flyext.ErrUnknownKey, "unknown_key"},
	{flyext.ErrStale, "stale"},
	{flyext.ErrFuture, "future"},
	{flyext.ErrURLMismatch, "url_mismatch"},
	{flyext.ErrUncovered, "uncovered"},
	{flyext.ErrReplayed, "replayed"},
}

// Reason returns a label value for the reason why a signature was refused, or "".
func Reason(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	return ""
}
