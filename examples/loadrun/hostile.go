package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/flyext/flyext/flytest"
)

// A keepsake is what somebody captured who reads along: a genuine request that
// was admitted.
type keepsake struct {
	exchange flytest.Exchange
	addr     string // of the machine that admitted it
	callback bool   // it is a browser's, of the sign-on
}

// keepsakes are the last of them.
type keepsakes struct {
	mu   sync.Mutex
	last [512]keepsake
	n    int
}

func (k *keepsakes) add(one keepsake) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last[k.n%len(k.last)] = one
	k.n++
}

func (k *keepsakes) any() (keepsake, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n == 0 {
		return keepsake{}, false
	}
	return k.last[mathrand.N(min(k.n, len(k.last)))], true
}

// Kinds of hostile requests.
const (
	forged    = "forged"
	replayed  = "replayed"
	truncated = "truncated"
	oversized = "oversized"
	slow      = "slow"
	garbage   = "garbage"
)

var hostileKinds = []string{forged, replayed, truncated, oversized, slow, garbage}

// A deck is in what order hostile requests come, again and again. Those that cost
// little are many.
var deck = []string{
	forged, replayed, garbage, truncated, replayed, oversized, forged, replayed, slow, garbage,
	forged, replayed, truncated, replayed, forged, garbage, replayed, forged, replayed, forged,
}

// attack is one hostile request.
func (w *worker) attack(ctx context.Context) {
	switch deck[int(w.attacks.Add(1))%len(deck)] {
	case forged:
		w.forge(ctx)
	case replayed:
		w.replay(ctx)
	case truncated:
		w.truncate(ctx)
	case oversized:
		w.oversize(ctx)
	case slow:
		w.dawdle(ctx)
	case garbage:
		w.garble(ctx)
	}
}

// hostileID is never asked for: what is there under it in the end, somebody let in.
func hostileID() string { return "hostile-" + rand.Text() }

// request is a genuine request, to be spoilt: a provision under a hostile id.
func (w *worker) request(ctx context.Context, fly *flytest.Platform, padding int) (*http.Request, error) {
	body := fmt.Sprintf(`{"name":"x","id":%q,"organization_id":%q,"user_id":%q,"padding":%q}`,
		hostileID(), w.organization, customer, strings.Repeat("x", padding))
	return fly.NewRequest(ctx, http.MethodPost, "/extensions", []byte(body))
}

// send sends a request that is to be refused, over the worker's own connection.
func (w *worker) send(kind, what string, r *http.Request) {
	answer, err := w.client.Do(r)
	if err != nil {
		w.refusedAs(kind, what, 0, err)
		return
	}
	io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
	answer.Body.Close()
	w.refusedAs(kind, what, answer.StatusCode, nil)
}

// refusedAs enters how a hostile request ended: by a status, or without one.
func (w *worker) refusedAs(kind, what string, status int, err error) {
	switch {
	case status == 0 && (errors.Is(err, errDown) || isDial(err)):
		w.count(kind, outcomeDown)
		time.Sleep(50 * time.Millisecond)
	case status == 0:
		w.count(kind, outcomeCut)
	case status < 400:
		w.count(kind, outcomeAdmitted)
		w.violate(admitted, "%s (%s): answered with %d", kind, what, status)
	default:
		w.count(kind, fmt.Sprint(status))
	}
}

func isDial(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial"
}

