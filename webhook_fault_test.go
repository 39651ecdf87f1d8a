package flyext_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// hooksTo returns Webhooks that send to a server and do not wait between attempts.
func hooksTo(t *testing.T, server *httptest.Server, change func(*flyext.WebhookConfig)) *flyext.Webhooks {
	t.Helper()
	c := flyext.WebhookConfig{
		ProviderName: "logjam", Secret: webhookSecret, Endpoint: server.URL + "/api/hooks/extensions/logjam",
		HTTPClient: server.Client(), Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
	if change != nil {
		change(&c)
	}
	hooks, err := flyext.NewWebhooks(c)
	if err != nil {
		t.Fatal(err)
	}
	return hooks
}

// Webhooks do not follow a redirect, which could send the signed body to an attacker.
func TestWebhookFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	var stolen, asked atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	defer thief.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			http.Redirect(w, r, thief.URL, status)
		}))
		client := server.Client()
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
		err := hooksTo(t, server, func(c *flyext.WebhookConfig) { c.HTTPClient = client }).Updated(t.Context(), stream())
		if e, ok := errors.AsType[*flyext.WebhookError](err); !ok || e.Status != status || e.Temporary() || e.Attempts != 1 {
			t.Errorf("%d: got %v", status, err)
		}
		if client.CheckRedirect == nil {
			t.Error("the HTTPClient of the service was changed")
		}
		server.Close()
	}
	if asked.Load() != 5 || stolen.Load() != 0 {
		t.Errorf("%d requests, want 5; %d followed a redirect, want 0", asked.Load(), stolen.Load())
	}
}

// A redirect is an answer even if its Location is not a URL.
func TestWebhookRedirectToNowhere(t *testing.T) {
	t.Parallel()
	w := newWebhookTest(t, func(c *flyext.WebhookConfig) {
		c.HTTPClient.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 307, Header: http.Header{"Location": {"http://[canary"}}, Body: http.NoBody, Request: r}, nil
		})
	})
	err := w.hooks.Updated(t.Context(), stream())
	if e, ok := errors.AsType[*flyext.WebhookError](err); !ok || e.Status != 307 || e.Attempts != 1 || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
}

// A transport that returns neither an answer nor an error counts as a failed attempt.
func TestWebhookTransportOfNothing(t *testing.T) {
	t.Parallel()
	w := newWebhookTest(t, func(c *flyext.WebhookConfig) {
		c.HTTPClient.Transport = transportFunc(func(*http.Request) (*http.Response, error) { return nil, nil })
	})
	err := w.hooks.Updated(t.Context(), stream())
	if e, ok := errors.AsType[*flyext.WebhookError](err); !ok || e.Status != 0 || e.Err == nil || e.Attempts != 5 {
		t.Errorf("got %v", err)
	}
}

// An endless body counts the bytes that are read. It ends after 10 MiB, so that a test
// that reads too much can fail.
type endless struct {
	read   int
	closed bool
}

func (b *endless) Read(p []byte) (int, error) {
	if b.read += len(p); b.read > 10<<20 {
		return 0, io.EOF
	}
	return len(p), nil
}

func (b *endless) Close() error {
	b.closed = true
	return nil
}

// Only the start of a long body is read, and its connection is released.
func TestWebhookReadsLittleOfAnAnswer(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 422} {
		body := &endless{}
		w := newWebhookTest(t, func(c *flyext.WebhookConfig) {
			c.HTTPClient.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: status, Body: body, Request: r}, nil
			})
		})
		if err := w.hooks.Updated(t.Context(), stream()); (err == nil) != (status == 200) {
			t.Error(err)
		}
		if body.read > 100<<10 || !body.closed {
			t.Errorf("%d: %d bytes read, want at most 100 KiB; body closed: %t", status, body.read, body.closed)
		}
	}
}

// An error of Sleep ends the attempts and is wrapped in the WebhookError.
func TestWebhookSleepFails(t *testing.T) {
	t.Parallel()
	woken := errors.New("woken")
	w := newWebhookTest(t, func(c *flyext.WebhookConfig) {
		c.Sleep = func(context.Context, time.Duration) error { return woken }
	}, hookAnswer{status: 503})
	err := w.hooks.Updated(t.Context(), stream())
	if e, ok := errors.AsType[*flyext.WebhookError](err); !ok || !errors.Is(err, woken) || e.Status != 503 || e.Attempts != 1 || !e.Temporary() {
		t.Errorf("got %v", err)
	}
}

