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

// A service is what was there before, and the provider.
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

// newProvider is all of flyext that the service needs.
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

// signIn gives the browser a session of the service's own, under a new id.
func (s *service) signIn(w http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
	if err := s.sessions.RenewToken(r.Context()); err != nil {
		return err
	}
	s.sessions.Put(r.Context(), "organization", id.OrganizationID)
	http.Redirect(w, r, "/streams/"+url.PathEscape(id.ExtensionID), http.StatusSeeOther)
	return nil
}

// handler is what the internet reaches.
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

// mount mounts the provider. Nothing in front of it may read the body or change the
// path, the query or the Host header.
func (s *service) mount(r chi.Router) {
	signed := s.provider.Authenticator()
	r.Handle("/flyio/*", s.provider)
	r.Method("POST", "/flyio/extensions/eligibility", signed.Handler(http.HandlerFunc(s.eligibility)))
	r.Method("PUT", "/flyio/organizations/{id}/subscription", signed.Handler(http.HandlerFunc(s.subscribe)))

	browser := r.With(httprate.LimitBy(60, time.Minute, clientAddress), s.sessions.LoadAndSave)
	browser.Handle("/flyio/extensions/{id}/sso", s.provider)
	browser.Handle("/flyio/callback", s.provider)
}

// mountServeMux does the same on the standard library's router.
func (s *service) mountServeMux(mux *http.ServeMux) {
	signed := s.provider.Authenticator()
	mux.Handle("/flyio/", s.sessions.LoadAndSave(s.provider))
	mux.Handle("POST /flyio/extensions/eligibility", signed.Handler(http.HandlerFunc(s.eligibility)))
	mux.Handle("PUT /flyio/organizations/{id}/subscription", signed.Handler(http.HandlerFunc(s.subscribe)))
}

// trace begins a span for each request. Observe finds it in its context.
func (s *service) trace(next http.Handler) http.Handler {
	return otelhttp.NewHandler(next, "http", otelhttp.WithTracerProvider(s.traces))
}

// clientAddress is the address to limit. Behind a proxy it is the proxy's: use the
// header that your proxy sets, such as Fly-Client-IP on Fly.io.
func clientAddress(r *http.Request) (string, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return host, err
}

// admin is what the operators reach, on an address of its own.
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

// eligibility answers POST {base}/extensions/eligibility. The request is verified,
// and its body can be read.
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

// subscribe answers PUT {base}/organizations/{id}/subscription.
func (s *service) subscribe(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Plan string `json:"plan"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Plan == "" {
		answer(w, http.StatusUnprocessableEntity, map[string]any{"error": "invalid_field", "message": "The member \"plan\" is missing."})
		return
	}
	s.streams.setPlan(organizationIn(r), body.Plan)
	answer(w, http.StatusOK, map[string]any{"plan": body.Plan})
}

// organizationIn is the id in the path, under chi and under ServeMux.
func organizationIn(r *http.Request) string {
	id := r.PathValue("id")
	if decoded, err := url.PathUnescape(id); err == nil && chi.RouteContext(r.Context()) != nil {
		return decoded // chi leaves it escaped
	}
	return id
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left cannot be told
}

// showStream is a page of the service, for a user who is signed in.
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
