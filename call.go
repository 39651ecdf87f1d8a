package flyext

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// call runs an operation with a deadline that does not depend on the client, one
// operation at a time for each id. It holds the lock until the response is encoded,
// because the next call may change the same extension.
func (p *Provider) call(ctx context.Context, rec *record, op operation) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.timeout)
	defer cancel()
	arrived := time.Now()
	if op.id != "" { // events have their own locks
		if err := p.locks.lock(ctx, op.id); err != nil {
			return nil, timedOut(fmt.Errorf("waiting for another call for this id: %w", err))
		}
		defer p.locks.unlock(op.id)
	}
	var answer []byte
	start := time.Now()
	err := catch(func() (err error) {
		answer, err = op.run(ctx)
		return err
	})
	end := time.Now()
	if rec.outcome != nil {
		rec.outcome.ProvisionerDuration = end.Sub(start)
	}
	if took := end.Sub(arrived); took > flyPatience { // includes the wait for the lock, as Fly.io waits then, too
		rec.write(ctx, slog.LevelWarn, "slow call", slog.Duration("duration", took))
	}
	if _, ok := errors.AsType[*Error](err); !ok && errors.Is(err, context.DeadlineExceeded) {
		return nil, timedOut(err)
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

func timedOut(cause error) error {
	return &Error{
		Status: http.StatusGatewayTimeout, Code: CodeTimeout,
		Message: "The provider did not answer in time. Try again.", Err: cause,
	}
}

// A lockTable has a lock for each id in use.
type lockTable struct {
	mu    sync.Mutex
	locks map[string]*idLock
}

// An idLock is held while its channel is full.
type idLock struct {
	held  chan struct{}
	users int // the holder and the waiting calls
}

// lock waits for the lock of an id, or for the context to end.
func (t *lockTable) lock(ctx context.Context, id string) error {
	t.mu.Lock()
	if t.locks == nil {
		t.locks = make(map[string]*idLock)
	}
	l := t.locks[id]
	if l == nil {
		l = &idLock{held: make(chan struct{}, 1)}
		t.locks[id] = l
	}
	l.users++
	t.mu.Unlock()
	select {
	case l.held <- struct{}{}: // a free lock is taken even if the context has ended
		return nil
	default:
	}
	select {
	case l.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		t.leave(id, l)
		return ctx.Err()
	}
}

// unlock passes the lock of an id on to a waiting call, if there is one.
func (t *lockTable) unlock(id string) {
	t.mu.Lock()
	l := t.locks[id]
	t.mu.Unlock()
	<-l.held
	t.leave(id, l)
}

func (t *lockTable) leave(id string, l *idLock) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(t.locks, id)
	}
}
