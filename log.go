package flyext

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
)

// A record has the attributes of every log record of one request.
type record struct {
	log         *slog.Logger
	requestID   string
	method      string // "" unless the route has the method
	route       string
	extensionID string   // "" unless the request was admitted
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

// report logs an error, notes it for Config.Observe, and returns the response.
func (rec *record) report(ctx context.Context, err error) Error {
	e := asError(err)
	level, message := slog.LevelWarn, "request refused"
	switch {
	case e.Status == http.StatusNotImplemented:
		level = slog.LevelDebug // a missing capability is no fault
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

// observe records an error for Config.Observe.
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

// verified records the result of an admission for Config.Observe.
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

// unreplayable records the verdict of the replay store for Config.Observe, if err has
// one.
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

// finish copies the attributes of the log to the outcome.
func (rec *record) finish() {
	if o := rec.outcome; o != nil {
		o.Route, o.Method, o.RequestID, o.ExtensionID = rec.route, rec.method, rec.requestID, rec.extensionID
	}
}

// refuse reports an error and writes the response.
func (rec *record) refuse(ctx context.Context, w http.ResponseWriter, err error) {
	e := rec.report(ctx, err)
	writeError(w, &e)
}

// cause returns the part of an error that the record does not have already.
func cause(err error) string {
	if e, ok := err.(*Error); ok && e != nil && e.Err != nil {
		err = e.Err
	}
	return fmt.Sprint(err) // err.Error() could panic at a nil pointer in the interface
}

// A panicError is a panic of the service's code.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("flyext: panic: %v", e.value) }

// catch turns a panic of the service's code into an error. It passes on
// [http.ErrAbortHandler], at which net/http ends the connection.
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

const requestIDHeader = "X-Request-Id"

type requestIDKey struct{}

// RequestID returns the id of the request from its context, or "". The id is in every
// log record of the request and in the response's X-Request-Id. The contexts of a
// [Provisioner], of the functions of [SSOConfig], and of the handler behind
// [Authenticator.Handler] have one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func withRequestID(ctx context.Context, h http.Header) (context.Context, string) {
	id := rand.Text()
	h.Set(requestIDHeader, id)
	return context.WithValue(ctx, requestIDKey{}, id), id
}
