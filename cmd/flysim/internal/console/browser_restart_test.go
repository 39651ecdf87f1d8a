package console_test

import (
	"net"
	"net/http"
	"testing"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
)

// The pages survive a restart, and their requests can be sent again.
func TestBrowserRestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := t.TempDir()
	start := func() string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		own := "http://" + listener.Addr().String()
		c, err := console.New(console.Config{
			BaseURL: s.base, Format: flytest.FormatXSignature, Credentials: flytest.Credentials{SigningSecret: signingSecret}, URL: own, Data: dir,
		})
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: c}
		go server.Serve(listener)
		t.Cleanup(func() { server.Close() }) // even if the page's stream is open
		return own
	}
	s.Open(start()+"/", http.StatusOK)
	s.Fill("#name", "before-the-restart")
	s.Click("#provision", http.StatusOK)

	again := start()
	s.Open(again+"/requests", http.StatusOK)
	s.WaitForText("#feed", "before-the-restart")
	s.Click("#feed > li:first-child a", http.StatusOK)
	s.WaitForText("main", "[masked]") // instead of the secrets
	s.Click("#resend", http.StatusOK)
	s.WaitForText("#result", "Resent: Provisioned, with 2 secrets")
	s.Click("#about", http.StatusOK)
	s.WaitForText("#head", "before-the-restart")
	s.Open(s.url+"/users", http.StatusOK) // so that no page listens to the stream that ends
}
