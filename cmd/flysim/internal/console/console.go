// Package console is the played Fly.io as a local web page.
package console

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/flyext/flyext/flytest"
)

// A Config is what a console plays Fly.io with.
type Config struct {
	BaseURL                string
	Format                 flytest.Format
	Credentials            flytest.Credentials
	ClientID, ClientSecret string
	URL                    string // its own
	Client                 *http.Client
	Now                    func() time.Time
	Logger                 *slog.Logger
}

// A Console is the page.
type Console struct{ http.Handler }

// New returns a console.
func New(Config) (*Console, error) { return &Console{http.NotFoundHandler()}, nil }

// Run polls until ctx ends.
func (*Console) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
