package flyext

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
)

// A record is what every log record of one request carries.
type record struct {
	log         *slog.Logger
	requestID   string
	method      string // one that the route has
	route       string
	extensionID string   // of an admitted request alone
	outcome     *Outcome // for Config.Observe; may be nil
}

func (rec *record) write(ctx context.Context, level slog.Level, message string, attrs ...slog.Attr) {
	if !rec.log.Enabled(ctx, level) {
		return
	}
	all := []slog.Attr{slog.String("request_id", rec.requestID)}
	for _, a := range [...]slog.Attr{
		slog.String("method", rec.method), slog.String("route", rec.route), slog.String("extension_id", rec.extensionID),
	} {
		if a.Value.String() != "" {
			all = append(all, a)
		}
	}
	rec.log.LogAttrs(ctx, level, message, append(all, attrs...)...)
}

// report logs all that is known of an error, and returns the answer to give.
func (rec *record) report(ctx context.Context, err error) Error {
	e := asError(err)
	level, message := slog.LevelWarn, "request refused"
	switch {
	case e.Status == http.StatusNotImplemented:
		level = slog.LevelDebug // a capability that the service does not offer
	case e.Status >= 500:
		level, message = slog.LevelError, "request failed"
	}
	p, _ := errors.AsType[*panicError](err)
	if rec.log.Enabled(ctx, level) {
		attrs := []slog.Attr{slog.Int("status", e.Status), slog.String("code", e.Code), slog.String("error", cause(err))}
		if p != nil {
			attrs = append(attrs, slog.String("stack", string(p.stack)))
		}
		rec.write(ctx, level, message, attrs...)
	}
	rec.observe(e.Code, err)
	return e
}

// observe notes an error for Config.Observe.
func (rec *record) observe(code string, err error) {
	o := rec.outcome
	if o == nil {
		return
	}
	o.Code, o.Err = code, err
	if p, ok := errors.AsType[*panicError](err); ok {
		o.Panic, o.Stack = p.value, p.stack
	}
}

// verified notes the result of an admission.
func (rec *record) verified(v Verification, err error) {
	o := rec.outcome
	switch {
	case o == nil:
	case err == nil:
		o.Generation, o.Verifier = v.Generation, v.Verifier
		if len(v.Nonces) > 0 {
			o.Replay = ReplayFresh
		}
	default:
		rec.unreplayable(err)
	}
}

// unreplayable notes why a replay store did not let a request pass, if it was that.
func (rec *record) unreplayable(err error) {
	o := rec.outcome
	switch {
	case o == nil:
	case errors.Is(err, ErrReplayed):
		o.Replay = ReplayRepeated
	case asError(err).Code == CodeReplayUnavailable:
		o.Replay = ReplayUnavailable
	}
}

// finish fills in the part of the outcome that the log has as well.
func (rec *record) finish() {
	if o := rec.outcome; o != nil {
		o.Route, o.Method, o.RequestID, o.ExtensionID = rec.route, rec.method, rec.requestID, rec.extensionID
	}
}

// refuse answers with an error.
func (rec *record) refuse(ctx context.Context, w http.ResponseWriter, err error) {
	e := rec.report(ctx, err)
	writeError(w, &e)
}

// cause is the part of an error that the record does not say already.
func cause(err error) string {
	if e, ok := err.(*Error); ok && e != nil && e.Err != nil {
		err = e.Err
	}
	return fmt.Sprint(err) // unlike Error, it survives a nil pointer that was returned as an error
}

// A panicError is a panic of code that the service brought along.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("flyext: panic: %v", e.value) }

// catch turns a panic of the service's code into an error. [http.ErrAbortHandler]
// passes, because net/http ends the connection for it.
func catch(do func() error) (err error) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			panic(v)
		default:
			err = &panicError{v, debug.Stack()}
		}
	}()
	return do()
}

// requestIDHeader carries the id of the request in the log.
const requestIDHeader = "X-Request-Id"

type requestIDKey struct{}

// RequestID returns the id of the request that a context belongs to, or "". The
// answer's X-Request-Id and every log record of the request carry it. The
// contexts that a [Provisioner] is called with have one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func withRequestID(ctx context.Context, h http.Header) (context.Context, string) {
	id := newRequestID()
	h.Set(requestIDHeader, id)
	return context.WithValue(ctx, requestIDKey{}, id), id
}

// newRequestID returns 128 random bits as text. A request id is not a secret, so
// the bits need not be crypto/rand's.
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
