package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext/internal/servertest"
)

func TestServe(t *testing.T) {
	t.Parallel()
	term := newTerminal((&memory{}).serve(t, "", 0)).with("FLYIO_CLIENT_ID", clientID, "FLYIO_CLIENT_SECRET", clientSecret)
	addr := servertest.FreeAddr(t)
	stop := serving(t, term, addr)
	term.run(t, "serve", "--addr", addr).want(t, 2)
	got := stop().want(t, 130)
	contains(t, got.stdout, "Fly.io simulator: http://"+addr+" ")
	if strings.Contains(got.stdout, "Webhook") {
		t.Errorf("without a webhook secret there is a webhook endpoint:\n%s", got.stdout)
	}
}

// TestServeSettings: the page obeys the settings.
func TestServeSettings(t *testing.T) {
	t.Parallel()
	m := &memory{}
	base := m.serve(t, "", 0)
	term := newTerminal(base).with("FLYIO_CLIENT_ID", clientID, "FLYIO_CLIENT_SECRET", clientSecret, "FLYIO_WEBHOOK_SECRET", webhookSecret)
	addr := servertest.FreeAddr(t)
	m.sendWebhooks(t, webhookSecret, "http://"+addr+"/webhooks")
	stop := serving(t, term, addr, "--sso-generation", "1")
	contains(t, fetched(t, "http://"+addr+"/users"), "&#34;permission&#34;:&#34;admin&#34;") // the scope of generation 1
	term.run(t, "provision", "--id", "told").want(t, 0)
	contains(t, fetched(t, "http://"+addr+"/webhooks"), "resource.updated, with the status “ready”", "About <bdi>told</bdi>")
	contains(t, stop().want(t, 130).stdout, "Webhook endpoint: http://"+addr+"/webhooks\n")
}

// TestServeEnds: Ctrl-C waits for a pending answer, and not for an open page.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		io.WriteString(w, `{"id":"x","config":{}}`)
	}))
	defer provider.Close()
	addr := servertest.FreeAddr(t)
	stop := serving(t, newTerminal(provider.URL), addr)
	live, err := http.Get("http://" + addr + "/live")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Body.Close()
	posted := make(chan error, 1)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	go func() {
		answer, err := client.PostForm("http://"+addr+"/extensions", url.Values{"id": {"x"}})
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode != http.StatusSeeOther {
				err = errors.New(answer.Status)
			}
		}
		posted <- err
	}()
	<-asked
	ended := make(chan output, 1)
	go func() { ended <- stop() }()
	io.Copy(io.Discard, live.Body) // the stream of the page ends first
	close(answer)
	if err := <-posted; err != nil {
		t.Error(err)
	}
	(<-ended).want(t, 130)
}

// serving starts flysim serve and waits until it answers. stop ends it and returns
// its output.
func serving(t *testing.T, term *terminal, addr string, args ...string) (stop func() output) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan output, 1)
	go func() { ended <- term.runUntil(ctx, append([]string{"serve", "--addr", addr}, args...)...) }()
	for {
		answer, err := http.Get("http://" + addr + "/")
		if err == nil {
			answer.Body.Close()
			break
		}
		select {
		case got := <-ended:
			t.Fatalf("flysim serve ended with the status %d\n%s", got.status, got.stderr)
		case <-time.After(5 * time.Millisecond):
		}
	}
	stop = sync.OnceValue(func() output {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	return stop
}

// fetched returns a page of flysim serve.
func fetched(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
