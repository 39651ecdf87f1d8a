package flytest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

func TestMisuse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, baseURL, want string
		noSigner            bool
	}{
		{name: "no base URL", want: `flytest: Platform.BaseURL "" must be an absolute http or https URL`},
		{name: "no scheme", baseURL: "logjam.io/flyio", want: `flytest: Platform.BaseURL "logjam.io/flyio" must be an absolute http or https URL`},
		{name: "no host", baseURL: "https:///flyio", want: `flytest: Platform.BaseURL "https:///flyio" must be an absolute http or https URL`},
		{name: "another scheme", baseURL: "ftp://logjam.io", want: `flytest: Platform.BaseURL "ftp://logjam.io" must be an absolute http or https URL`},
		{name: "malformed URL", baseURL: "https://logjam.io/%zz", want: "flytest: Platform.BaseURL: "},
		{name: "query", baseURL: "https://logjam.io?a=b", want: "flytest: Platform.BaseURL must not have a user, a query or a fragment"},
		{name: "user", baseURL: "https://a:hunter2@logjam.io", want: "flytest: Platform.BaseURL must not have a user, a query or a fragment"},
		{name: "no signer", baseURL: baseURL, noSigner: true, want: "flytest: Platform.Signer is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fly := &flytest.Platform{BaseURL: c.baseURL, Client: unreachable(t)}
			if !c.noSigner {
				fly.Signer = flytest.XSignature(secret)
			}
			_, provisioned := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "mine"})
			_, updated := fly.Update(t.Context(), "mine", flyext.UpdateRequest{})
			_, fetched := fly.Fetch(t.Context(), "mine")
			deprovisioned := fly.Deprovision(t.Context(), "mine")
			_, made := fly.NewRequest(t.Context(), http.MethodGet, "/extensions/mine", nil)
			for i, err := range []error{provisioned, updated, fetched, deprovisioned, made} {
				if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("call %d: %v, want %s", i, err, c.want)
				}
			}
		})
	}
}

func TestEmptyIDAndRelativePath(t *testing.T) {
	t.Parallel()
	fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.XSignature(secret), Client: unreachable(t)}
	_, updated := fly.Update(t.Context(), "", flyext.UpdateRequest{})
	_, fetched := fly.Fetch(t.Context(), "")
	deprovisioned := fly.Deprovision(t.Context(), "")
	for i, err := range []error{updated, fetched, deprovisioned} {
		if err == nil || err.Error() != "flytest: the extension id is empty" {
			t.Errorf("call %d: %v", i, err)
		}
	}
	for _, c := range []struct{ method, path, want string }{
		{http.MethodGet, "extensions", `flytest: path "extensions" must begin with a slash`},
		{http.MethodGet, "@evil.example/extensions", `flytest: path "@evil.example/extensions" must begin with a slash`},
		{http.MethodGet, "", `flytest: path "" must begin with a slash`},
		{"GET /", "/extensions", "flytest: net/http: invalid method"},
		{http.MethodGet, "/%zz", "flytest: parse "},
	} {
		if r, err := fly.NewRequest(t.Context(), c.method, c.path, nil); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("NewRequest(%q, %q): %v, %v", c.method, c.path, r, err)
		}
	}
}

