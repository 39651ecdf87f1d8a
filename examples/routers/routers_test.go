// Package routers_test mounts a provider on popular routers and behind a proxy, and
// checks that Fly.io's requests reach it.
package routers_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	echov4 "github.com/labstack/echo/v4"
	echov5 "github.com/labstack/echo/v5"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const (
	secret = "a signing secret"
	token  = "a bearer token"
)

var key = flyext.Key{ID: "flyio-signing-secret", Secret: secret}

// signers are the formats that Fly.io may use.
var signers = []struct {
	name   string
	signer flytest.Signer
}{
	{"X-Signature", flytest.XSignature(secret)},
	{"RFC 9421", flytest.All(flytest.BearerToken(token), flytest.RFC9421(key))},
}

// ids are ids that a router might split, decode or clean.
var ids = []string{"30bqn49y2jh", "a/b", "a%2Fb", "a//b", "..", "a b+c", "ü?#", "a:b", "*"}

// calls is a Provisioner that records its calls.
type calls []string

func (c *calls) Provision(_ context.Context, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
	*c = append(*c, "provision "+req.ID)
	return &flyext.Extension{Secrets: flyext.Secrets{"LOGJAM_URL": "https://logjam.example"}}, nil
}

func (c *calls) Update(_ context.Context, id string, _ *flyext.UpdateRequest) (*flyext.Extension, error) {
	*c = append(*c, "update "+id)
	return &flyext.Extension{}, nil
}

func (c *calls) Fetch(_ context.Context, id string) (*flyext.Extension, error) {
	*c = append(*c, "fetch "+id)
	return &flyext.Extension{}, nil
}

func (c *calls) Deprovision(_ context.Context, id string) error {
	*c = append(*c, "deprovision "+id)
	return nil
}

func newProvider(t *testing.T, baseURL string, p flyext.Provisioner) *flyext.Provider {
	t.Helper()
	provider, err := flyext.New(p, flyext.Config{
		BaseURL: baseURL,
		Verifier: flyext.AnyOf(
			flyext.XSignature(secret),
			flyext.AllOf(flyext.BearerToken(token), flyext.MessageSignature(key)),
		),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// mounts are ways to mount a provider at /flyio.
var mounts = []struct {
	name  string
	mount func(provider http.Handler) http.Handler
}{
	{"http.ServeMux", func(provider http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/flyio/", provider)
		return mux
	}},
	{"http.StripPrefix", func(provider http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/flyio/", http.StripPrefix("/flyio", provider))
		return mux
	}},
	{"chi Handle", func(provider http.Handler) http.Handler {
		router := chi.NewRouter()
		router.Handle("/flyio/*", provider)
		return router
	}},
	{"chi Mount", func(provider http.Handler) http.Handler {
		router := chi.NewRouter()
		router.Mount("/flyio", provider)
		return router
	}},
	{"gin", func(provider http.Handler) http.Handler {
		gin.SetMode(gin.ReleaseMode)
		router := gin.New()
		router.Any("/flyio/*path", gin.WrapH(provider))
		return router
	}},
	{"echo v4", func(provider http.Handler) http.Handler {
		router := echov4.New()
		router.Any("/flyio/*", echov4.WrapHandler(provider))
		return router
	}},
	{"echo v5", func(provider http.Handler) http.Handler {
		router := echov5.New()
		router.Any("/flyio/*", echov5.WrapHandler(provider))
		return router
	}},
}

func TestRouters(t *testing.T) {
	t.Parallel()
	for _, m := range mounts {
		for _, s := range signers {
			t.Run(m.name+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				var got calls
				var handler http.Handler
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					handler.ServeHTTP(w, r)
				}))
				t.Cleanup(server.Close)
				handler = m.mount(newProvider(t, server.URL+"/flyio", &got))
				fly := &flytest.Platform{BaseURL: server.URL + "/flyio", Signer: s.signer, Client: server.Client()}
				for _, id := range ids {
					lifecycle(t, fly, &got, id)
				}
			})
		}
	}
}

