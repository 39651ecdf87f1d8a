package flyext

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
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

// A lockTable has a lock for each id in use. The calls that wait for a lock get it in the
// order in which they came.
type lockTable struct {
	mu    sync.Mutex
	locks map[string][]chan struct{} // the waiting calls by id; no entry for a free lock
}

// lock waits for the lock of an id, or for the context to end. It takes a free lock even
// if the context has ended.
func (t *lockTable) lock(ctx context.Context, id string) error {
	turn := t.enqueue(id)
	if turn == nil {
		return nil
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.locks[id], turn)
	if i < 0 { // unlock passed the lock on at the same moment
		return nil
	}
	t.locks[id] = slices.Delete(t.locks[id], i, i+1)
	return ctx.Err()
}

// enqueue takes a free lock and returns nil, or returns a channel that is closed when it
// is the caller's turn.
func (t *lockTable) enqueue(id string) (turn chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.locks == nil {
		t.locks = make(map[string][]chan struct{})
	}
	waiting, held := t.locks[id]
	if held {
		turn = make(chan struct{})
		waiting = append(waiting, turn)
	}
	t.locks[id] = waiting
	return turn
}

// unlock passes the lock on to the call that has waited longest.
func (t *lockTable) unlock(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := t.locks[id]
	if len(waiting) == 0 {
		delete(t.locks, id)
		return
	}
	close(waiting[0])
	t.locks[id] = waiting[1:]
}
