package console_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
)

// An eventStream is the stream to which a page listens.
type eventStream struct {
	answer *http.Response
	lines  *bufio.Scanner
}

func openStream(t *testing.T, server *httptest.Server, query string) *eventStream {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/live"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return &eventStream{answer, bufio.NewScanner(answer.Body)}
}

// next returns the next event's data, or "" if the stream has ended.
func (s *eventStream) next() string {
	for s.lines.Scan() {
		if data, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
			return data
		}
	}
	return ""
}

// listening returns a console that listens on a port.
func listening(t *testing.T, provider http.Handler) (*world, *httptest.Server) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	w := newWorld(t, provider, func(c *console.Config) { c.URL = "http://" + server.Listener.Addr().String() })
	server.Config.Handler = w.console
	server.Start()
	t.Cleanup(server.Close)
	return w, server
}

func TestLive(t *testing.T) {
	t.Parallel()
	w, server := listening(t, newLogjam().handler(t, providerBase, ""))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.console.Run(ctx) }()

	behind := openStream(t, server, "?since=old")
	first := behind.next()
	if first == "" {
		t.Fatal("an outdated page gets no event")
	}
	current := openStream(t, server, "?since="+first)
	form := url.Values{"id": {"ext1"}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/extensions", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	for name, s := range map[string]*eventStream{"behind": behind, "current": current} {
		if got := s.next(); got == "" || got == first {
			t.Errorf("%s: the event is %q", name, got)
		}
		if got := s.answer.Header.Get("Content-Type"); got != "text/event-stream" {
			t.Errorf("the content type is %s", got)
		}
	}

	// The shutdown of a server does not wait for the pages.
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := current.next(); got != "" {
		t.Errorf("the stream goes on with %q", got)
	}
}

// Hundreds of open streams cannot lock the page out: the oldest streams end, and
// the page's own stream is served.
func TestAttackStreams(t *testing.T) {
	t.Parallel()
	_, server := listening(t, newLogjam().handler(t, providerBase, ""))
	held := []*eventStream{}
	for range 32 {
		held = append(held, openStream(t, server, ""))
	}
	own := openStream(t, server, "?since=old")
	if own.answer.StatusCode != http.StatusOK || own.next() == "" {
		t.Errorf("the page's own stream: %s", own.answer.Status)
	}
	held[0].next()
	if got := held[0].next(); got != "" {
		t.Errorf("the oldest stream goes on with %q", got)
	}
}
