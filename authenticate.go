package flyext

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/flyext/flyext/internal/body"
)

// An Authenticator admits requests that Fly.io signed, once each. [Provider]
// has one inside; a service that keeps handlers of its own uses one directly:
// [Authenticator.Check] in a handler, or [Authenticator.Handler] around one.
// It is safe for concurrent use.
type Authenticator struct {
	base     *url.URL
	verifier Verifier
	replay   ReplayStore
	now      func() time.Time
	log      *slog.Logger
	maxBody  int64
	clock    *clockGuard
	reuses   bool // the memory of a message
}

// NewAuthenticator returns an authenticator for a configuration, of which it
// uses BaseURL, Verifier, ReplayStore, MaxBodyBytes, Now and Logger. It fails
// where [New] would.
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
		base: base, verifier: c.Verifier, replay: c.ReplayStore, now: c.Now, log: c.Logger, maxBody: c.MaxBodyBytes,
		reuses: forgets(c.Verifier),
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.clock = newClockGuard(a.now())
	if a.replay == nil {
		a.replay = NewMemoryReplayStore(0, a.now)
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.maxBody == 0 {
		a.maxBody = defaultMaxBodyBytes
	}
	return a, nil
}

func parseBaseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("flyext: Config.BaseURL: %w", err)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return nil, errors.New("flyext: Config.BaseURL is no http or https URL with a host")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("flyext: Config.BaseURL has a user, a query or a fragment")
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	return u.Parse(u.Scheme + "://" + u.Host + path)
}

// Check reads the request's body, whole, and returns nil if the request is
// genuine, fresh, meant for this URL, and here for the first time. The body is
// then there to be read again, intact, and so is that of a request that was
// refused once it was read. Otherwise the error is an *[Error] with the answer
// to give: 401 (always the same one), 400, 413 or 503; its Err is for the log
// alone.
//
// A request can be checked once: the second time it is a replay.
func (a *Authenticator) Check(r *http.Request) error {
	in := a.take(true)
	defer a.release(in)
	_, err := a.admit(nil, r, in)
	putBack(r, in.message.Body) // be it refused: the service may know another way to verify it
	return err
}

// putBack makes a body that was read readable again.
func putBack(r *http.Request, text []byte) {
	if len(text) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(text))
	}
}

// take returns memory for a request, and release lets it be used again, if nobody
// can have kept any of it. A lasting body is none of that memory.
func (a *Authenticator) take(lasting bool) *intake {
	if !a.reuses {
		return &intake{lasting: lasting}
	}
	in := intakes.Get().(*intake)
	in.lasting = lasting
	return in
}

func (a *Authenticator) release(in *intake) {
	if a.reuses {
		in.release()
	}
}

// Handler returns a handler that passes genuine requests on to next, body
// intact, and answers all others itself. [VerificationOf] tells next what was
// found out, and so in which shape to answer.
func (a *Authenticator) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, id := withRequestID(r.Context(), w.Header())
		r = r.WithContext(ctx)
		var v Verification
		log := record{log: a.log, requestID: id}
		err := log.catch(ctx, func() (err error) {
			in := a.take(true)
			defer a.release(in)
			if v, err = a.admit(w, r, in); err == nil {
				putBack(r, in.message.Body)
			}
			return err
		})
		if err != nil {
			log.refuse(ctx, w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, verificationKey{}, v)))
	})
}

type verificationKey struct{}

// VerificationOf returns what the [Authenticator.Handler] around a handler found
// out about its request, given the request's context. Without one it is the zero
// Verification.
func VerificationOf(ctx context.Context) Verification {
	v, _ := ctx.Value(verificationKey{}).(Verification)
	return v
}