// forge sends what is almost genuine.
func (w *worker) forge(ctx context.Context) {
	format := anyFormat(len(formats))
	fly := w.platform(format)
	ways := []string{"another secret", "a byte of the body", "stale", "from the future", "another URL", "no signature", "a made-up state"}
	if w.oauthURL == "" {
		ways = ways[:len(ways)-1]
	}
	what := ways[mathrand.N(len(ways))]
	switch what {
	case "another secret":
		fly.Signer = format.Signer(flytest.Credentials{SigningSecret: rand.Text(), BearerToken: w.credentials.BearerToken})
	case "stale":
		fly.Now = func() time.Time { return time.Now().Add(-6 * time.Minute) }
	case "from the future":
		fly.Now = func() time.Time { return time.Now().Add(2 * time.Minute) }
	}
	r, err := w.request(ctx, fly, 0)
	if err != nil {
		w.violate(crashed, "the load generator: %v", err)
		return
	}
	switch what {
	case "a byte of the body":
		body, _ := io.ReadAll(r.Body)
		body = bytes.Replace(body, []byte(`"name":"x"`), []byte(`"name":"y"`), 1)
		flytest.SetBody(r, body)
	case "another URL":
		r.URL.Path = strings.Replace(r.URL.Path, "/extensions", "/extensions/events", 1)
	case "no signature":
		for _, name := range []string{"X-Signature", "Signature", "Signature-Input"} {
			r.Header.Del(name)
		}
	case "a made-up state":
		state := "eyJhbGciOiJub25lIn0.eyJvcmciOiIxIiwiZ2VuIjoyfQ."
		r, _ = http.NewRequestWithContext(ctx, http.MethodGet, w.baseURL+"/callback?code="+rand.Text()+"&state="+state, nil)
	}
	w.send(forged, what+" as "+string(format), r)
}

// replay sends again, byte for byte, what was admitted: to any machine if they
// share what they remember, or else to the process that admitted it.
func (w *worker) replay(ctx context.Context) {
	kept, ok := w.keep.any()
	if !ok {
		return
	}
	addr, forgets := kept.addr, false
	if w.sharedReplays {
		addr = w.machines[mathrand.N(len(w.machines))].addr()
	} else if current := w.machines[0].addr(); current != addr && !kept.callback && kept.exchange.Request.Method == http.MethodGet {
		// A restart ago. That it is admitted is what the README says of a memory;
		// of what changes something the ledger would have to know it.
		addr, forgets = current, true
	}
	if addr == "" {
		w.refusedAs(replayed, "", 0, errDown)
		return
	}
	r := kept.exchange.Request.Clone(ctx)
	flytest.SetBody(r, kept.exchange.RequestBody)
	what := "again, " + r.Method
	switch {
	case kept.callback && mathrand.N(2) == 0:
		what = "a callback, in another browser"
		r.Header.Del("Cookie")
	case r.Method == http.MethodGet && r.Header.Get("X-Signature") != "" && !forgets && mathrand.N(2) == 0:
		what = "a GET as a DELETE" // which X-Signature does not tell apart
		r.Method = http.MethodDelete
	}
	once := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	answer, err := once.RoundTrip(r)
	if err != nil {
		w.refusedAs(replayed, what, 0, err)
		return
	}
	answer.Body.Close()
	if forgets && answer.StatusCode < 400 {
		w.count(replayed, outcomeForgot)
		return
	}
	w.refusedAs(replayed, what, answer.StatusCode, nil)
}

// raw sends bytes over a connection of their own, ends its side, and returns the
// status that was answered, or 0.
func (w *worker) raw(sent []byte) (status int, err error) {
	addr := w.machines[mathrand.N(len(w.machines))].addr()
	if addr == "" {
		return 0, errDown
	}
	conn, err := net.DialTimeout("tcp", addr, answerPatience)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(answerPatience))
	if _, err := conn.Write(sent); err != nil {
		return 0, err
	}
	conn.(*net.TCPConn).CloseWrite()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	answer.Body.Close()
	return answer.StatusCode, nil
}

// written is a request as it is on the wire.
func written(r *http.Request) ([]byte, error) {
	var wire bytes.Buffer
	err := r.Write(&wire)
	return wire.Bytes(), err
}

// truncate announces more than it sends.
func (w *worker) truncate(ctx context.Context) {
	r, err := w.request(ctx, w.platform(anyFormat(len(formats))), 0)
	if err != nil {
		w.violate(crashed, "the load generator: %v", err)
		return
	}
	wire, err := written(r)
	if err != nil {
		w.violate(crashed, "the load generator: %v", err)
		return
	}
	status, err := w.raw(wire[:len(wire)-1-mathrand.N(int(r.ContentLength))])
	w.refusedAs(truncated, "", status, err)
}