// The log has the reason of each failed attempt that is followed by another.
func TestWebhookAttemptsAreLogged(t *testing.T) {
	t.Parallel()
	w := newWebhookTest(t, nil, hookAnswer{status: 503}, hookAnswer{err: io.ErrUnexpectedEOF}, hookAnswer{status: 200})
	if err := w.hooks.Updated(t.Context(), stream()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(w.log.text(), "\n")
	for i, want := range []string{`"status":503`, `"error":"unexpected EOF"`} {
		for _, part := range []string{want, `"level":"WARN"`, `"action":"resource.updated"`, `"resource_id":"5lgmabb3y30"`, fmt.Sprintf(`"attempt":%d`, i+1), `"wait":`} {
			if !strings.Contains(lines[i], part) {
				t.Errorf("record %d lacks %s: %s", i, part, lines[i])
			}
		}
	}
	if len(lines) != 3 || lines[2] != "" {
		t.Errorf("the log does not have exactly two records: %s", w.log.text())
	}
}

// The connection breaks after the receiver accepted the webhook. It is sent again with
// another nonce, and accepted again.
func TestWebhookWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	fly := &flytest.WebhookReceiver{Secret: webhookSecret}
	server := httptest.NewTLSServer(fly)
	defer server.Close()
	hooks := hooksTo(t, server, func(c *flyext.WebhookConfig) { c.Attempts = 2 })
	fly.SetFault(flytest.LostAnswer())
	err := hooks.Updated(t.Context(), stream())
	if e, ok := errors.AsType[*flyext.WebhookError](err); !ok || !e.Temporary() || e.Attempts != 2 || e.Status != 0 {
		t.Errorf("got %v", err)
	}
	fly.SetFault(nil)
	if err := hooks.Updated(t.Context(), stream()); err != nil {
		t.Error(err)
	}
	if got, want := fly.Stats(), (flytest.WebhookStats{Received: 3, Accepted: 3, Repeated: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestWebhooksConcurrently(t *testing.T) {
	t.Parallel()
	fly := &flytest.WebhookReceiver{Secret: webhookSecret}
	var n atomic.Int32
	fly.SetFault(func(sound http.Handler) http.Handler { // every third request fails
		if n.Add(1)%3 == 0 {
			return flytest.StatusAnswer(http.StatusServiceUnavailable)(sound)
		}
		return sound
	})
	server := httptest.NewTLSServer(fly)
	defer server.Close()
	hooks := hooksTo(t, server, func(c *flyext.WebhookConfig) { c.Attempts = 50 })
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			x := &flyext.Extension{ID: fmt.Sprint(i), Name: fmt.Sprint("stream ", i)}
			if err := hooks.Updated(t.Context(), x); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 40 {
		if w, ok := fly.Resource(fmt.Sprint(i)); !ok || w.Resource.Name != fmt.Sprint("stream ", i) {
			t.Errorf("resource %d was not received: %+v, %t", i, w, ok)
		}
	}
	if s := fly.Stats(); s.Accepted != 40 || s.Refused != 0 || s.Received <= 40 {
		t.Errorf("got %+v", s)
	}
}

// transportFunc is an [http.RoundTripper].
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A server in place of Fly.io's answers with a malformed header line. The log and the
// error name the kind of fault without the text of the line.
func TestWebhookPeerWritesNoLog(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\ncanary4711 "+strings.Repeat("x", 3000)+"\r\n\r\n")
			conn.Close()
		}
	}()
	log := &logBuffer{}
	hooks, err := flyext.NewWebhooks(flyext.WebhookConfig{
		ProviderName: "logjam", Secret: webhookSecret, Endpoint: "http://" + listener.Addr().String(), Logger: log.logger(),
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }, Attempts: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = hooks.Updated(t.Context(), stream())
	for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), log.text()} {
		if strings.Contains(text, "canary") || len(text) > 600 || text == "" {
			t.Errorf("got %q", text)
		}
	}
	// The server closes a connection with unread bytes, so the kind of fault depends on
	// timing.
	if !strings.Contains(log.text(), `"error":"`) {
		t.Errorf("the log lacks the error: %s", log.text())
	}
}

// Observe is called for each attempt. Its panic does not lose the webhook.
func TestWebhookObserve(t *testing.T) {
	t.Parallel()
	var attempts []flyext.WebhookAttempt
	w := newWebhookTest(t, func(c *flyext.WebhookConfig) {
		c.Observe = func(_ context.Context, a flyext.WebhookAttempt) {
			attempts = append(attempts, a)
			panic("lost")
		}
	}, hookAnswer{status: 503}, hookAnswer{err: io.ErrUnexpectedEOF}, hookAnswer{status: 200})
	if err := w.hooks.Updated(t.Context(), stream()); err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, a := range attempts {
		got += fmt.Sprintf("%s %s %d: %d %v; ", a.Action, a.ResourceID, a.Number, a.Status, a.Err)
	}
	want := "resource.updated 5lgmabb3y30 1: 503 <nil>; resource.updated 5lgmabb3y30 2: 0 unexpected EOF; resource.updated 5lgmabb3y30 3: 200 <nil>; "
	if got != want || strings.Count(w.log.text(), "WebhookConfig.Observe panicked") != 3 {
		t.Errorf("got  %s\nwant %s\n%s", got, want, w.log.text())
	}
}

// Plain http to a host that is not loopback, such as another container, requires
// InsecureAllowHTTP.
func TestWebhookInsecureAllowHTTP(t *testing.T) {
	t.Parallel()
	for endpoint, ok := range map[string]bool{
		"http://fly-simulator:4000/hooks": true, "http://10.0.0.7/hooks": true, "https://fly.example/hooks": true,
		"ftp://fly.example": false, "http:///hooks": false, "http://u:p@fly.example": false,
	} {
		_, err := flyext.NewWebhooks(flyext.WebhookConfig{ProviderName: "logjam", Secret: "s", Endpoint: endpoint, InsecureAllowHTTP: true})
		if (err == nil) != ok {
			t.Errorf("%s: NewWebhooks returned the error %v, want an error: %t", endpoint, err, !ok)
		}
	}
}
