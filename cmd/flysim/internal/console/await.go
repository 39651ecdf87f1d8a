package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A waiting is for an extension that is not ready, which is polled as flyctl
// does.
type waiting struct {
	x    *extension
	id   string
	stop chan struct{} // closed when the waiting ends
	// created is what the extension was provisioned with; nil where it was ready
	// once, and no customer waits at a terminal.
	created *call
}

// startWaiting has an extension polled by [Console.Run]. The console is locked.
func (c *Console) startWaiting(x *extension, created *call) {
	x.waiting = &waiting{x: x, id: x.id, stop: make(chan struct{}), created: created}
	c.queue = append(c.queue, x.waiting)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// stopWaiting ends the polling of an extension, if it is polled. The console is
// locked.
func (c *Console) stopWaiting(x *extension) {
	if x.waiting == nil {
		return
	}
	close(x.waiting.stop)
	for i, w := range c.queue {
		if w == x.waiting {
			c.queue = append(c.queue[:i:i], c.queue[i+1:]...)
			break
		}
	}
	x.waiting = nil
}

// Run polls the extensions that are not ready, until ctx ends; it then ends the
// pages' event streams, so that a server can shut down, and returns nil. Without
// it nothing is polled. It can run once; a second call is an error.
func (c *Console) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		return errors.New("console: Run was called before")
	}
	c.running = true
	c.mu.Unlock()
	defer close(c.stopped)

	var polling sync.WaitGroup
	defer polling.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		}
		c.mu.Lock()
		queue := c.queue
		c.queue = nil
		c.mu.Unlock()
		for _, w := range queue {
			polling.Go(func() { c.await(ctx, w) })
		}
	}
}

// await polls as [flytest.Platform.Await] does, and shows each answer as it
// comes.
func (c *Console) await(ctx context.Context, w *waiting) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-w.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for waited := time.Duration(0); ; waited += flytest.PollInterval {
		asked, end := context.WithTimeout(ctx, actionTimeout)
		done := c.do(actionPoll, func(p *flytest.Platform) (*flyext.Extension, error) { return p.Fetch(asked, w.id) })
		end()
		if ctx.Err() != nil || !c.polled(w, done, waited+flytest.PollInterval >= flytest.PollTimeout) {
			return
		}
		timer := time.NewTimer(flytest.PollInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// polled takes over what came of a poll, and says whether to go on.
func (c *Console) polled(w *waiting, done call, last bool) (more bool) {
	terminal := ""
	pending := done.err == nil && done.answer.Status != flyext.Ready && done.answer.Status != flyext.Failed
	if !pending || last {
		terminal = c.terminalAfter(w, done)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	x := w.x
	if x.waiting != w {
		return false // stopped meanwhile
	}
	o := done.outcome(c.base)
	if done.err == nil {
		x.learn(done.answer, actionPoll)
		if w.created == nil && done.answer.Secrets != nil {
			x.secrets = done.answer.Secrets // flyctl keeps the first answer's
		}
	}
	if pending && !last {
		c.add(x, actionPoll, done.wire, o)
		return true
	}
	if pending {
		x.state = stateFailed
		o = outcome{false, "flyctl gave up: not ready after " + flytest.PollTimeout.String(), "The status is still “" + clip(string(done.answer.Status), 60) + "”. Press Fetch to poll again."}
	}
	if w.created != nil {
		x.terminal = terminal
	}
	c.stopWaiting(x)
	c.add(x, actionPoll, done.wire, o)
	return false
}

func (c *Console) terminalAfter(w *waiting, done call) string {
	if w.created == nil {
		return ""
	}
	c.mu.Lock()
	request := w.x.request
	c.mu.Unlock()
	text, _ := c.terminal(request, *w.created, &done)
	return text
}

// terminal returns what flyctl's customer has read so far: what
// [flytest.Platform.Create] makes of the answers that came. polled is the last
// answer to a GET, or nil if there is none yet.
func (c *Console) terminal(request flyext.ProvisionRequest, provisioned call, polled *call) (text, warning string) {
	p := c.platform
	p.Observe = nil
	p.Client = &http.Client{Transport: replay{provisioned, polled}}
	p.Sleep = func(context.Context, time.Duration) error { return nil }
	creation, err := p.Create(context.Background(), request)
	if errors.Is(err, errStillWaiting) {
		return "Waiting for provisioning to complete …\n", creation.Warning
	}
	return creation.Terminal, creation.Warning
}

var errStillWaiting = errors.New("there is no answer yet")

// A replay answers with what was answered before.
type replay struct {
	provisioned call
	polled      *call
}

func (p replay) RoundTrip(r *http.Request) (*http.Response, error) {
	from := &p.provisioned
	if r.Method != http.MethodPost {
		if from = p.polled; from == nil {
			return nil, errStillWaiting
		}
	}
	if !from.answered() {
		if u, ok := errors.AsType[*url.Error](from.err); ok {
			return nil, u.Err
		}
		return nil, from.err
	}
	return &http.Response{
		Status: http.StatusText(from.wire.status), StatusCode: from.wire.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: from.wire.header.Clone(), Request: r,
		Body: io.NopCloser(bytes.NewReader(from.wire.answerBody)), ContentLength: int64(len(from.wire.answerBody)),
	}, nil
}
