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

// call runs a call of the service with a deadline that does not depend on the client, one
// at a time for each extension id. run also encodes the response while the lock is held,
// because the next call may change the same extension. id is "" for events and a list.
func (p *Provider) call(ctx context.Context, rec *record, id string, run func(context.Context) ([]byte, error)) ([]byte, error) {
	rec.ExtensionID = id
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.timeout)
	defer cancel()
	arrived := time.Now()
	if id != "" { // events have their own locks
		if err := p.locks.lock(ctx, id); err != nil {
			return nil, timedOut(fmt.Errorf("waiting for another call for this id: %w", err))
		}
		defer p.locks.unlock(id)
	}
	var answer []byte
	start := time.Now()
	err := catch(func() (err error) {
		answer, err = run(ctx)
		return err
	})
	end := time.Now()
	rec.ProvisionerDuration = end.Sub(start)
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
	locks map[string]chan struct{} // closed when the lock is free again
}

// lock waits for the lock of an id, or for the context to end. It takes a free lock even
// if the context has ended.
func (t *lockTable) lock(ctx context.Context, id string) error {
	for {
		held := t.tryLock(id)
		if held == nil {
			return nil
		}
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryLock takes a free lock, or returns the channel of a held one.
func (t *lockTable) tryLock(id string) (held chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if held, ok := t.locks[id]; ok {
		return held
	}
	if t.locks == nil {
		t.locks = make(map[string]chan struct{})
	}
	t.locks[id] = make(chan struct{})
	return nil
}

func (t *lockTable) unlock(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.locks[id])
	delete(t.locks, id)
}
