package flyext

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// An Outcome describes one finished request for [Config.Observe]. It contains no secret
// and no unauthenticated text. Err, Panic and Stack may contain texts of the service's
// own code. Err may also contain names of the payload's members and the signed host.
type Outcome struct {
	// Route is the pattern of the route, such as "/extensions/{id}", relative to
	// [Config.BaseURL], or "" if no route matches.
	Route string
	// Method is the request's method, or "" if the route does not have it.
	Method string
	// Status is the HTTP status of the response, or 0 if there was no response. Code is
	// the response's error code, or "".
	Status int
	Code   string
	// RequestID is the id in the log and in the response's X-Request-Id.
	RequestID string
	// ExtensionID is the extension of an admitted and valid request or, in the sign-on,
	// an extension that [SSOConfig.OrganizationOf] knows. Otherwise it is "".
	ExtensionID string
	// Generation is the generation of the signature, or 0 if the request was not
	// admitted, and in the sign-on.
	Generation Generation
	// Verifier names the kind of signature, such as "x-signature" or
	// "message-signature", or is "" like Generation.
	Verifier string
	// Replay is the verdict of the replay store on the signature, or "" if there was none.
	// For an undated event that was delivered before, it is ReplayFresh.
	Replay ReplayVerdict
	// Duration is the time from the arrival to the end of the response.
	// ProvisionerDuration is the Provisioner's part of it, or 0 in the sign-on.
	Duration            time.Duration
	ProvisionerDuration time.Duration
	// Err is the reason for a refusal or failure, or nil. Use [errors.Is] with
	// [ErrStale] and the other reasons. It is [http.ErrAbortHandler] if the service's
	// code ended the connection with that panic.
	Err error
	// Panic is the value of a panic in the service's code, or nil. Stack is the stack
	// of that goroutine.
	Panic any
	Stack []byte
}

// A ReplayVerdict is the result of a [ReplayStore] in an [Outcome].
type ReplayVerdict string

// The verdicts of a [ReplayStore].
const (
	ReplayFresh       ReplayVerdict = "fresh"       // the request is new
	ReplayRepeated    ReplayVerdict = "replayed"    // the request was used before
	ReplayUnavailable ReplayVerdict = "unavailable" // the store failed
)

// observed serves a request and then calls Config.Observe.
func (p *Provider) observed(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec, writer := &record{log: p.log}, &statusWriter{ResponseWriter: w}
	defer func() {
		aborted := recover()
		rec.Duration, rec.Status = time.Since(start), writer.status
		rec.abort(aborted)
		p.callObserve(context.WithoutCancel(r.Context()), rec.Outcome)
		if aborted != nil {
			panic(aborted)
		}
	}()
	p.serve(writer, r, rec)
}

// abort records a panic that ends the connection. [http.ErrAbortHandler] does so on
// purpose and is not reported as a panic.
func (o *Outcome) abort(panicked any) {
	switch {
	case panicked == http.ErrAbortHandler && o.Err == nil:
		o.Err = http.ErrAbortHandler
	case panicked != nil && panicked != http.ErrAbortHandler:
		o.Panic, o.Stack = panicked, debug.Stack()
	}
}

// callObserve logs a panic of Config.Observe. The response is already written.
func (p *Provider) callObserve(ctx context.Context, o Outcome) {
	defer func() {
		if v := recover(); v != nil {
			p.log.LogAttrs(ctx, slog.LevelError, "Config.Observe panicked",
				slog.String("request_id", o.RequestID), slog.String("error", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
		}
	}()
	p.observe(ctx, o)
}

// A statusWriter keeps the status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets [http.ResponseController] reach the writer inside.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// serverWriter returns the writer of net/http. [http.MaxBytesReader] needs it to close
// the connection after a body that is too large.
func serverWriter(w http.ResponseWriter) http.ResponseWriter {
	if s, ok := w.(*statusWriter); ok {
		return s.ResponseWriter
	}
	return w
}
