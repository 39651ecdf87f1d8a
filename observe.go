package flyext

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// An Outcome describes one finished request, for metrics, traces and error
// reporters. See [Config.Observe]. It holds no payload, header value or secret, and
// no text of a stranger: ExtensionID is one that the service knows, and Method is
// one that the route has. Err and Panic are for the service's own eyes:
// their texts may come from the service's code.
type Outcome struct {
	// Route is the pattern of the route, such as "/extensions/{id}", relative to
	// [Config.BaseURL], or "" if no route matches.
	Route string
	// Method is the request's method, or "" if the route does not have it.
	Method string
	// Status is the HTTP status of the answer, or 0 if the connection ended without
	// one. Code is the answer's error code, or "".
	Status int
	Code   string
	// RequestID is the id that the log and the answer's X-Request-Id carry.
	RequestID string
	// ExtensionID is the extension of an admitted request or, in the sign-on, the
	// one that [SSOConfig.OrganizationOf] knows. Otherwise it is "".
	ExtensionID string
	// Generation is that of the signature, or 0 if the request was not admitted.
	Generation Generation
	// Verifier names the kind of signature, such as "x-signature" or
	// "message-signature", or is "" if the request was not admitted.
	Verifier string
	// Replay is the verdict of the replay store, or "" if it was not asked.
	Replay ReplayVerdict
	// Duration is the time from the arrival to the end of the answer, and
	// ProvisionerDuration the part that the Provisioner took. The sign-on has no
	// ProvisionerDuration.
	Duration            time.Duration
	ProvisionerDuration time.Duration
	// Err is the reason of a refusal or failure, or nil. Use [errors.Is] with
	// [ErrStale] and the other reasons. It is [http.ErrAbortHandler] if the service's
	// code ended the connection with that panic.
	Err error
	// Panic is the value that the service's code panicked with, or nil, and Stack
	// the stack of that goroutine.
	Panic any
	Stack []byte
}

// A ReplayVerdict is the answer of a [ReplayStore] in an [Outcome].
type ReplayVerdict string

// The verdicts.
const (
	ReplayFresh       ReplayVerdict = "fresh"       // the request came for the first time
	ReplayRepeated    ReplayVerdict = "replayed"    // the request was used before
	ReplayUnavailable ReplayVerdict = "unavailable" // the store could not tell
)

type outcomeKey struct{}

// outcomeOf returns the Outcome of the request that a context belongs to, or nil.
func outcomeOf(ctx context.Context) *Outcome {
	o, _ := ctx.Value(outcomeKey{}).(*Outcome)
	return o
}

// observed calls Config.Observe once the handler is done.
func (p *Provider) observed(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	var of struct { // in one allocation
		outcome Outcome
		writer  statusWriter
		record  record
	}
	of.writer.ResponseWriter, of.record = w, record{log: p.log, outcome: &of.outcome}
	defer func() {
		aborted := recover()
		of.outcome.Duration, of.outcome.Status = time.Since(start), of.writer.status
		of.outcome.abort(aborted)
		p.callObserve(context.WithoutCancel(r.Context()), of.outcome)
		if aborted != nil {
			panic(aborted)
		}
	}()
	p.serve(&of.writer, r, &of.record)
}

// abort notes a panic that ends the connection. [http.ErrAbortHandler] asks for
// that end, and is no fault to report.
func (o *Outcome) abort(panicked any) {
	switch {
	case panicked == http.ErrAbortHandler && o.Err == nil:
		o.Err = http.ErrAbortHandler
	case panicked != nil && panicked != http.ErrAbortHandler:
		o.Panic, o.Stack = panicked, debug.Stack()
	}
}

// callObserve logs each panic of Config.Observe, because the answer is written.
func (p *Provider) callObserve(ctx context.Context, o Outcome) {
	defer func() {
		if v := recover(); v != nil {
			p.log.LogAttrs(ctx, slog.LevelError, "Config.Observe panicked",
				slog.String("request_id", o.RequestID), slog.String("error", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
		}
	}()
	p.observe(ctx, o)
}

// A statusWriter keeps the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets [http.ResponseController] reach the writer inside.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// serverWriter returns the writer of net/http, which [http.MaxBytesReader] tells to
// close the connection after a body that is too large.
func serverWriter(w http.ResponseWriter) http.ResponseWriter {
	if s, ok := w.(*statusWriter); ok {
		return s.ResponseWriter
	}
	return w
}
