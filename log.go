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

// A record writes the log records of one request and collects its Outcome.
type record struct {
	log *slog.Logger
	Outcome
}

func (rec *record) write(ctx context.Context, level slog.Level, message string, attrs ...slog.Attr) {
	if !rec.log.Enabled(ctx, level) {
		return
	}
	all := []slog.Attr{slog.String("request_id", rec.RequestID)}
	for _, a := range [...]slog.Attr{
		slog.String("method", rec.Method), slog.String("route", rec.Route), slog.String("extension_id", rec.ExtensionID),
	} {
		if a.Value.String() != "" {
			all = append(all, a)
		}
	}
	rec.log.LogAttrs(ctx, level, message, append(all, attrs...)...)
}

// report logs an error, records it, and returns the response.
func (rec *record) report(ctx context.Context, err error) Error {
	e := asError(err)
	level, message := slog.LevelWarn, "request refused"
	switch {
	case e.Status == http.StatusNotImplemented:
		level = slog.LevelDebug // a missing capability is no fault
	case e.Status >= 500:
		level, message = slog.LevelError, "request failed"
	}
	rec.fail(e.Code, err)
	if rec.log.Enabled(ctx, level) {
		attrs := []slog.Attr{slog.Int("status", e.Status), slog.String("code", e.Code), slog.String("error", cause(err))}
		if rec.Panic != nil {
			attrs = append(attrs, slog.String("stack", string(rec.Stack)))
		}
		rec.write(ctx, level, message, attrs...)
	}
	return e
}

// fail records an error.
func (rec *record) fail(code string, err error) {
	rec.Code, rec.Err = code, err
	if p, ok := errors.AsType[*panicError](err); ok {
		rec.Panic, rec.Stack = p.value, p.stack
	}
}

// verified records the result of an admission.
func (rec *record) verified(v Verification, err error) {
	if err != nil {
		rec.unreplayable(err)
		return
	}
	rec.Generation, rec.Verifier = v.Generation, v.Verifier
	if len(v.Nonces) > 0 {
		rec.Replay = ReplayFresh
	}
}

// unreplayable records the verdict of the replay store, if err has one.
func (rec *record) unreplayable(err error) {
	e, _ := errors.AsType[*Error](err)
	switch {
	case errors.Is(err, ErrReplayed):
		rec.Replay = ReplayRepeated
	case e != nil && e.Code == CodeReplayUnavailable:
		rec.Replay = ReplayUnavailable
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
