package flytest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

var connectionChecks = []check{
	{Requirement{
		ID: "kept-connection", Group: groupErrors,
		Text:   "The body of a refused request is never read as a request",
		Source: sourceDecisions,
		Fix:    `Read the body before you refuse a request, or answer with "Connection: close". Clients of a proxy share connections to your provider: an attacker's unread body would become another client's request.`,
	}, checkKeptConnection},
}

// checkKeptConnection sends a request with a body that the provider must refuse, and
// then a genuine request on the same connection.
func checkKeptConnection(ctx context.Context, s *subject) error {
	dial, err := s.dialer()
	if err != nil {
		return err
	}
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	order := []byte(`{"id":"flytest-refused","name":"flytest-refused","organization_id":"` + ownOrganization + `"}`)
	for _, refused := range []struct{ method, path string }{
		{http.MethodPost, "/extensions"}, {http.MethodGet, x.path()}, {http.MethodDelete, x.path()},
	} {
		first, err := s.unsigned(ctx, refused.method, refused.path, order)
		if err != nil {
			return err
		}
		second, err := s.orderRequest(ctx)
		if err != nil {
			return err
		}
		if err := s.sendBoth(ctx, dial, first, second); err != nil {
			return err
		}
	}
	return nil
}

// sendBoth sends two requests on one connection. The second must succeed, unless the
// answer to the first closes the connection.
func (s *subject) sendBoth(ctx context.Context, dial dialFunc, first, second *http.Request) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	conn, err := dial(ctx, first.URL)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	answers := bufio.NewReader(conn)
	e, err := s.exchangeOn(conn, answers, first)
	if err != nil {
		return err
	}
	if err := refused(e, "an unsigned request"); err != nil {
		return skipFailure(err, notRefused) // the check "unsigned" reports it
	}
	if e.Response.Close {
		return nil
	}
	want := fmt.Sprintf("2xx for a genuine POST on the connection of a refused %s with a body", first.Method)
	if e, err = s.exchangeOn(conn, answers, second); err != nil {
		return &failure{want, "a broken connection: " + err.Error()}
	}
	if e.Response.StatusCode/100 != 2 {
		return &failure{want, describe(e)}
	}
	return nil
}

// exchangeOn sends a request on a connection and reads the answer.
func (s *subject) exchangeOn(conn net.Conn, answers *bufio.Reader, r *http.Request) (Exchange, error) {
	body, err := bodyOf(r)
	if err != nil {
		return Exchange{}, err
	}
	e := Exchange{Request: r, RequestBody: body, SignatureBase: SignatureBase(r)}
	start := time.Now()
	if err = r.Write(conn); err == nil {
		e.Response, err = http.ReadResponse(answers, r)
	}
	SetBody(r, body) // Write has consumed the body
	if err == nil {
		e.ResponseBody, err = io.ReadAll(io.LimitReader(e.Response.Body, maxAnswer))
		e.Response.Body.Close()
	}
	e.Duration = time.Since(start)
	if err != nil {
		e.Response, e.ResponseBody = nil, nil
	}
	s.observe(e)
	return e, err
}

// A dialFunc connects to the host of a URL.
type dialFunc func(ctx context.Context, u *url.URL) (net.Conn, error)

// dialer returns a function that connects as the run's client does. It returns a *skip
// if the client's transport is not an *http.Transport, makes its own TLS connections,
// or uses a proxy.
func (s *subject) dialer() (dialFunc, error) {
	transport := http.DefaultTransport
	if s.Client != nil && s.Client.Transport != nil {
		transport = s.Client.Transport
	}
	t, ok := transport.(*http.Transport)
	if !ok || t.DialTLSContext != nil {
		return nil, &skip{"the client's transport does not give access to its connections; use an *http.Transport"}
	}
	r := &http.Request{URL: s.baseURL()}
	if t.Proxy != nil {
		if proxy, err := t.Proxy(r); err != nil || proxy != nil {
			return nil, &skip{"the client uses a proxy; use a direct connection"}
		}
	}
	return func(ctx context.Context, u *url.URL) (net.Conn, error) { return dialURL(ctx, t, u) }, nil
}

// dialURL connects to the host of a URL. It uses the dialer and the TLS configuration
// of a transport.
func dialURL(ctx context.Context, t *http.Transport, u *url.URL) (net.Conn, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	dial := t.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil || u.Scheme != "https" {
		return conn, err
	}
	config := &tls.Config{}
	if t.TLSClientConfig != nil {
		config = t.TLSClientConfig.Clone()
	}
	config.NextProtos = []string{"http/1.1"}
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secured, nil
}

func (r *conformanceRun) baseURL() *url.URL {
	base, _ := r.platform.base() // newConformanceRun has checked the URL
	u, _ := url.Parse(base)
	return u
}
