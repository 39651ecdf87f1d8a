package bench

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// flyext is measured through its public API.

var key = flyext.Key{ID: keyID, Secret: secret}

// noop is a Provisioner that does nothing.
type noop struct{}

var extension = &flyext.Extension{ID: "lj-7f3a", Name: "collider-prod", Secrets: secretsOf}

func (noop) Provision(context.Context, *flyext.ProvisionRequest) (*flyext.Extension, error) {
	return extension, nil
}

func (noop) Update(context.Context, string, *flyext.UpdateRequest) (*flyext.Extension, error) {
	return extension, nil
}

// newProvider returns the whole handler with default replay store, deadline and
// panic recovery.
func newProvider(tb testing.TB, now func() time.Time, change ...func(*flyext.Config)) http.Handler {
	config := flyext.Config{Logger: slog.New(slog.DiscardHandler), BaseURL: baseURL, Verifier: flyext.XSignature(secret), Now: now}
	for _, c := range change {
		c(&config)
	}
	p, err := flyext.New(noop{}, config)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func newAuthenticator(tb testing.TB, now func() time.Time, secrets ...string) *flyext.Authenticator {
	a, err := flyext.NewAuthenticator(flyext.Config{Logger: slog.New(slog.DiscardHandler), BaseURL: baseURL, Verifier: flyext.XSignature(secrets...), Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	return a
}
