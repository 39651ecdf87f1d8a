package openapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const (
	baseURL = "https://example.com/flyio" // where the client of an httptest.Server finds it
	secret  = "a signing secret"
)

// A document is docs/openapi.yaml.
type document struct {
	model    *v3.Document
	validate validator.Validator
}

func readDocument(t *testing.T) *document {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	model, err := parsed.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(parsed)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return &document{&model.Model, v}
}

func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	if ok, errs := readDocument(t).validate.ValidateDocument(); !ok {
		for _, e := range errs {
			t.Errorf("%s: %s", e.Message, e.Reason)
			for _, s := range e.SchemaValidationErrors {
				t.Errorf("  line %d: %s", s.Line, s.Reason)
			}
		}
	}
}

// pathOf returns the path of the document that a request goes to, or "".
func pathOf(path string) string {
	path, ok := strings.CutPrefix(path, "/flyio")
	parts := strings.Split(path, "/")
	switch {
	case !ok || len(parts) < 2:
		return ""
	case path == "/extensions" || path == "/extensions/events" || path == "/callback":
		return path
	case len(parts) == 3 && parts[1] == "extensions" && parts[2] != "":
		return "/extensions/{extension_id}"
	case len(parts) == 4 && parts[1] == "extensions" && parts[3] == "sso":
		return "/extensions/{extension_id}/sso"
	case len(parts) == 4 && parts[1] == "organizations" && (parts[3] == "sso" || parts[3] == "extensions"):
		return "/organizations/{organization_id}/" + parts[3]
	}
	return ""
}

func operationOf(item *v3.PathItem, method string) *v3.Operation {
	switch method {
	case http.MethodGet:
		return item.Get
	case http.MethodPost:
		return item.Post
	case http.MethodPatch:
		return item.Patch
	case http.MethodDelete:
		return item.Delete
	}
	return nil
}

// check reports how an answer differs from the document.
func (d *document) check(r *http.Request, answer *http.Response) error {
	path := pathOf(r.URL.EscapedPath())
	item, ok := d.model.Paths.PathItems.Get(path)
	var operation *v3.Operation
	if ok {
		operation = operationOf(item, r.Method)
	}
	if operation == nil { // no such path or method: the one shape of errors, under any operation
		if answer.StatusCode != 404 && answer.StatusCode != 405 {
			return fmt.Errorf("the document has no %s %s", r.Method, path)
		}
		r = httptest.NewRequest(http.MethodPost, baseURL+"/extensions", http.NoBody)
	} else if _, ok := operation.Responses.Codes.Get(fmt.Sprint(answer.StatusCode)); !ok && answer.StatusCode < 400 {
		return fmt.Errorf("%s %s: the document has no status %d", r.Method, path, answer.StatusCode)
	} else if !ok && path != "/callback" && !strings.HasSuffix(path, "/sso") {
		return fmt.Errorf("%s %s: the document has no error %d", r.Method, path, answer.StatusCode)
	}
	if operation != nil && bodyless(operation, answer) {
		return nil
	}
	if ok, errs := d.validate.ValidateHttpResponse(r, answer); !ok {
		var all []error
		for _, e := range errs {
			all = append(all, fmt.Errorf("%s %s, %d: %s: %s", r.Method, path, answer.StatusCode, e.Message, e.Reason))
			for _, s := range e.SchemaValidationErrors {
				all = append(all, errors.New(s.Reason))
			}
		}
		return errors.Join(all...)
	}
	return nil
}

// bodyless reports an answer without a body where the document says that none is
// needed. OpenAPI can only say that in words.
func bodyless(operation *v3.Operation, answer *http.Response) bool {
	described, ok := operation.Responses.Codes.Get(fmt.Sprint(answer.StatusCode))
	return ok && strings.Contains(described.Description, "A body is not needed") &&
		answer.Header.Get("Content-Type") == "" && answer.ContentLength == 0
}

// A checker is a handler whose every answer is held against the document.
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

// streams is a Provisioner with each capability.
type streams struct {
	mu  sync.Mutex
	all map[string]*flyext.Extension
	org map[string]string
}

func (s *streams) Provision(ctx context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	switch r.Name {
	case "taken":
		return nil, flyext.Conflict("This name is in use.")
	case "broken":
		panic("the disk is on fire")
	case "slow":
		return nil, context.DeadlineExceeded
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[r.ID] == nil {
		s.all[r.ID] = &flyext.Extension{ID: r.ID, Name: r.Name, Secrets: flyext.Secrets{"LOGJAM_TOKEN": "t-" + r.ID}}
		s.org[r.ID] = r.OrganizationID
	}
	return s.all[r.ID], nil
}

func (s *streams) Update(ctx context.Context, id string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
	x, err := s.Fetch(ctx, id)
	if name, ok := r.Name.Get(); ok && err == nil {
		changed := *x
		changed.Name = name
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all[id] = &changed
		return &changed, nil
	}
	return x, err
}

func (s *streams) Fetch(_ context.Context, id string) (*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.all[id]; x != nil {
		return x, nil
	}
	return nil, flyext.NotFound("There is no such stream.")
}

func (s *streams) Deprovision(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, id)
	delete(s.org, id)
	return nil
}

func (s *streams) List(_ context.Context, organization string) ([]*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*flyext.Extension
	for id, x := range s.all {
		if s.org[id] == organization {
			list = append(list, x)
		}
	}
	return list, nil
}

func (s *streams) ReceiveEvent(context.Context, *flyext.Event) error { return nil }

func (s *streams) organizationOf(_ context.Context, id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.org[id]; ok {
		return o, nil
	}
	return "", flyext.NotFound("There is no such stream.")
}

// serve serves a provider whose answers are checked.
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
	mux.HandleFunc("GET /streams/{id}", func(http.ResponseWriter, *http.Request) {}) // the screen after a sign-on
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	return c, server.Client()
}

// The answers to the conformance test, in both generations, are in the document.
func TestConformanceAnswers(t *testing.T) {
	t.Parallel()
	events := map[flytest.Format][]int{flytest.FormatXSignature: {200}, flytest.FormatRFC9421: nil} // generation 1 sends no events
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
						t.Errorf("%s was answered with %v, and never with %d", key, c.seen[key], status)
					}
				}
			}
		})
	}
}

// The answers that the conformance test does not ask for are in the document.
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
		{"update that is no object", "PATCH /extensions/x1", `{"read_regions":"ams"}`, nil, nil, 422},
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

// brokenStore is a replay store that is out of reach.
type brokenStore struct{}

func (brokenStore) Use(context.Context, flyext.Nonce) (bool, error) {
	return false, errors.New("the database is away")
}

// An answer that the document does not describe is found.
func TestCheckFindsDifferences(t *testing.T) {
	t.Parallel()
	d := readDocument(t)
	for name, c := range map[string]struct {
		method, path string
		status       int
		body         string
	}{
		"a secret that is a number":  {"POST", "/extensions", 200, `{"id":"x1","config":{"PORT":1}}`},
		"an envelope without id":     {"GET", "/extensions/x1", 200, `{"status":"ready"}`},
		"an error without a message": {"GET", "/extensions/x1", 404, `{"error":"not_found"}`},
		"a status of its own":        {"GET", "/extensions/x1", 418, `{"error":"teapot","message":"No."}`},
		"a list that is an object":   {"GET", "/organizations/o1/extensions", 200, `{}`},
	} {
		answer := &http.Response{StatusCode: c.status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(c.body))}
		if d.check(httptest.NewRequest(c.method, baseURL+c.path, nil), answer) == nil {
			t.Errorf("%s: no difference was found", name)
		}
	}
}
