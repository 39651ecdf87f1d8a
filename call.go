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

	"github.com/flyext/flyext/internal/handoff"
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
func (rec record) report(ctx context.Context, err error) Error {
	e := asError(err)
	level := slog.LevelWarn
	if e.Status >= 500 {
		level = slog.LevelError
	}
	if rec.log.Enabled(ctx, level) { // or else nobody reads what the cause is
		rec.write(ctx, level, "request refused",
			slog.Int("status", e.Status), slog.String("code", e.Code), slog.String("error", cause(err)))
	}
	return e
}

// refuse answers with an error.
func (rec record) refuse(ctx context.Context, w http.ResponseWriter, err error) {
	e := rec.report(ctx, err)
	writeError(w, &e)
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

// A call is one run of an operation.
type call struct {
	provider *Provider
	rec      record
	op       operation
	start    time.Time
	ctx      callContext

	extension *Extension
	err       error
	abort     bool // it panicked with http.ErrAbortHandler
}

// call runs an operation: under a deadline, whether the caller is still there
// or not, and never beside another one for the same id. A call that does not
// heed its context is answered for at the deadline, and keeps the id locked
// until it returns.
func (p *Provider) call(ctx context.Context, rec record, op operation) ([]byte, error) {
	c := &call{provider: p, rec: rec, op: op, start: time.Now()}
	c.ctx.Context, c.ctx.deadline = context.WithoutCancel(ctx), c.start.Add(p.timeout)
	timeout := p.timeout
	if op.id != "" && !p.locks.tryLock(op.id) { // without an id it takes locks of its own
		wait, cancel := context.WithDeadline(c.ctx.Context, c.ctx.deadline)
		defer cancel()
		if err := p.locks.lock(wait, op.id); err != nil {
			return nil, timedOut(fmt.Errorf("waiting for another call for this id: %w", err))
		}
		timeout = time.Until(c.ctx.deadline)
	}
	if !handoff.Do(timeout, c) {
		return nil, timedOut(errors.New("the Provisioner has not returned"))
	}
	// The lock is held until the answer is encoded, because the extension may be
	// one that the next call changes.
	defer c.release()
	if c.abort {
		panic(http.ErrAbortHandler)
	}
	if c.err != nil {
		return nil, c.err
	}
	return op.answer.encode(op.id, c.extension)
}

// release lets the next call for the id begin.
func (c *call) release() {
	if c.op.id != "" {
		c.provider.locks.unlock(c.op.id)
	}
	c.ctx.end(context.Canceled)
}

var errGoexit = errors.New("flyext: the Provisioner ended its goroutine")

// Run implements [handoff.Task]. It notes whatever happens, be it the end of the
// goroutine.
func (c *call) Run() {
	c.err = errGoexit
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			c.abort = true
		default:
			c.err = c.rec.panicked(&c.ctx, v)
		}
		if took := time.Since(c.start); took > flyPatience {
			c.rec.write(&c.ctx, slog.LevelWarn, "slow call", slog.Duration("duration", took))
		}
	}()
	c.extension, c.err = c.op.run(&c.ctx)
	if _, ok := errors.AsType[*Error](c.err); !ok && errors.Is(c.err, context.DeadlineExceeded) {
		c.err = timedOut(c.err)
	}
}

// TimeOut implements [handoff.Task].
func (c *call) TimeOut() { c.ctx.end(context.DeadlineExceeded) }

// Late implements [handoff.Task]: what came of the call is nobody's any more.
func (c *call) Late() { c.release() }

func timedOut(cause error) error {
	return &Error{
		Status: http.StatusGatewayTimeout, Code: CodeTimeout,
		Message: "The provider did not answer in time. Try again.", Err: cause,
	}
}

// A lockTable has a lock for every id that is in use, and for no other.
type lockTable struct {
	mu   sync.Mutex
	held map[string]*waiters // nil while nobody waits
}

// waiters are those who wait for a lock. Next holds one element while the lock
// is theirs, and none of them has taken it yet.
type waiters struct {
	count int
	next  chan struct{}
}

// tryLock takes the lock of an id if nobody has it.
func (t *lockTable) tryLock(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.take(id)
}

// take is tryLock under the table's own lock.
func (t *lockTable) take(id string) bool {
	if _, held := t.held[id]; held {
		return false
	}
	if t.held == nil {
		t.held = make(map[string]*waiters)
	}
	t.held[id] = nil
	return true
}

// lock waits for the lock of an id, or for the context to end.
func (t *lockTable) lock(ctx context.Context, id string) error {
	t.mu.Lock()
	if t.take(id) {
		t.mu.Unlock()
		return nil
	}
	w := t.held[id]
	if w == nil {
		w = &waiters{next: make(chan struct{}, 1)}
		t.held[id] = w
	}
	w.count++
	t.mu.Unlock()

	var err error
	select {
	case <-w.next:
	case <-ctx.Done():
		err = ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	w.count--
	if err != nil && w.count == 0 {
		select {
		case <-w.next: // it was passed on to nobody
			delete(t.held, id)
		default:
		}
	}
	return err
}

// unlock passes the lock of an id on to one of those who wait for it.
func (t *lockTable) unlock(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.held[id]; w != nil && w.count > 0 {
		w.next <- struct{}{}
		return
	}
	delete(t.held, id)
}
