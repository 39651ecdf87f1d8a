package flyext

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// A record is what every entry of the log about one request carries.
type record struct {
	log         *slog.Logger
	requestID   string
	method      string // one that the route has
	route       string
	extensionID string // of an admitted request alone
}

func (rec record) write(ctx context.Context, level slog.Level, message string, attrs ...slog.Attr) {
	if !rec.log.Enabled(ctx, level) {
		return
	}
	all := append(make([]slog.Attr, 0, 8), slog.String("request_id", rec.requestID))
	for _, a := range [...]slog.Attr{
		slog.String("method", rec.method), slog.String("route", rec.route), slog.String("extension_id", rec.extensionID),
	} {
		if a.Value.String() != "" {
			all = append(all, a)
		}
	}
	rec.log.LogAttrs(ctx, level, message, append(all, attrs...)...)
}

// report logs all that is known of an error, and returns what to answer.
func (rec record) report(ctx context.Context, err error) *Error {
	e := asError(err)
	level := slog.LevelWarn
	if e.Status >= 500 {
		level = slog.LevelError
	}
	rec.write(ctx, level, "request refused",
		slog.Int("status", e.Status), slog.String("code", e.Code), slog.String("error", cause(err)))
	return e
}

// refuse answers with an error.
func (rec record) refuse(ctx context.Context, w http.ResponseWriter, err error) {
	writeError(w, rec.report(ctx, err))
}

// cause is what the record does not say already.
func cause(err error) string {
	if e, ok := err.(*Error); ok && e != nil && e.Err != nil {
		err = e.Err
	}
	return fmt.Sprint(err) // which survives a nil pointer that was returned as an error
}

// catch turns a panic of what the service brought along into an error.
func (rec *record) catch(ctx context.Context, do func() error) (err error) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			panic(v)
		default:
			err = rec.panicked(ctx, v)
		}
	}()
	return do()
}

// panicked logs where a panic came from, and returns an error for it.
func (rec record) panicked(ctx context.Context, v any) error {
	rec.write(ctx, slog.LevelError, "panic", slog.String("stack", string(debug.Stack())))
	return fmt.Errorf("flyext: panicked: %v", v)
}

// A result is how a call ended.
type result struct {
	answer []byte
	err    error
	abort  bool // it panicked with http.ErrAbortHandler
}

// call runs an operation: under a deadline, whether the caller is still there
// or not, and never beside another one for the same id. A call that does not
// heed its context is answered for at the deadline, and keeps the id locked
// until it returns.
func (p *Provider) call(ctx context.Context, rec record, op operation) ([]byte, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.timeout)
	unlock := func() {}
	if op.id != "" { // or else it takes locks of its own
		var err error
		if unlock, err = p.locks.lock(ctx, op.id); err != nil {
			cancel()
			return nil, timedOut(fmt.Errorf("waiting for another call for this id: %w", err))
		}
	}
	results := make(chan result, 1)
	go func() {
		defer cancel()
		defer unlock()
		p.run(ctx, rec, op, start, results)
	}()
	select {
	case r := <-results:
		return r.end()
	case <-ctx.Done():
	}
	select {
	case r := <-results: // it ended just now: what it did is the answer
		return r.end()
	default:
		return nil, timedOut(errors.New("the Provisioner has not returned"))
	}
}

func (r result) end() ([]byte, error) {
	if r.abort {
		panic(http.ErrAbortHandler)
	}
	return r.answer, r.err
}

// run runs an operation and turns whatever happens, be it the end of its
// goroutine, into a result.
func (p *Provider) run(ctx context.Context, rec record, op operation, start time.Time, results chan<- result) {
	r := result{err: errors.New("flyext: the Provisioner ended its goroutine")}
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			r.abort = true
		default:
			r = result{err: rec.panicked(ctx, v)}
		}
		if took := time.Since(start); took > flyPatience {
			rec.write(ctx, slog.LevelWarn, "slow call", slog.Duration("duration", took))
		}
		results <- r
	}()
	r.answer, r.err = op.run(ctx)
	if _, ok := errors.AsType[*Error](r.err); !ok && errors.Is(r.err, context.DeadlineExceeded) {
		r.err = timedOut(r.err)
	}
}

func timedOut(cause error) error {
	return &Error{
		Status: http.StatusGatewayTimeout, Code: CodeTimeout,
		Message: "The provider did not answer in time. Try again.", Err: cause,
	}
}

// A lockTable has a lock for every id that is in use, and for no other.
type lockTable struct {
	mu    sync.Mutex
	locks map[string]*idLock
}

type idLock struct {
	held  chan struct{} // holds one element while locked
	users int           // holding or waiting
}

// lock waits for the lock of an id, or for the context to end.
func (t *lockTable) lock(ctx context.Context, id string) (unlock func(), err error) {
	t.mu.Lock()
	l := t.locks[id]
	if l == nil {
		if t.locks == nil {
			t.locks = make(map[string]*idLock)
		}
		l = &idLock{held: make(chan struct{}, 1)}
		t.locks[id] = l
	}
	l.users++
	t.mu.Unlock()

	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; t.leave(id, l) }, nil
	case <-ctx.Done():
		t.leave(id, l)
		return nil, ctx.Err()
	}
}

func (t *lockTable) leave(id string, l *idLock) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(t.locks, id)
	}
}
