package service

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
)

// runDemo serves with a random signing secret and runs the demo. With -once it
// returns after the demo. Otherwise it keeps serving until the context ends.
func runDemo(ctx context.Context, c config, out *page, stderr io.Writer) error {
	if c.db == "" && c.databaseURL == "" {
		dir, err := os.MkdirTemp("", "logjam-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		c.db = filepath.Join(dir, defaultDB)
	}
	c.signingSecrets = []string{rand.Text()}
	signOn, err := listenDemoSignOn(c.addr)
	if err != nil {
		return &startError{err}
	}
	defer signOn.listener.Close()
	signOn.register(&c)
	tap := &logTap{}
	log := slog.New(slog.NewTextHandler(tap, nil))
	s, err := newServer(ctx, c, log)
	if err != nil {
		return &startError{err}
	}
	defer signOn.serve(c, s.baseURL, log).Close()
	return s.serveDemo(ctx, newDemo(out, s.baseURL, c, tap), stderr)
}

// serveDemo runs the demo while it serves. After the demo, the log goes to stderr.
func (s *server) serveDemo(ctx context.Context, d *demo, stderr io.Writer) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.serve(serving) }()

	err := d.run(ctx)
	d.log.release(stderr)
	if ctx.Err() != nil {
		err = nil // the interrupt caused the error
	}
	if err != nil || d.once {
		stop()
	}
	if ended := <-ended; err == nil {
		err = ended
	}
	return err
}

// A logTap holds the log back during the demo, which quotes from it.
type logTap struct {
	mu   sync.Mutex
	held bytes.Buffer
	out  io.Writer // nil during the demo
}

// Write implements [io.Writer].
func (t *logTap) Write(record []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.out != nil {
		return t.out.Write(record)
	}
	return t.held.Write(record)
}

// take returns the records logged since the last call.
func (t *logTap) take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.held.Reset()
	return t.held.String()
}

// release writes the held records to out, and from now on every record.
func (t *logTap) release(out io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held.WriteTo(out)
	t.out = out
}