func TestExtensionPath(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"30bqn49y2jh": "/extensions/30bqn49y2jh",
		"a/b":         "/extensions/a%2Fb",
		"a b+c":       "/extensions/a%20b+c",
		"größe":       "/extensions/gr%C3%B6%C3%9Fe",
		"100%?x#y":    "/extensions/100%25%3Fx%23y",
		".":           "/extensions/%2E",
		"..":          "/extensions/%2E%2E",
		"...":         "/extensions/...",
	} {
		if got := flytest.ExtensionPath(id); got != want {
			t.Errorf("ExtensionPath(%q) = %s, want %s", id, got, want)
		}
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	var received atomic.Pointer[http.Request]
	client := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received.Store(r)
		w.Header().Set("X-Request-Id", "7")
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"error":"conflict","message":"The name is taken."}`)
	}))
	var seen []flytest.Exchange
	fly := &flytest.Platform{
		BaseURL: baseURL, Signer: flytest.All(flytest.BearerToken(token), flytest.RFC9421(key)), Client: client,
		Observe: func(e flytest.Exchange) { seen = append(seen, e) },
	}
	if _, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "mine"}); err == nil {
		t.Error("a conflict returned no error")
	}
	if len(seen) != 1 {
		t.Fatalf("observed %d exchanges, want 1", len(seen))
	}
	e := seen[0]
	if e.Request.Method != http.MethodPost || e.Request.URL.String() != "https://example.com/flyio/extensions" ||
		string(e.RequestBody) != `{"name":"","id":"mine","organization_id":""}` ||
		e.Response.StatusCode != http.StatusConflict || e.Response.Header.Get("X-Request-Id") != "7" ||
		string(e.ResponseBody) != `{"error":"conflict","message":"The name is taken."}` {
		t.Errorf("observed %+v", e)
	}
	for name := range e.Request.Header {
		if got, want := received.Load().Header.Get(name), e.Request.Header.Get(name); got != want {
			t.Errorf("%s was received as %q and observed as %q", name, got, want)
		}
	}
	fly.Client = &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })}
	if err := fly.Deprovision(t.Context(), "mine"); !errors.Is(err, io.ErrUnexpectedEOF) || len(seen) != 1 {
		t.Errorf("no answer: %v, %d exchanges", err, len(seen))
	}
}

// TestRedirectIsNotFollowed checks that a redirect does not send the bearer token to
// another URL.
func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	client := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}
	}))
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
	fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.BearerToken(token), Client: client}
	_, err := fly.Fetch(t.Context(), "mine")
	if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Status != http.StatusTemporaryRedirect || requests.Load() != 1 {
		t.Errorf("%v after %d requests", err, requests.Load())
	}
	if client.CheckRedirect(nil, nil) != nil {
		t.Error("the caller's client was changed")
	}
}

func TestDoSendsAsIs(t *testing.T) {
	t.Parallel()
	// A RoundTripper instead of a server, because http.Transport would rewind a body
	// that was sent before.
	client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		var sent []byte
		if r.Body != nil {
			sent, _ = io.ReadAll(r.Body)
		}
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(sent)), Request: r}, nil
	})}
	fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.BearerToken(token), Client: client}
	r := newRequest(t, fly, http.MethodPost, "/extensions", "first")
	for _, want := range []string{"first", "first", "second", ""} {
		if want == "second" || want == "" {
			flytest.SetBody(r, []byte(want))
		}
		answer, err := fly.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(answer.Body); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	stream, err := http.NewRequestWithContext(t.Context(), http.MethodPost, baseURL, io.NopCloser(strings.NewReader("a")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fly.Do(stream); err == nil || err.Error() != "flytest: the request's body has no GetBody; set it with SetBody" {
		t.Errorf("a body that cannot be sent twice: %v", err)
	}
	plain, err := http.NewRequestWithContext(t.Context(), http.MethodGet, baseURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := fly.Do(plain); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("a request without NewRequest: %v, %v", answer, err)
	}
}

func TestContextEndsACall(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	client := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.XSignature(secret), Client: client}
	if _, err := fly.Fetch(ctx, "mine"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			fly := start(t, newService(), f.signer(secret), f.verifier)
			var wg sync.WaitGroup
			for i := range 8 {
				id := string(rune('a' + i))
				wg.Go(func() {
					x, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: id + "/" + strings.Repeat("x", i), OrganizationID: "M03FclA4m"})
					if err != nil {
						t.Errorf("%s: %v, %v", id, x, err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestPlainHTTP uses http.DefaultClient and the URL of the server.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	provider, err := flyext.New(newService(), flyext.Config{BaseURL: server.URL, Verifier: flyext.MessageSignature(key)})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/", provider)
	fly := &flytest.Platform{BaseURL: server.URL + "/", Signer: flytest.RFC9421(key)}
	if x, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "mine", OrganizationID: "M03FclA4m"}); err != nil || x.ID != "mine" {
		t.Errorf("Provision: %v, %v", x, err)
	}
}
