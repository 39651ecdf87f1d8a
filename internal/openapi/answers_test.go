package openapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const (
	baseURL = "https://example.com/flyio" // the client of an httptest.Server maps example.com to it
	secret  = "a signing secret"
)

// A checker is a handler that checks every response against the document.
type checker struct {
	*document
	t       *testing.T
	handler http.Handler

	mu   sync.Mutex
	seen map[string][]int // statuses by method and path of the document
}

func (c *checker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	recorder := httptest.NewRecorder()
	c.handler.ServeHTTP(recorder, r)
	answer := recorder.Result()
	answer.ContentLength = int64(recorder.Body.Len())
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.check(r, answer); err != nil {
		c.t.Errorf("%v\n%s", err, recorder.Body)
	}
	key := r.Method + " " + pathOf(r.URL.EscapedPath())
	if !slices.Contains(c.seen[key], answer.StatusCode) {
		c.seen[key] = append(c.seen[key], answer.StatusCode)
		slices.Sort(c.seen[key])
	}
	for name, values := range recorder.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(recorder.Code)
	io.Copy(w, recorder.Body)
}

// serve starts a provider whose responses are checked.
func serve(t *testing.T, p flyext.Provisioner, change func(*flyext.Config)) (*checker, *http.Client) {
	t.Helper()
	config := flyext.Config{
		BaseURL: baseURL, Logger: slog.New(slog.DiscardHandler),
		Verifier: flyext.AnyOf(flyext.XSignature(secret), flyext.AllOf(flyext.BearerToken("t"),
			flyext.MessageSignature(flyext.Key{ID: flytest.DefaultKeyID, Secret: secret}))),
	}
	if change != nil {
		change(&config)
	}
	provider, err := flyext.New(p, config)
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{document: readDocument(t), t: t, handler: provider, seen: map[string][]int{}}
	mux := http.NewServeMux()
	mux.Handle("/flyio/", c)
	mux.HandleFunc("GET /streams/{id}", func(http.ResponseWriter, *http.Request) {}) // the page after sign-in
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	return c, server.Client()
}

// TestConformanceAnswers checks the responses to the conformance test in both
// generations.
func TestConformanceAnswers(t *testing.T) {
	t.Parallel()
	events := map[flytest.Format][]int{flytest.FormatXSignature: {200}, flytest.FormatRFC9421: nil} // not in generation 1
	for _, format := range []flytest.Format{flytest.FormatXSignature, flytest.FormatRFC9421} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			oauth := &flytest.OAuthServer{ClientID: "logjam", ClientSecret: "client-secret", RedirectURLs: []string{baseURL + "/callback"}}
			fly := httptest.NewServer(oauth)
			t.Cleanup(fly.Close)
			s := &streams{all: map[string]*flyext.Extension{}, org: map[string]string{}}
			c, client := serve(t, s, func(c *flyext.Config) {
				c.SSO = &flyext.SSOConfig{
					ClientID: oauth.ClientID, ClientSecret: oauth.ClientSecret, StateKey: strings.Repeat("k", 32), OAuthURL: fly.URL,
					OrganizationOf:     s.organizationOf,
					OrganizationExists: func(context.Context, string) (bool, error) { return true, nil },
					SignIn: func(w http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
						http.Redirect(w, r, "/streams/"+id.ExtensionID, http.StatusSeeOther)
						return nil
					},
				}
			})
			conformance := flytest.Conformance{
				BaseURL: baseURL, Format: format, Client: client, OAuth: oauth, OAuthURL: fly.URL, SSOGeneration: flyext.Generation2,
				Credentials: flytest.Credentials{SigningSecret: secret, BearerToken: "t"},
			}
			conformance.Test(t)
			for key, want := range map[string][]int{
				"POST /extensions":                         {200, 400, 401, 422},
				"GET /extensions/{extension_id}":           {200, 401, 404},
				"DELETE /extensions/{extension_id}":        {200},
				"GET /extensions/{extension_id}/sso":       {302, 404},
				"GET /organizations/{organization_id}/sso": {302},
				"GET /callback":                            {303, 400, 403},
				"POST /extensions/events":                  events[format],
			} {
				for _, status := range want {
					if !slices.Contains(c.seen[key], status) {
						t.Errorf("%s: got statuses %v, want %d, too", key, c.seen[key], status)
					}
				}
			}
		})
	}
}

