package flyext

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// An Authenticator admits requests that Fly.io signed, once each. It is for signed
// routes of the service's own: use [Authenticator.Check] in a handler, or
// [Authenticator.Handler] around one. [Provider.Authenticator] returns the one of a
// provider. It is safe for concurrent use.
type Authenticator struct {
	base     *url.URL
	verifier Verifier
	replay   ReplayStore
	now      func() time.Time
	log      *slog.Logger
	maxBody  int64
}

// NewAuthenticator returns an authenticator for a configuration. It uses BaseURL,
// Verifier, ReplayStore, MaxBodyBytes, Now and Logger. It returns an error where
// [New] does.
func NewAuthenticator(c Config) (*Authenticator, error) {
	base, err := parseBaseURL(c.BaseURL)
	if err != nil {
		return nil, err
	}
	if c.Verifier == nil {
		return nil, errors.New("flyext: Config.Verifier is missing")
	}
	if err := checkVerifier(c.Verifier); err != nil {
		return nil, err
	}
	if c.MaxBodyBytes < 0 {
		return nil, errors.New("flyext: Config.MaxBodyBytes is negative")
	}
	a := &Authenticator{base: base, verifier: c.Verifier, replay: c.ReplayStore, now: c.Now, log: c.Logger, maxBody: c.MaxBodyBytes}
	if a.now == nil {
		a.now = time.Now
	}
	if a.replay == nil {
		a.replay = NewMemoryReplayStore(0, a.now)
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	if a.maxBody == 0 {
		a.maxBody = defaultMaxBodyBytes
	}
	return a, nil
}

// Check reads the whole body of the request and returns nil if the request is
// genuine, fresh, meant for this URL, and here for the first time. The body can be
// read again afterwards, also that of a request that was refused. Otherwise the
// error is an *[Error] with the answer to give: 401 (always the same one), 400, 413
// or 503. Its Err is for the log alone; [errors.Is] finds [ErrStale] and the other
// reasons in it.
//
// A request can be checked once: the second time it is a replay.
func (a *Authenticator) Check(r *http.Request) error {
	_, err := a.check(nil, r)
	return err
}

// check reads, admits, and makes the body readable again.
func (a *Authenticator) check(w http.ResponseWriter, r *http.Request) (Verification, error) {
	m, err := a.read(w, r)
	if err != nil {
		return Verification{}, err
	}
	if len(m.Body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(m.Body))
	}
	return a.admit(r.Context(), m)
}

// Handler returns a handler that passes genuine requests on to next, body
// intact, and answers all others itself. [VerificationOf] gives next the result of
// the verification, and so the shape of the answer.
func (a *Authenticator) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, id := withRequestID(r.Context(), w.Header())
		r = r.WithContext(ctx)
		var v Verification
		err := catch(func() (err error) {
			v, err = a.check(w, r)
			return err
		})
		if err != nil {
			rec := record{log: a.log, requestID: id}
			rec.refuse(ctx, w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, verificationKey{}, v)))
	})
}

type verificationKey struct{}

// VerificationOf returns the result that the [Authenticator.Handler] around a
// handler had for a request, given the request's context. Without one it is the
// zero Verification.
func VerificationOf(ctx context.Context) Verification {
	v, _ := ctx.Value(verificationKey{}).(Verification)
	return v
}

// read reads the body, and returns the request as a Verifier sees it.
func (a *Authenticator) read(w http.ResponseWriter, r *http.Request) (*Message, error) {
	body, err := readBody(w, r, a.maxBody)
	if err != nil {
		return nil, err
	}
	return &Message{
		Method: r.Method, Target: requestTarget(r), Host: r.Host, Header: r.Header, Body: body,
		BaseURL: a.base, Now: a.now(),
	}, nil
}

// admit verifies a message and uses its nonces up, in that order: only a genuine
// message can use a nonce up.
func (a *Authenticator) admit(ctx context.Context, m *Message) (Verification, error) {
	v, err := a.verifier.Verify(ctx, m)
	if err != nil {
		return Verification{}, unauthenticated(err)
	}
	for _, n := range v.Nonces {
		if n.OnReceipt && m.isEvent {
			continue // it is used up when the event was received
		}
		switch fresh, err := a.replay.Use(ctx, n); {
		case err != nil:
			return Verification{}, replayUnavailable(err)
		case !fresh:
			return Verification{}, unauthenticated(ErrReplayed)
		}
	}
	return v, nil
}

// unauthenticated is the one answer to a sender that is not proven to be Fly.io. The
// *Error of a verifier goes through: it answers a sender that knows the secret.
func unauthenticated(reason error) error {
	if e, ok := errors.AsType[*Error](reason); ok && e != nil {
		return e
	}
	return &Error{
		Status: http.StatusUnauthorized, Code: CodeUnauthenticated,
		Message: unauthenticatedMessage, Err: reason,
	}
}
