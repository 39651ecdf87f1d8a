package redisstore_test

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
	"github.com/flyext/flyext/internal/servertest"
	"github.com/flyext/flyext/internal/storetest"
	redisstore "github.com/flyext/flyext/stores/redis"
)

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

// TestProvider checks that a provider answers 503 while its store is down, without
// calling the service.
func TestProvider(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	var machines [2]http.Handler
	service := &provisioner{}
	for i := range machines {
		store, _ := newStore(t, server.Addr(), redisstore.Options{Timeout: 20 * time.Second})
		provider, err := flyext.New(service, flyext.Config{
			BaseURL: "http://127.0.0.1/flyio", Verifier: flyext.XSignature("a secret"), ReplayStore: store,
		})
		if err != nil {
			t.Fatal(err)
		}
		machines[i] = provider
	}
	impatient, _ := newStore(t, server.Addr(), redisstore.Options{Timeout: storetest.Timeout})
	hasty, err := flyext.New(service, flyext.Config{
		BaseURL: "http://127.0.0.1/flyio", Verifier: flyext.XSignature("a secret"), ReplayStore: impatient,
	})
	if err != nil {
		t.Fatal(err)
	}
	fly := &flytest.Platform{BaseURL: "http://127.0.0.1/flyio", Signer: flytest.XSignature("a secret")}
	sign := func() (send func(h http.Handler, status int, code string)) {
		r, err := fly.NewRequest(t.Context(), http.MethodPost, "/extensions", []byte(`{"id":"x1","organization_id":"o1"}`))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return func(h http.Handler, status int, code string) {
			t.Helper()
			again := httptest.NewRequest(r.Method, r.URL.String(), strings.NewReader(string(body)))
			again.Header = r.Header.Clone()
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, again)
			if answer.Code != status || !strings.Contains(answer.Body.String(), code) {
				t.Errorf("got %d %s, want %d %s", answer.Code, answer.Body, status, code)
			}
		}
	}
	first := sign()
	first(machines[0], http.StatusOK, "A_URL")
	first(machines[1], http.StatusUnauthorized, flyext.CodeUnauthenticated)
	before := service.calls.Load()
	if before != 1 {
		t.Errorf("the service was called %d times, want 1", before)
	}
	server.Kill()
	first(hasty, http.StatusServiceUnavailable, flyext.CodeReplayUnavailable)
	sign()(hasty, http.StatusServiceUnavailable, flyext.CodeReplayUnavailable)
	if calls := service.calls.Load(); calls != before {
		t.Errorf("the service was called %d times while Redis was down", calls-before)
	}
	server.Start()
	first(machines[1], http.StatusUnauthorized, flyext.CodeUnauthenticated)
	sign()(machines[0], http.StatusOK, "A_URL")
}
