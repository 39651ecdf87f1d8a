package flyext

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// An Authenticator verifies requests that Fly.io signed and refuses replays. Use it for
// the service's own signed routes: call [Authenticator.Check] in a handler, or wrap a
// handler with [Authenticator.Handler]. [Provider.Authenticator] returns the
// authenticator of a provider. It is safe for concurrent use.
type Authenticator struct {
	base     *url.URL
	verifier Verifier
	replay   ReplayStore
	now      func() time.Time
	log      *slog.Logger
	maxBody  int64
}

// NewAuthenticator returns an authenticator that uses the fields BaseURL, Verifier,
// ReplayStore, MaxBodyBytes, Now and Logger. It returns an error if one of them is
// invalid, or if BaseURL or Verifier is missing. Without a ReplayStore, each
// authenticator has its own, so a request can be used once with each.
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
	a := &Authenticator{
		base: base, verifier: c.Verifier, replay: c.ReplayStore, now: clock(c.Now),
		log: cmp.Or(c.Logger, slog.Default()), maxBody: cmp.Or(c.MaxBodyBytes, defaultMaxBodyBytes),
	}
	if a.replay == nil {
		a.replay = NewMemoryReplayStore(0, a.now)
	}
	return a, nil
}

// clock returns the clock of a configuration.
func clock(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}

// Check reads the whole body and returns nil if the request is genuine, fresh, signed
// for this URL, and not a replay. The body can be read again afterwards, even after a
// refusal, unless reading it failed (400, 413). Check each request once: a second call
// reports a replay.
//
// The error is an *[Error] with the response to send: 400, 401 (always the same), 413
// or 503, or the *Error of the service's own Verifier. Its Err is for the log only; use
// [errors.Is] with [ErrStale] and the other reasons. Check itself logs nothing.
func (a *Authenticator) Check(r *http.Request) error {
	_, err := a.check(nil, r)
	return err
}

// check admits a request and makes its body readable again.
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

// Handler returns a handler that calls next for genuine requests, with the body intact,
// and responds to all others itself and logs them. In next, [VerificationOf] returns the
// verification, whose generation determines the format of the response.
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
			rec := record{log: a.log, Outcome: Outcome{RequestID: id}}
			rec.refuse(ctx, w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, verificationKey{}, v)))
	})
}

type verificationKey struct{}

// VerificationOf returns the result of [Authenticator.Handler] from the context of a
// request. It returns the zero Verification outside of such a handler.
func VerificationOf(ctx context.Context) Verification {
	v, _ := ctx.Value(verificationKey{}).(Verification)
	return v
}

// read reads the body and returns the Message for a Verifier.
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

// admit verifies a message and then enters its nonces. The nonces come last, so that
// only a genuine message can use up a nonce.
func (a *Authenticator) admit(ctx context.Context, m *Message) (Verification, error) {
	v, err := a.verifier.Verify(ctx, m)
	if err != nil {
		return Verification{}, unauthenticated(err)
	}
	for _, n := range v.Nonces {
		if n.OnReceipt && m.isEvent {
			continue // entered once the event was received
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

// unauthenticated returns the same 401 for every sender that is not proven to be
// Fly.io. An *Error of a verifier is returned unchanged; [Verifier] says when it is safe.
func unauthenticated(reason error) error {
	if e, ok := errors.AsType[*Error](reason); ok && e != nil {
		return e
	}
	return &Error{
		Status: http.StatusUnauthorized, Code: CodeUnauthenticated,
		Message: unauthenticatedMessage, Err: reason,
	}
}
