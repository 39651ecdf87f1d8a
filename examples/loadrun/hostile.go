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

// A capture is a genuine request that was accepted, as an eavesdropper records it.
type capture struct {
	exchange flytest.Exchange
	addr     string // of the machine that accepted it
	callback bool   // a browser's request of the sign-in
}

// captures are the most recent ones.
type captures struct {
	mu   sync.Mutex
	last [512]capture
	n    int
}

func (k *captures) add(one capture) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last[k.n%len(k.last)] = one
	k.n++
}

func (k *captures) any() (capture, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n == 0 {
		return capture{}, false
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

// attackOrder is the repeating order of hostile requests. Cheap attacks are more
// frequent.
var attackOrder = []string{
	forged, replayed, garbage, truncated, replayed, oversized, forged, replayed, slow, garbage,
	forged, replayed, truncated, replayed, forged, garbage, replayed, forged, replayed, forged,
}

// attack makes one hostile request.
func (w *worker) attack(ctx context.Context) {
	switch attackOrder[int(w.attacks.Add(1))%len(attackOrder)] {
	case forged:
		w.sendForged(ctx)
	case replayed:
		w.sendReplay(ctx)
	case truncated:
		w.sendTruncated(ctx)
	case oversized:
		w.sendOversized(ctx)
	case slow:
		w.sendSlowly(ctx)
	case garbage:
		w.sendGarbage(ctx)
	}
}

// hostileID returns an id for hostile requests. An extension with such an id proves
// that one was accepted.
func hostileID() string { return "hostile-" + rand.Text() }

// request returns a genuine request with a hostile id, to be modified.
func (w *worker) request(ctx context.Context, fly *flytest.Platform, padding int) (*http.Request, error) {
	body := fmt.Sprintf(`{"name":"x","id":%q,"organization_id":%q,"user_id":%q,"padding":%q}`,
		hostileID(), w.organization, customer, strings.Repeat("x", padding))
	return fly.NewRequest(ctx, http.MethodPost, "/extensions", []byte(body))
}

// send sends a hostile request over the worker's own connection.
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

// refusedAs records the result of a hostile request: a status, or 0 and an error.
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

// sendForged sends a request that differs from a genuine one in one detail.
func (w *worker) sendForged(ctx context.Context) {
	format := anyFormat(len(formats))
	fly := w.platform(format)
	variants := []string{"another secret", "a byte of the body", "stale", "from the future", "another URL", "no signature", "a made-up state"}
	if w.oauthURL == "" {
		variants = variants[:len(variants)-1]
	}
	what := variants[mathrand.N(len(variants))]
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
		w.violate(crashed, "bug in the load generator: %v", err)
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

// sendReplay resends an accepted request byte for byte.
func (w *worker) sendReplay(ctx context.Context) {
	kept, ok := w.keep.any()
	if !ok {
		return
	}
	addr, forgets := w.replayAddr(kept)
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
		what = "a GET as a DELETE" // X-Signature does not sign the method
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

// replayAddr returns the address for a replay: any machine if they share a replay
// store, and otherwise the process that accepted the request. It reports whether
// the machine there has forgotten the request.
func (w *worker) replayAddr(kept capture) (addr string, forgets bool) {
	if w.sharedReplays {
		return w.machines[mathrand.N(len(w.machines))].addr(), false
	}
	if current := w.machines[0].addr(); current != kept.addr && !kept.callback && kept.exchange.Request.Method == http.MethodGet {
		// The machine has been restarted. A memory store then accepts the replay, as
		// documented. Only GETs are sent, because the ledger does not expect changes.
		return current, true
	}
	return kept.addr, false
}

// raw sends bytes over a new connection, closes its sending side, and returns the
// status of the response, or 0.
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

// written returns a request in wire format.
func written(r *http.Request) ([]byte, error) {
	var wire bytes.Buffer
	err := r.Write(&wire)
	return wire.Bytes(), err
}

// sendTruncated sends less than Content-Length announces.
func (w *worker) sendTruncated(ctx context.Context) {
	r, err := w.request(ctx, w.platform(anyFormat(len(formats))), 0)
	if err != nil {
		w.violate(crashed, "bug in the load generator: %v", err)
		return
	}
	wire, err := written(r)
	if err != nil {
		w.violate(crashed, "bug in the load generator: %v", err)
		return
	}
	status, err := w.raw(wire[:len(wire)-1-mathrand.N(int(r.ContentLength))])
	w.refusedAs(truncated, "", status, err)
}

// sendOversized sends a correctly signed body of more than 1 MiB.
func (w *worker) sendOversized(ctx context.Context) {
	r, err := w.request(ctx, w.platform(anyFormat(len(formats))), 1<<20)
	if err != nil {
		w.violate(crashed, "bug in the load generator: %v", err)
		return
	}
	if mathrand.N(2) == 0 { // chunked
		r.ContentLength = -1
	}
	w.send(oversized, "", r)
}

// sendGarbage sends random bytes or malformed headers.
func (w *worker) sendGarbage(ctx context.Context) {
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