// TestOtherAnswers checks the responses that the conformance test does not trigger.
func TestOtherAnswers(t *testing.T) {
	t.Parallel()
	const provision, get = "POST /extensions", "GET /extensions/x1"
	only := struct{ flyext.Provisioner }{&streams{}} // without an optional capability
	broken := func(c *flyext.Config) { c.ReplayStore = brokenStore{} }
	for _, c := range []struct {
		name     string
		request  string
		body     string
		provider flyext.Provisioner
		change   func(*flyext.Config)
		status   int
	}{
		{"conflict", provision, `{"id":"x1","organization_id":"o1","name":"taken"}`, nil, nil, 409},
		{"too large", provision, `{"id":"` + strings.Repeat("a", 2<<20) + `"}`, nil, nil, 413},
		{"no organization", provision, `{"id":"x1"}`, nil, nil, 422},
		{"panic", provision, `{"id":"x1","organization_id":"o1","name":"broken"}`, nil, nil, 500},
		{"deadline", provision, `{"id":"x1","organization_id":"o1","name":"slow"}`, nil, nil, 504},
		{"no replay store, POST", provision, `{"id":"x1","organization_id":"o1"}`, nil, broken, 503},
		{"no replay store, GET", get, "", nil, broken, 503},
		{"no replay store, DELETE", "DELETE /extensions/x1", "", nil, broken, 503},
		{"fetching is not offered", get, "", only, nil, 501},
		{"deprovisioning is not offered", "DELETE /extensions/x1", "", only, nil, 501},
		{"events are not offered", "POST /extensions/events", `{"specversion":"1.0"}`, only, nil, 501},
		{"listing is not offered", "GET /organizations/o1/extensions", "", only, nil, 501},
		{"sign-on is not offered", "GET /extensions/x1/sso", "", nil, nil, 501},
		{"callback is not offered", "GET /callback", "", nil, nil, 501},
		{"update of an unknown extension", "PATCH /extensions/x9", `{}`, nil, nil, 404},
		{"update with a wrong type", "PATCH /extensions/x1", `{"read_regions":"ams"}`, nil, nil, 422},
		{"list", "GET /organizations/o1/extensions", "", nil, nil, 200},
		{"list of an unknown organization", "GET /organizations/o9/extensions", "", nil, nil, 200},
		{"events as XML", "POST /extensions/events", `{}`, nil, nil, 415},
		{"an event without attributes", "POST /extensions/events", `{}`, nil, nil, 422},
		{"method", "PUT /extensions/x1", `{}`, nil, nil, 405},
		{"route", "POST /extensions/x1/elsewhere", `{}`, nil, nil, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := c.provider
			if p == nil {
				x := &flyext.Extension{ID: "x1", Secrets: flyext.Secrets{}}
				p = &streams{all: map[string]*flyext.Extension{"x1": x}, org: map[string]string{"x1": "o1"}}
			}
			_, client := serve(t, p, c.change)
			fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.XSignature(secret), Client: client}
			method, path, _ := strings.Cut(c.request, " ")
			var body []byte
			if c.body != "" {
				body = []byte(c.body)
			}
			r, err := fly.NewRequest(t.Context(), method, path, body)
			if err != nil {
				t.Fatal(err)
			}
			if c.status == 415 {
				r.Header.Set("Content-Type", "application/cloudevents+xml")
			}
			answer, err := fly.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != c.status {
				t.Errorf("got %d, want %d", answer.StatusCode, c.status)
			}
		})
	}
}

// brokenStore is a replay store whose database is down.
type brokenStore struct{}

func (brokenStore) Use(context.Context, flyext.Nonce) (bool, error) {
	return false, errors.New("the database is down")
}
