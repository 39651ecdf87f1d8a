package storetest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// Provider checks that providers that share a store accept a request once, and answer
// 503 while the store is down, without calling the service. open opens the store of a
// machine. kill stops the database, and start starts it again.
func Provider(t *testing.T, open func(timeout time.Duration) flyext.ReplayStore, kill, start func()) {
	t.Helper()
	service := &provisioner{}
	machine := func(timeout time.Duration) http.Handler {
		provider, err := flyext.New(service, flyext.Config{
			BaseURL: providerBase, Verifier: flyext.XSignature(providerSecret), ReplayStore: open(timeout),
		})
		if err != nil {
			t.Fatal(err)
		}
		return provider
	}
	one, two, hasty := machine(20*time.Second), machine(20*time.Second), machine(Timeout)
	first := signed(t)
	first(one, http.StatusOK, "A_URL")
	first(two, http.StatusUnauthorized, flyext.CodeUnauthenticated)
	before := service.calls.Load()
	if before != 1 {
		t.Errorf("the service was called %d times, want 1", before)
	}
	kill()
	first(hasty, http.StatusServiceUnavailable, flyext.CodeReplayUnavailable)
	signed(t)(hasty, http.StatusServiceUnavailable, flyext.CodeReplayUnavailable)
	if calls := service.calls.Load(); calls != before {
		t.Errorf("the service was called %d times while the store was down", calls-before)
	}
	start()
	first(two, http.StatusUnauthorized, flyext.CodeUnauthenticated)
	signed(t)(one, http.StatusOK, "A_URL")
}

const (
	providerBase   = "http://127.0.0.1/flyio"
	providerSecret = "a secret"
)

// signed signs a request. The function that it returns sends the request to a handler
// and checks the answer.
func signed(t *testing.T) (send func(h http.Handler, status int, text string)) {
	t.Helper()
	fly := &flytest.Platform{BaseURL: providerBase, Signer: flytest.XSignature(providerSecret)}
	r, err := fly.NewRequest(t.Context(), http.MethodPost, "/extensions", []byte(`{"id":"x1","organization_id":"o1"}`))
	if err != nil {
		t.Fatal(err)
	}
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return func(h http.Handler, status int, text string) {
		t.Helper()
		again := httptest.NewRequest(r.Method, r.URL.String(), strings.NewReader(string(sent)))
		again.Header = r.Header.Clone()
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, again)
		if answer.Code != status || !strings.Contains(answer.Body.String(), text) {
			t.Errorf("got %d %s, want %d %s", answer.Code, answer.Body, status, text)
		}
	}
}

// A provisioner counts its calls.
type provisioner struct{ calls atomic.Int64 }

func (p *provisioner) Provision(context.Context, *flyext.ProvisionRequest) (*flyext.Extension, error) {
	p.calls.Add(1)
	return &flyext.Extension{Secrets: flyext.Secrets{"A_URL": "https://a.example"}}, nil
}

func (p *provisioner) Update(context.Context, string, *flyext.UpdateRequest) (*flyext.Extension, error) {
	p.calls.Add(1)
	return &flyext.Extension{}, nil
}
