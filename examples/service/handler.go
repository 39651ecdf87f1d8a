package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/httprate"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/examples/service/observe"
)

// A service is the existing service with its provider.
type service struct {
	streams  *streams
	sessions *scs.SessionManager
	registry *prometheus.Registry
	traces   trace.TracerProvider
	provider *flyext.Provider
	stopping atomic.Bool
}

func newService(env func(string) string, traces trace.TracerProvider) (*service, error) {
	s := &service{
		streams: newStreams(), sessions: scs.New(), registry: prometheus.NewRegistry(), traces: traces,
	}
	s.sessions.Cookie.Secure, s.sessions.Cookie.SameSite = true, http.SameSiteLaxMode
	var err error
	s.provider, err = s.newProvider(env)
	return s, err
}

// newProvider configures flyext.
func (s *service) newProvider(env func(string) string) (*flyext.Provider, error) {
	telemetry, err := observe.NewTelemetry(otel.Meter("logjam"))
	if err != nil {
		return nil, err
	}
	return flyext.New(s.streams, flyext.Config{
		BaseURL:  env("BASE_URL"), // https://logjam.io/flyio
		Verifier: flyext.XSignature(env("FLYIO_SIGNING_SECRET")),
		Logger:   slog.Default(),
		Observe: observe.Each(
			observe.NewPrometheus(s.registry).Observe, telemetry.Observe, observe.Panics(toSentry{}),
		),
		SSO: &flyext.SSOConfig{
			ClientID: env("FLYIO_CLIENT_ID"), ClientSecret: env("FLYIO_CLIENT_SECRET"), StateKey: env("STATE_KEY"),
			OAuthURL:       env("FLYIO_OAUTH_URL"),
			OrganizationOf: s.streams.organizationOf,
			SignIn:         s.signIn,
		},
	})
}

// signIn gives the browser one of the service's sessions, with a new id.
func (s *service) signIn(w http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
	if err := s.sessions.RenewToken(r.Context()); err != nil {
		return err
	}
	s.sessions.Put(r.Context(), "organization", id.OrganizationID)
	http.Redirect(w, r, "/streams/"+url.PathEscape(id.ExtensionID), http.StatusSeeOther)
	return nil
}

// handler serves the public address.
func (s *service) handler() http.Handler {
	r := chi.NewRouter()
	r.Use(s.trace)
	s.mount(r)
	r.Group(func(r chi.Router) { // the service's own pages
		r.Use(middleware.Recoverer, s.sessions.LoadAndSave)
		r.Get("/streams/{id}", s.showStream)
	})
	return r
}

// mount mounts the provider. Middleware in front of it must not read the body or
// change the path, the query or the Host header.
func (s *service) mount(r chi.Router) {
	signed := s.provider.Authenticator()
	r.Handle("/flyio/*", s.provider)
	r.Method("POST", "/flyio/extensions/eligibility", signed.Handler(http.HandlerFunc(s.eligibility)))
	r.Method("PUT", "/flyio/organizations/{id}/subscription", signed.Handler(http.HandlerFunc(s.subscribe)))

	browser := r.With(httprate.LimitBy(60, time.Minute, clientAddress), s.sessions.LoadAndSave)
	browser.Handle("/flyio/extensions/{id}/sso", s.provider)
	browser.Handle("/flyio/callback", s.provider)
}

// mountServeMux mounts the same routes on the standard library's router.
func (s *service) mountServeMux(mux *http.ServeMux) {
	signed := s.provider.Authenticator()
	mux.Handle("/flyio/", s.sessions.LoadAndSave(s.provider))
	mux.Handle("POST /flyio/extensions/eligibility", signed.Handler(http.HandlerFunc(s.eligibility)))
	mux.Handle("PUT /flyio/organizations/{id}/subscription", signed.Handler(http.HandlerFunc(s.subscribe)))
}

// trace starts a span for each request. Observe finds it in the context.
func (s *service) trace(next http.Handler) http.Handler {
	return otelhttp.NewHandler(next, "http", otelhttp.WithTracerProvider(s.traces))
}

// clientAddress returns the address to limit. Behind a proxy this is the proxy's
// address: use the header that your proxy sets, such as Fly-Client-IP on Fly.io.
func clientAddress(r *http.Request) (string, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return host, err
}

// admin serves the operators on a separate address.
func (s *service) admin() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s.stopping.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	return mux
}

// eligibility serves POST {base}/extensions/eligibility. The request is verified,
// and its body can still be read.
func (s *service) eligibility(w http.ResponseWriter, r *http.Request) {
	var body struct {
		OrganizationID string `json:"organization_id"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"error": "malformed_body", "message": "The body is not JSON."})
		return
	}
	answer(w, http.StatusCreated, map[string]any{"eligible": s.streams.eligible(body.OrganizationID)})
}

// subscribe serves PUT {base}/organizations/{id}/subscription.
func (s *service) subscribe(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Plan string `json:"plan"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Plan == "" {
		answer(w, http.StatusUnprocessableEntity, map[string]any{"error": "invalid_field", "message": "The field \"plan\" is missing."})
		return
	}
	s.streams.setPlan(organizationIn(r), body.Plan)
	answer(w, http.StatusOK, map[string]any{"plan": body.Plan})
}

// organizationIn returns the id in the path, for chi and ServeMux.
func organizationIn(r *http.Request) string {
	id := r.PathValue("id")
	if decoded, err := url.PathUnescape(id); err == nil && chi.RouteContext(r.Context()) != nil {
		return decoded // chi does not decode it
	}
	return id
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only if the client disconnected
}

// showStream serves the page of a stream to a signed-in user.
func (s *service) showStream(w http.ResponseWriter, r *http.Request) {
	id, err := url.PathUnescape(chi.URLParam(r, "id"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	organization, err := s.streams.organizationOf(r.Context(), id)
	if err != nil || organization != s.sessions.GetString(r.Context(), "organization") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "This is stream %q.\n", id)
}