// lifecycle makes the four requests for an id and checks that they arrive.
func lifecycle(t *testing.T, fly *flytest.Platform, got *calls, id string) {
	t.Helper()
	*got = nil
	x, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: id, OrganizationID: "o"})
	if err != nil {
		t.Fatalf("%q: provision: %v", id, err)
	}
	if x.Secrets["LOGJAM_URL"] != "https://logjam.example" {
		t.Errorf("%q: secrets %v", id, x.Secrets)
	}
	if _, err := fly.Update(t.Context(), id, flyext.UpdateRequest{Name: flyext.OptionalOf("n")}); err != nil {
		t.Errorf("%q: update: %v", id, err)
	}
	if _, err := fly.Fetch(t.Context(), id); err != nil {
		t.Errorf("%q: fetch: %v", id, err)
	}
	if err := fly.Deprovision(t.Context(), id); err != nil {
		t.Errorf("%q: deprovision: %v", id, err)
	}
	want := calls{"provision " + id, "update " + id, "fetch " + id, "deprovision " + id}
	if !slices.Equal(*got, want) {
		t.Errorf("%q: got %q, want %q", id, *got, want)
	}
}

// TestBehindProxy puts a TLS-terminating proxy in front of an HTTP server. The
// provider knows its public URL only from its configuration.
func TestBehindProxy(t *testing.T) {
	t.Parallel()
	for _, s := range signers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			var got calls
			fly := behindProxy(t, &got, s.signer)
			for _, id := range ids {
				lifecycle(t, fly, &got, id)
			}
		})
	}
}

// TestBehindProxyForwardedHeaders checks that forged forwarding headers neither
// admit nor refuse a request.
func TestBehindProxyForwardedHeaders(t *testing.T) {
	t.Parallel()
	for _, s := range signers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			var got calls
			fly := behindProxy(t, &got, s.signer)

			genuine := newRequest(t, fly, "genuine")
			setForwarded(genuine, "https", "elsewhere.example")
			if status := do(t, fly, genuine); status != http.StatusOK {
				t.Errorf("a genuine request with forged headers: got status %d, want 200", status)
			}

			// Signed for another provider with the same secret, which forwards it to
			// this one.
			elsewhere := *fly
			elsewhere.BaseURL = "https://elsewhere.example/flyio"
			foreign := newRequest(t, &elsewhere, "foreign")
			foreign.URL.Host, foreign.Host = mustParse(t, fly.BaseURL).Host, ""
			setForwarded(foreign, "https", "elsewhere.example")
			if status := do(t, fly, foreign); status != http.StatusUnauthorized {
				t.Errorf("a request for elsewhere.example: got status %d, want 401", status)
			}

			// Signed for plain HTTP, where an attacker could have captured it.
			plain := *fly
			plain.BaseURL = "http" + fly.BaseURL[len("https"):]
			downgraded := newRequest(t, &plain, "downgraded")
			downgraded.URL.Scheme = "https"
			setForwarded(downgraded, "http", mustParse(t, fly.BaseURL).Host)
			if status := do(t, fly, downgraded); status != http.StatusUnauthorized {
				t.Errorf("a request for http://: got status %d, want 401", status)
			}
			if want := (calls{"provision genuine"}); !slices.Equal(got, want) {
				t.Errorf("the Provisioner got calls %q, want %q", got, want)
			}
		})
	}
}

func behindProxy(t *testing.T, p flyext.Provisioner, signer flytest.Signer) *flytest.Platform {
	t.Helper()
	var handler http.Handler
	inner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(inner.Close)
	target := mustParse(t, inner.URL)
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
		// A careless proxy, which forwards the client's headers.
		for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
			r.Out.Header[name] = r.In.Header[name]
		}
	}})
	t.Cleanup(proxy.Close)
	baseURL := proxy.URL + "/flyio"
	mux := http.NewServeMux()
	mux.Handle("/flyio/", newProvider(t, baseURL, p))
	handler = mux
	return &flytest.Platform{BaseURL: baseURL, Signer: signer, Client: proxy.Client()}
}

func newRequest(t *testing.T, fly *flytest.Platform, id string) *http.Request {
	t.Helper()
	r, err := fly.NewRequest(t.Context(), http.MethodPost, "/extensions", []byte(`{"id":"`+id+`","organization_id":"o"}`))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func do(t *testing.T, fly *flytest.Platform, r *http.Request) (status int) {
	t.Helper()
	response, err := fly.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

func setForwarded(r *http.Request, proto, host string) {
	r.Header.Set("Forwarded", "for=192.0.2.1;proto="+proto+";host="+host)
	r.Header.Set("X-Forwarded-For", "192.0.2.1")
	r.Header.Set("X-Forwarded-Proto", proto)
	r.Header.Set("X-Forwarded-Host", host)
}

func mustParse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
