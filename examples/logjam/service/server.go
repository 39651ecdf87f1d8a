package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/flyext/flyext"
)

// messageKeyID is the key id of message signatures in Fly.io's first proposal.
const messageKeyID = "flyio-signing-secret"

// verifier accepts the X-Signature header that Fly.io sends today. If a bearer
// token is configured, verifier also accepts the bearer token together with a
// message signature, as Fly.io's first proposal describes.
func verifier(c config) flyext.Verifier {
	today := flyext.XSignature(c.signingSecrets...)
	if len(c.bearerTokens) == 0 {
		return today
	}
	var keys []flyext.Key
	for _, secret := range c.signingSecrets {
		keys = append(keys, flyext.Key{ID: messageKeyID, Secret: secret})
	}
	return flyext.AnyOf(today, flyext.AllOf(flyext.BearerToken(c.bearerTokens...), flyext.MessageSignature(keys...)))
}

// A server is a Logjam whose listener is open.
type server struct {
	http     *http.Server
	listener net.Listener
	logjam   *Logjam
	baseURL  string
	replay   replayMemory
}

// newServer opens the database and the listener. Configuration errors show here,
// before the first request.
func newServer(ctx context.Context, c config, log *slog.Logger) (_ *server, err error) {
	store, err := openStore(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	defer func() {
		if err != nil {
			store.close()
		}
	}()
	webhooks, err := newWebhooks(ctx, c, store, log)
	if err != nil {
		return nil, err
	}
	replay, err := openReplay(ctx, c, store, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			replay.close()
		}
	}()
	return openServer(c, &Logjam{store, webhooks}, replay, log)
}

// openServer opens the listener of a Logjam whose stores are open.
func openServer(c config, logjam *Logjam, replay replayMemory, log *slog.Logger) (*server, error) {
	listener, err := listen(c)
	if err != nil {
		return nil, err
	}
	if c.baseURL == "" {
		c.baseURL = localURL(c.addr, listener)
	}
	handler, err := routes(c, logjam, replay.ReplayStore, log)
	if err != nil {
		listener.Close()
		return nil, err
	}
	return &server{newHTTPServer(handler, log), listener, logjam, c.baseURL, replay}, nil
}

// routes returns the handler of the provider and, if configured, the dashboard.
func routes(c config, logjam *Logjam, replay flyext.ReplayStore, log *slog.Logger) (http.Handler, error) {
	base, err := url.Parse(c.baseURL)
	if err != nil {
		return nil, err
	}
	configuration := flyext.Config{
		BaseURL:     c.baseURL,
		Verifier:    verifier(c),
		ReplayStore: replay,
		Logger:      log,
	}
	dashboard := &dashboard{logjam: logjam, store: logjam.store, base: base, secure: base.Scheme == "https", now: time.Now, log: log}
	if c.hasDashboard() {
		configuration.SSO = dashboard.sso(c)
	}
	provider, err := flyext.New(logjam, configuration)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(base.JoinPath("/").Path, provider)
	if c.hasDashboard() {
		dashboard.serve(mux, provider.SignOn())
	}
	return mux, nil
}

// newHTTPServer returns a server whose limits keep slow clients from holding
// connections open. WriteTimeout is longer than the 25 seconds that flyext gives
// a Provisioner.
func newHTTPServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// listen listens on the configured address. Without one, it uses the default address
// or, if that is in use, any free port on loopback.
func listen(c config) (net.Listener, error) {
	if c.addr != "" {
		return net.Listen("tcp", c.addr)
	}
	listener, err := net.Listen("tcp", defaultAddr)
	if err != nil {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	return listener, err
}

// localURL returns the base URL for clients that connect to the listener directly.
func localURL(addr string, listener net.Listener) string {
	local := listener.Addr().(*net.TCPAddr)
	host := local.IP.String()
	if named, _, err := net.SplitHostPort(addr); err == nil {
		host = named
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(local.Port)) + "/flyio"
}

// shutdownPatience is longer than the slowest answer.
const shutdownPatience = 65 * time.Second

// serve answers requests and sends webhooks until the context ends. Then it
// finishes the requests and webhooks in flight.
func (s *server) serve(ctx context.Context) error {
	failed := make(chan error, 1)
	err := s.logjam.webhooks.start(ctx)
	if err == nil {
		go func() { failed <- s.http.Serve(s.listener) }()
		select {
		case err = <-failed:
		case <-ctx.Done():
		}
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownPatience)
	defer cancel()
	return errors.Join(err, s.http.Shutdown(patience), s.logjam.webhooks.stop(patience), s.replay.close(), s.logjam.store.close())
}
