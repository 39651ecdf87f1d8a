package flyext_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
)

// Fly.io's server, or another one in its place, fails in different ways at each of
// the two endpoints, over real connections.
// raw returns a handler that answers with these bytes.
func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, answer)
	}
}

func TestFlyFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fail   http.HandlerFunc
		logged string
	}{
		"500":  {func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 500, `{"fo1_leak":1}`) }, "status 500"},
		"401":  {func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 401, `{"error":"invalid_client"}`) }, "status 401"},
		"HTML": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<h1>fo1_leak") }, "not JSON"},
		"500 with HTML": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "<h1>fo1_leak")
		}, "status 500"},
		"unknown error code": {func(w http.ResponseWriter, _ *http.Request) {
			answerJSON(w, 400, `{"error":"fo1_leak","error_description":"fo1_leak","error_uri":"fo1_leak"}`)
		}, "status 400"},
		"huge body": {func(w http.ResponseWriter, _ *http.Request) {
			chunk := []byte(strings.Repeat(" ", 64<<10))
			for range 64 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "larger than"},
		"redirect loop": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, "status 307"},
		"redirect to another path": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/steal", http.StatusPermanentRedirect)
		}, "status 308"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"access_token":"fo1_leak`)
		}, "unexpected EOF"},
		"a Location that is not a URL": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://[fo1_leak")
			w.WriteHeader(http.StatusFound)
		}, "status 302"},
		"a malformed status line": {raw("fo1_leak\r\n\r\n"), "the connection failed"},
		"a malformed header line": {raw("HTTP/1.1 200 OK\r\nfo1_leak\r\n\r\n"), "malformed"},
		"a malformed chunk":       {raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfo1_leak\r\n"), "the connection failed"},
		"a malformed trailer":     {raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nfo1_leak\r\n\r\n"), "malformed"},
		"aborted":                 {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		for _, endpoint := range []string{"token", "info"} {
			t.Run(name+" at "+endpoint, func(t *testing.T) {
				t.Parallel()
				st := newSSOTest(t)
				fail := c.fail
				if endpoint == "token" {
					st.fly.token = fail
				} else {
					st.fly.info = fail
				}
				var stolen string
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/steal" {
						body, _ := io.ReadAll(r.Body)
						st.mu.Lock()
						defer st.mu.Unlock()
						stolen = string(body) + r.Header.Get("Authorization")
						return
					}
					st.fly.ServeHTTP(w, r)
				}))
				st.secrets = append(st.secrets, "fo1_leak")
				overTCP(t, st, server.URL, server.Client())
				b := st.browser()
				p := b.get(b.authorize(b.begin("x1")))
				server.Close()
				st.wantRefusal(p, http.StatusBadGateway, flyext.CodeFlyUnavailable)
				if !strings.Contains(st.logged(), c.logged) {
					t.Errorf("the log lacks %q: %s", c.logged, st.logged())
				}
				st.mu.Lock()
				defer st.mu.Unlock()
				st.fly.mu.Lock()
				defer st.fly.mu.Unlock()
				// net/http repeats a GET that failed on a reused connection.
				if stolen != "" || st.fly.calls > 3 {
					t.Errorf("a redirect was followed: %d calls, and the other server got %q", st.fly.calls, stolen)
				}
			})
		}
	}
}

// overTCP connects the provider to a real server. The browser stays in the world.
func overTCP(t *testing.T, st *ssoTest, server string, client *http.Client) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	st.world[u.Host] = st.fly
	st.world["logjam.io"] = st.newProvider(func(s *flyext.SSOConfig) { s.OAuthURL, s.HTTPClient = server, client })
}

func TestFlyIsDown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		err    error
		status int
		code   string
		logged string
	}{
		{"refused", syscall.ECONNREFUSED, http.StatusBadGateway, flyext.CodeFlyUnavailable, "connection refused"},
		{"a timeout of the service's transport", os.ErrDeadlineExceeded, http.StatusGatewayTimeout, flyext.CodeFlyTimeout, "the connection timed out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t)
			// A closed port could be in use by another test, so the dialer fails itself.
			overTCP(t, st, "http://127.0.0.1:1", &http.Client{Transport: &http.Transport{
				DialContext: func(_ context.Context, network, _ string) (net.Conn, error) {
					return nil, &net.OpError{Op: "dial", Net: network, Err: c.err}
				},
			}})
			b := st.browser()
			st.wantRefusal(b.get(b.authorize(b.begin("x1"))), c.status, c.code)
			if !strings.Contains(st.logged(), c.logged) {
				t.Errorf("the log lacks the cause: %s", st.logged())
			}
		})
	}
}

// Fly.io does not answer in time. synctest also checks that every goroutine ends.
func TestFlyIsSlow(t *testing.T) {
	t.Parallel()
	wait := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for name, fail := range map[string]func(*ssoTest){
		"at token": func(st *ssoTest) { st.fly.token = wait },
		"at info":  func(st *ssoTest) { st.fly.info = wait },
		"a body that never ends": func(st *ssoTest) {
			st.world["api.fly.io"] = st.fly
			st.fly.token = func(w http.ResponseWriter, r *http.Request) {
				answerJSON(w, 200, `{"access_token":`)
				<-r.Context().Done()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newSSOTest(t, func(s *flyext.SSOConfig) { s.Timeout = 3 * time.Second })
				fail(st)
				b := st.browser()
				callback := b.authorize(b.begin("x1"))
				start := time.Now()
				st.wantRefusal(b.get(callback), http.StatusGatewayTimeout, flyext.CodeFlyTimeout)
				if took := time.Since(start); took != 3*time.Second {
					t.Errorf("took %v, want 3s", took)
				}
				if !strings.Contains(st.logged(), context.DeadlineExceeded.Error()) {
					t.Errorf("the log lacks the cause: %s", st.logged())
				}
			})
		})
	}
}

// The body arrives byte by byte over a connection that stays open.
func TestFlyTrickles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		closed := false
		st := newSSOTest(t, func(s *flyext.SSOConfig) {
			s.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Request: r, Body: &trickle{r.Context(), &closed}}, nil
			})}
		})
		b := st.browser()
		st.wantRefusal(b.get(b.authorize(b.begin("x1"))), http.StatusGatewayTimeout, flyext.CodeFlyTimeout)
		if !closed {
			t.Error("the body is still open")
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type trickle struct {
	ctx    context.Context
	closed *bool
}

func (b *trickle) Read(p []byte) (int, error) {
	select {
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	}
}

func (b *trickle) Close() error {
	*b.closed = true
	return nil
}
