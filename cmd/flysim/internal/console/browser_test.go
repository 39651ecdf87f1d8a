package console_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/browsertest"
)

func TestMain(m *testing.M) { os.Exit(browsertest.Main(m)) }

// A site is a console and a provider that listen, and a browser.
type site struct {
	*browsertest.Tab
	t        *testing.T
	url      string // of the console
	base     string // of the provider
	logjam   *logjam
	provider *httptest.Server
}

// newSite starts both, and a console that polls. To a browser localhost and
// 127.0.0.1 are two sites, as Fly.io and a provider are.
func newSite(t *testing.T, changes ...func(*console.Config)) *site {
	t.Helper()
	s := &site{t: t, logjam: newLogjam()}
	s.Tab = browsertest.New(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://localhost:" + port

	mux := http.NewServeMux()
	s.provider = httptest.NewServer(mux)
	t.Cleanup(s.provider.Close)
	s.base = s.provider.URL + "/flyio"
	mux.Handle("/flyio/", s.logjam.handler(t, s.base, s.url))

	config := console.Config{
		BaseURL: s.base, Format: flytest.FormatXSignature, Credentials: flytest.Credentials{SigningSecret: signingSecret, BearerToken: bearerToken},
		ClientID: "logjam", ClientSecret: clientSecret, URL: s.url,
	}
	for _, change := range changes {
		change(&config)
	}
	c, err := console.New(config)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: c}
	go server.Serve(listener)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return s
}

// post sends a form from outside of the browser, as another of the person's
// windows would.
func (s *site) post(path string, form url.Values) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusSeeOther {
		s.t.Fatalf("POST %s: %s", path, answer.Status)
	}
	return answer.Header.Get("Location")
}

func (s *site) provision(id, name string) string {
	s.t.Helper()
	return s.post("/extensions", url.Values{"id": {id}, "name": {name}, "customer": {nathan}, "primary_region": {"mad"}, "read_regions": {"fra syd"}, "extra": {`{"plan":"scaler","options":{"public":true}}`}})
}
