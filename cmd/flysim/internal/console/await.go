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

// A waiting is an extension that is not ready. It is polled as flyctl does.
type waiting struct {
	x    *extension
	id   string
	stop chan struct{} // closed when the polling ends
	// created is the provision request. It is nil if the extension was ready
	// before: no customer waits at a terminal then.
	created *call
}

// startWaiting lets [Console.Run] poll an extension. The console is locked.
func (c *Console) startWaiting(x *extension, created *call) {
	x.waiting = &waiting{x: x, id: x.id, stop: make(chan struct{}), created: created}
	c.queue = append(c.queue, x.waiting)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// stopWaiting ends the polling of an extension that is polled. The console is
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

// Run polls the extensions that are not ready until ctx ends. It then ends the
// event streams of the pages, so that a server can shut down, and returns nil.
// Without Run nothing is polled. A second call returns an error.
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

// await polls like [flytest.Platform.Await], and shows each answer at once.
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

// polled stores the result of a poll, and reports whether to poll again.
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
		return false // stopped in the meantime
	}
	o := done.outcome(c.base)
	if done.err == nil {
		x.learn(done.answer, actionPoll)
		if w.created == nil && done.answer.Secrets != nil {
			x.secrets = done.answer.Secrets // flyctl keeps the secrets of the first answer
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

// terminal returns the text that flyctl has shown to the customer so far: the
// output of [flytest.Platform.Create] for the received answers. polled is the
// last answer to a GET, or nil before the first one.
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

// A replay is a transport that repeats recorded answers.
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
