package observe_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/examples/service/observe"
	"github.com/flyext/flyext/flytest"
)

const baseURL, secret = "https://example.com/flyio", "signing-secret"

// logjam panics when it provisions the extension "broken".
type logjam struct{}

func (logjam) Provision(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	if r.ID == "broken" {
		panic("the disk is on fire")
	}
	return &flyext.Extension{Secrets: flyext.Secrets{"LOGJAM_TOKEN": "t"}}, nil
}

func (logjam) Update(context.Context, string, *flyext.UpdateRequest) (*flyext.Extension, error) {
	return nil, flyext.NotFound("There is no such stream.")
}

// reports is a Reporter that records panics.
type reports []flyext.Outcome

func (r *reports) Report(_ context.Context, o flyext.Outcome) { *r = append(*r, o) }

// A world is a provider with all observers and a Fly.io that uses it.
type world struct {
	fly      *flytest.Platform
	registry *prometheus.Registry
	reader   *sdkmetric.ManualReader
	spans    *tracetest.SpanRecorder
	reports  reports
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{registry: prometheus.NewRegistry(), reader: sdkmetric.NewManualReader(), spans: tracetest.NewSpanRecorder()}
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.reader))
	telemetry, err := observe.NewTelemetry(meters.Meter("test"))
	if err != nil {
		t.Fatal(err)
	}
	provider, err := flyext.New(logjam{}, flyext.Config{
		BaseURL: baseURL, Verifier: flyext.XSignature(secret), Logger: slog.New(slog.DiscardHandler),
		Observe: observe.Each(observe.NewPrometheus(w.registry).Observe, telemetry.Observe, observe.Panics(&w.reports)),
	})
	if err != nil {
		t.Fatal(err)
	}
	traces := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(w.spans))
	server := httptest.NewTLSServer(otelhttp.NewHandler(provider, "flyio", otelhttp.WithTracerProvider(traces)))
	t.Cleanup(server.Close)
	w.fly = &flytest.Platform{BaseURL: baseURL, Signer: flytest.XSignature(secret), Client: server.Client()}
	return w
}

// requests makes a request that succeeds, one that is refused, and one that panics.
func (w *world) requests(t *testing.T) {
	t.Helper()
	if _, err := w.fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "x1", OrganizationID: "o1"}); err != nil {
		t.Fatal(err)
	}
	stranger := *w.fly
	stranger.Signer = flytest.XSignature("another secret")
	for _, fly := range []*flytest.Platform{&stranger, w.fly} {
		if _, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "broken", OrganizationID: "o1"}); err == nil {
			t.Fatal("the request succeeded, want an error")
		}
	}
}

func TestPrometheus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.requests(t)
	server := httptest.NewServer(promhttp.HandlerFor(w.registry, promhttp.HandlerOpts{}))
	defer server.Close()
	scrape, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer scrape.Body.Close()
	text, err := io.ReadAll(scrape.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`flyext_requests_total{code="",method="POST",reason="",route="/extensions",status="200"} 1`,
		`flyext_requests_total{code="unauthenticated",method="POST",reason="signature_mismatch",route="/extensions",status="401"} 1`,
		`flyext_requests_total{code="internal",method="POST",reason="",route="/extensions",status="500"} 1`,
		`flyext_request_duration_seconds_count{method="POST",route="/extensions"} 3`,
		`flyext_provisioner_duration_seconds_count{method="POST",route="/extensions"} 2`,
	} {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("the metrics lack the line %s:\n%s", line, text)
		}
	}
}

func TestTelemetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.requests(t)
	var metrics metricdata.ResourceMetrics
	if err := w.reader.Collect(t.Context(), &metrics); err != nil {
		t.Fatal(err)
	}
	histogram := metrics.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64])
	statuses := map[int64]uint64{}
	for _, p := range histogram.DataPoints {
		status, _ := p.Attributes.Value("http.response.status_code")
		statuses[status.AsInt64()] += p.Count
	}
	if statuses[200] != 1 || statuses[401] != 1 || statuses[500] != 1 {
		t.Errorf("got statuses %v, want one of each", statuses)
	}
	spans := w.spans.Ended()
	if len(spans) != 3 {
		t.Fatalf("got %d spans, want 3", len(spans))
	}
	for i, want := range []map[string]string{
		{"http.route": "/extensions", "flyext.extension_id": "x1", "flyext.verifier": "x-signature", "flyext.replay": "fresh"},
		{"http.route": "/extensions", "flyext.extension_id": "", "flyext.reason": "signature_mismatch", "flyext.replay": ""},
		{"http.route": "/extensions", "flyext.extension_id": "broken", "error.type": "internal"},
	} {
		got := map[string]string{}
		for _, a := range spans[i].Attributes() {
			got[string(a.Key)] = a.Value.String()
		}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("span %d: %s is %q, want %q", i, name, got[name], value)
			}
		}
	}
	if spans[2].Status().Code != codes.Error {
		t.Errorf("the span of the panic has status %v, want an error", spans[2].Status())
	}
}

func TestPanics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.requests(t)
	if len(w.reports) != 1 {
		t.Fatalf("got %d reports, want 1", len(w.reports))
	}
	r := w.reports[0]
	if r.Panic != "the disk is on fire" || !strings.Contains(string(r.Stack), "logjam.Provision") || r.ExtensionID != "broken" {
		t.Errorf("got panic %v for %q with stack %s", r.Panic, r.ExtensionID, r.Stack)
	}
}