// admit does all of Check, and returns what it found out. What it read is in the
// intake, be it refused.
func (a *Authenticator) admit(w http.ResponseWriter, r *http.Request, in *intake) (Verification, error) {
	text, err := readBody(w, r, a.maxBody, in)
	if err != nil {
		return Verification{}, err
	}
	m := &in.message
	*m = Message{
		Method: r.Method, Target: requestTarget(r), Host: r.Host, Header: r.Header, Body: text,
		BaseURL: a.base, Now: a.now(), intake: in,
	}
	came := a.clock.at(m.Now)
	v, err := a.verifier.Verify(r.Context(), m)
	if err != nil {
		return Verification{}, unauthenticated(err)
	}
	if len(v.Nonces) == 0 {
		return v, nil
	}
	if a.clock.blind(came) {
		return Verification{}, replayUnavailable(errClockSetBack)
	}
	for _, n := range v.Nonces {
		switch fresh, err := a.replay.Use(r.Context(), n); {
		case err != nil:
			return Verification{}, replayUnavailable(err)
		case !fresh:
			return Verification{}, unauthenticated(errReplay)
		}
	}
	if !a.clock.admit(came, v.Nonces) {
		return Verification{}, replayUnavailable(errClockSetBack)
	}
	return v, nil
}

var errReplay = errors.New("message was used before")

func replayUnavailable(err error) error {
	return &Error{
		Status: http.StatusServiceUnavailable, Code: CodeReplayUnavailable,
		Message: "Try again in a moment.", Err: err,
	}
}

// unauthenticated is the one answer to whoever could not prove to be Fly.io. A
// verifier's own *Error goes through: it answers a sender who did.
func unauthenticated(reason error) error {
	if e, ok := errors.AsType[*Error](reason); ok && e != nil {
		return e
	}
	return &Error{
		Status: http.StatusUnauthorized, Code: CodeUnauthenticated,
		Message: unauthenticatedMessage, Err: reason,
	}
}

// requestTarget is the target of the request line, in origin form. Routers and
// http.StripPrefix change r.URL, never this. A target in absolute form, which a
// server must accept as well (RFC 9112, section 3.2.2), loses its authority:
// net/http has made that r.Host.
func requestTarget(r *http.Request) string {
	target := r.RequestURI
	if target == "" { // a request made by hand
		return r.URL.RequestURI()
	}
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return target
	}
	i := strings.IndexAny(rest, "/?")
	switch {
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	}
	return rest[i:]
}

const defaultMaxBodyBytes = 1 << 20

// readBody reads the body once, whole and bounded, into the room that there is
// unless it is to stay.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, in *intake) ([]byte, error) {
	var room []byte
	if !in.lasting {
		room = in.room
	}
	text, err := body.Read(w, r, limit, room)
	switch {
	case errors.Is(err, body.ErrTooLarge):
		return nil, tooLarge(limit)
	case err != nil:
		in.room = nil // a reader that gave up may not be done with it
		return nil, &Error{
			Status: http.StatusBadRequest, Code: CodeIncompleteBody,
			Message: "The body ended before it was complete.", Err: err,
		}
	}
	return text, nil
}

func tooLarge(limit int64) error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Code: CodeBodyTooLarge,
		Message: fmt.Sprintf("The body is larger than %d bytes.", limit),
	}
}

// requestIDHeader carries the id under which the log has the request.
const requestIDHeader = "X-Request-Id"

type requestIDKey struct{}

// RequestID returns the id of the request that a context belongs to, which
// every record of the log and the answer's X-Request-Id carry, or "". The
// contexts that a [Provisioner] is called with have one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// A requestContext is a context with the id of its request, which takes one
// allocation instead of three.
type requestContext struct {
	context.Context
	id    string
	field [1]string // the id as the answer's header field
}

// Value implements [context.Context].
func (c *requestContext) Value(key any) any {
	if key == (requestIDKey{}) {
		return c.id
	}
	return c.Context.Value(key)
}

func withRequestID(ctx context.Context, h http.Header) (context.Context, string) {
	id := newRequestID()
	c := &requestContext{ctx, id, [1]string{id}}
	h[requestIDHeader] = c.field[:]
	return c, id
}

// newRequestID returns 128 random bits as text. They are no secret, so they do
// not have to be crypto/rand's, which take three times as long.
func newRequestID() string {
	const digits = "0123456789abcdefghjkmnpqrstvwxyz"
	var id [26]byte
	a, b := rand.Uint64(), rand.Uint64()
	for i := 0; i < len(id); i += 2 {
		id[i], id[i+1] = digits[a%32], digits[b%32]
		a, b = a/32, b/32
	}
	return string(id[:])
}
