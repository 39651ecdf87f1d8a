package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/flyext/flyext/flytest"
)

// maxSlow is the maximum number of concurrent slow senders.
const maxSlow = 32

// sendSlowly starts a slow sender in the background, which sends a header or a body
// byte by byte and measures when the provider disconnects it. It does nothing if
// the run ends before the provider's timeout.
func (w *worker) sendSlowly(ctx context.Context) {
	what, limit := "header", w.headers
	left := time.Until(w.end) + w.patience/2
	if mathrand.N(2) == 0 && left > w.whole {
		what, limit = "body", w.whole
	}
	addr := w.machines[mathrand.N(len(w.machines))].addr()
	if addr == "" || left < limit {
		return
	}
	if w.slowNow.Add(1) > maxSlow {
		w.slowNow.Add(-1)
		return
	}
	w.slow.Go(func() {
		defer w.slowNow.Add(-1)
		w.trickle(ctx, addr, what, limit)
	})
}

// trickle sends one slow request.
func (w *worker) trickle(ctx context.Context, addr, what string, limit time.Duration) {
	// A separate platform, because the worker continues to use its own.
	fly := &flytest.Platform{BaseURL: w.baseURL, Signer: flytest.FormatXSignature.Signer(flytest.Credentials{SigningSecret: w.credentials.SigningSecret})}
	r, err := w.request(ctx, fly, 1<<10)
	if err != nil {
		w.violate(crashed, "bug in the load generator: %v", err)
		return
	}
	wire, err := written(r)
	if err != nil {
		w.violate(crashed, "bug in the load generator: %v", err)
		return
	}
	began := 20 // bytes sent immediately
	if what == "body" {
		began = bytes.Index(wire, []byte("\r\n\r\n")) + 5
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		w.refusedAs(slow, what, 0, err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(limit + w.patience))
	go drip(conn, wire, began) // ends with the connection
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	status := 0
	if err == nil {
		answer.Body.Close()
		status = answer.StatusCode
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		w.violate(held, "a slow %s was not disconnected after %v", what, limit)
	}
	w.refusedAs(slow, what, status, err)
}

// drip sends the beginning of a request immediately, and the rest byte by byte,
// except the last byte.
func drip(conn net.Conn, wire []byte, began int) {
	_, err := conn.Write(wire[:began])
	for i := began; err == nil && i < len(wire)-1; i++ {
		time.Sleep(200 * time.Millisecond)
		_, err = conn.Write(wire[i : i+1])
	}
}