// oversize sends a body of more than 1 MiB, signed as it should be.
func (w *worker) oversize(ctx context.Context) {
	r, err := w.request(ctx, w.platform(anyFormat(len(formats))), 1<<20)
	if err != nil {
		w.violate(crashed, "the load generator: %v", err)
		return
	}
	if mathrand.N(2) == 0 { // announced, or not
		r.ContentLength = -1
	}
	w.send(oversized, "", r)
}

// garble sends what is hardly a request.
func (w *worker) garble(ctx context.Context) {
	if mathrand.N(3) == 0 {
		noise := make([]byte, 1+mathrand.N(4096))
		rand.Read(noise)
		if mathrand.N(2) == 0 {
			noise = append(noise, "\r\n\r\n"...)
		}
		status, err := w.raw(noise)
		w.refusedAs(garbage, "bytes", status, err)
		return
	}
	lines := garbageHeaders[mathrand.N(len(garbageHeaders))]
	status, err := w.raw([]byte("POST /flyio/extensions HTTP/1.1\r\nHost: 127.0.0.1:1\r\n" + lines + "\r\n\r\n{}"))
	w.refusedAs(garbage, fmt.Sprintf("%.60q", lines), status, err)
}

var garbageHeaders = []string{
	"Content-Length: 2\r\nX-Signature: " + strings.Repeat("g", 64),
	"Content-Length: 2\r\nX-Signature:",
	"Content-Length: 2\r\nX-Signature: 00\r\nX-Signature: 00",
	"Content-Length: 2\r\nX-Signature: " + strings.Repeat("0", 16<<10),
	"Content-Length: 2\r\nX-Signature: " + strings.Repeat("0", 200<<10),
	"Content-Length: 2\r\nSignature-Input: sig1=(\"@method\r\nSignature: sig1=:AAAA:",
	"Content-Length: 2\r\nSignature-Input: sig1=" + strings.Repeat("(", 5000) + "\r\nSignature: sig1=:AAAA:",
	"Content-Length: 2\r\nSignature: keyId=\"\",algorithm=\"none\",headers=\"\",signature=\"\"",
	"Content-Length: 2\r\nAuthorization: Bearer \xff\xfe",
	"Content-Length: 2\r\nAuthorization: Bearer \x00",
	"Content-Length: -1",
	"Content-Length: 2\r\nContent-Length: 3",
	"Content-Length: 2\r\nTransfer-Encoding: chunked",
	"Transfer-Encoding: chunked, identity",
	"Content-Length: 99999999999999999999",
	"Content-Length: 2\r\n: no name",
	"Content-Length: 2\r\n" + strings.Repeat("A: b\r\n", 5000) + "C: d",
}

// maxSlow bounds the senders that take their time, all at once.
const maxSlow = 32

// dawdle sends a header or a body, byte by byte, beside the worker's other
// requests, and sees how long the provider puts up with it. If the run would be
// over long before that, it does not begin.
func (w *worker) dawdle(ctx context.Context) {
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
		w.drip(ctx, addr, what, limit)
	})
}

// drip is one slow sender.
func (w *worker) drip(ctx context.Context, addr, what string, limit time.Duration) {
	// Signed by somebody else than the worker, who goes on meanwhile.
	fly := &flytest.Platform{BaseURL: w.baseURL, Signer: flytest.FormatXSignature.Signer(flytest.Credentials{SigningSecret: w.credentials.SigningSecret})}
	r, err := w.request(ctx, fly, 1<<10)
	if err != nil {
		w.violate(crashed, "the load generator: %v", err)
		return
	}
	wire, err := written(r)
	if err != nil {
		w.violate(crashed, "the load generator: %v", err)
		return
	}
	began := 20 // bytes that are there at once
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
	go func() { // it ends with the connection
		_, err := conn.Write(wire[:began])
		for i := began; err == nil && i < len(wire)-1; i++ {
			time.Sleep(200 * time.Millisecond)
			_, err = conn.Write(wire[i : i+1])
		}
	}()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	status := 0
	if err == nil {
		answer.Body.Close()
		status = answer.StatusCode
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		w.violate(held, "a slow %s was not cut off after %v", what, limit)
	}
	w.refusedAs(slow, what, status, err)
}
