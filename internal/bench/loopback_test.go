package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
)

// connections is the number of keep-alive connections, each with one request at a
// time.
const connections = 16

func BenchmarkLoopback(b *testing.B) {
	b.Run("floor", func(b *testing.B) { loopback(b, newBareHandler(), newBatch(0).wire) })
	b.Run("flyext", func(b *testing.B) {
		requests := newBatch(0)
		loopback(b, newProvider(b, requests.clock), requests.wire)
	})
	b.Run("brokerapi", func(b *testing.B) {
		r, body := brokerRequest(secret)
		loopback(b, newBroker(), func() []byte { return wire(r, body) })
	})
}

// loopback sends requests through net/http over 127.0.0.1. The requests are
// prepared before the timer starts. The client does as little as possible, because
// it uses the same cores.
func loopback(b *testing.B, h http.Handler, next func() []byte) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	var ended sync.WaitGroup
	ended.Go(func() { _ = server.Serve(l) })
	b.Cleanup(func() { server.Close(); ended.Wait() })

	clients := make([]*client, connections)
	for i := range clients {
		if clients[i], err = dial(l.Addr().String()); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { clients[i].conn.Close() })
		// The first response sets the length of the others.
		if err := clients[i].learn(next()); err != nil {
			b.Fatal(err)
		}
		clients[i].prepare(next, (b.N+connections-1)/connections)
	}
	errs := make(chan error, connections)
	b.ReportAllocs()
	b.ResetTimer()
	for _, c := range clients {
		go func() { errs <- c.send() }()
	}
	for range clients {
		err = errors.Join(err, <-errs)
	}
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
}

// wire returns a new genuine request in wire format.
func (b *batch) wire() []byte {
	body := provisionBody(provisionSize)
	return wire(xRequest(body, b.signer.xSign(body, b.now)), body)
}

func wire(r *http.Request, body []byte) []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Host)
	r.Header.Write(&text)
	text.WriteString("\r\n")
	text.Write(body)
	return text.Bytes()
}

// A client sends prepared requests over one connection. All responses must have the
// same length.
type client struct {
	conn     net.Conn
	requests []byte // concatenated, all of the same length
	size     int    // of a request
	answer   []byte
}

func dial(address string) (*client, error) {
	conn, err := net.Dial("tcp", address)
	return &client{conn: conn}, err
}

var answered = []byte("HTTP/1.1 20") // 200, or brokerapi's 201

func (c *client) learn(request []byte) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	n := 0
	for {
		m, err := c.conn.Read(buf[n:])
		if err != nil {
			return err
		}
		n += m
		head, body, ok := bytes.Cut(buf[:n], []byte("\r\n\r\n"))
		if !ok {
			continue
		}
		_, rest, _ := bytes.Cut(head, []byte("Content-Length: "))
		length, _, _ := bytes.Cut(rest, []byte("\r\n"))
		if want, err := strconv.Atoi(string(length)); err != nil || len(body) > want {
			return fmt.Errorf("the response has no valid Content-Length: %q", buf[:n])
		} else if len(body) < want {
			continue
		}
		c.answer = buf[:n]
		return c.check(n)
	}
}

// check returns an error if the first n bytes of a response are not those of a
// success. It avoids waiting for a refusal to reach the length of a success.
func (c *client) check(n int) error {
	if n >= len(answered) && !bytes.HasPrefix(c.answer[:n], answered) {
		return fmt.Errorf("unexpected response %.60q", c.answer[:n])
	}
	return nil
}

func (c *client) receive() error {
	for n := 0; n < len(c.answer); {
		m, err := c.conn.Read(c.answer[n:])
		if n += m; err != nil {
			return err
		}
		if err := c.check(n); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) prepare(next func() []byte, n int) {
	for range n {
		request := next()
		if c.requests == nil {
			c.size = len(request)
			c.requests = make([]byte, 0, n*c.size)
		}
		c.requests = append(c.requests, request...)
	}
}

// send sends the prepared requests, each after the response to the previous one.
func (c *client) send() error {
	for i := 0; i < len(c.requests); i += c.size {
		if _, err := c.conn.Write(c.requests[i : i+c.size]); err != nil {
			return err
		}
		if err := c.receive(); err != nil {
			return err
		}
	}
	return nil
}
