package bench

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// These tests check that each measured subject does the work of its row: it accepts
// genuine requests and refuses others.

func TestVerifiersTellGenuineFromForged(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	for row, verifiers := range map[string][]verifier{
		"RFC 9421": rfc9421Verifiers, "draft-cavage": cavageVerifiers, "X-Signature": xVerifiers,
	} {
		for _, v := range verifiers {
			t.Run(row+" "+v.name, func(t *testing.T) {
				t.Parallel()
				body := provisionBody(provisionSize)
				other := bytes.Replace(body, []byte("admin"), []byte("owner"), 1)
				for _, c := range []struct {
					name   string
					header http.Header
					body   []byte
					want   bool
				}{
					{"other body", v.sign(secret, body, now), other, false},
					{"other secret", v.sign("a different signing secret", body, now), body, false},
					{"unsigned", xRequest(body, "").Header, body, false},
					{"genuine", v.sign(secret, body, now), body, true},
				} {
					accepts := v.open(t, now)
					if got := accepts(c.header, c.body); got != c.want {
						t.Errorf("%s: got accepted %t, want %t", c.name, got, c.want)
					}
				}
			})
		}
	}
}

// TestMessageFloorsCheckWhatTheyRead checks that a floor verifies the MAC in
// addition to the digest.
func TestMessageFloorsCheckWhatTheyRead(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	body := provisionBody(provisionSize)
	other := bytes.Replace(body, []byte("admin"), []byte("owner"), 1)
	for _, row := range [][]verifier{rfc9421Verifiers, cavageVerifiers} {
		for _, v := range row[:2] {
			genuine := v.sign(secret, body, now)
			swapped := v.sign("a different signing secret", other, now)
			swapped["Signature"] = genuine["Signature"]
			if v.open(t, now)(swapped, other) {
				t.Errorf("%s accepts a changed body with a correct digest", v.name)
			}
			for name, at := range map[string]time.Time{"old": now.Add(maxAge + time.Second), "early": now.Add(-clockSkew - time.Second)} {
				if v.open(t, at)(genuine, body) {
					t.Errorf("%s accepts a signature that is too %s", v.name, name)
				}
			}
		}
	}
}

func TestHandlersTellGenuineFromForged(t *testing.T) {
	t.Parallel()
	body := provisionBody(provisionSize)
	atEpoch := func() time.Time { return epoch }
	signed := func(signature string) func() *http.Request {
		return func() *http.Request { return xRequest(body, signature) }
	}
	withPassword := func(password string) func() *http.Request {
		return func() *http.Request { r, _ := brokerRequest(password); return r }
	}
	genuine := newSigner(secret).xSignature(body)
	for _, c := range []struct {
		name    string
		handler http.Handler
		request func() *http.Request
		want    int
	}{
		{"floor, genuine", newBareHandler(), signed(genuine), http.StatusOK},
		{"floor, forged", newBareHandler(), signed(forgedSignature), http.StatusUnauthorized},
		{"floor, unsigned", newBareHandler(), signed(""), http.StatusUnauthorized},
		{"flyext, genuine", newProvider(t, atEpoch), signed(genuine), http.StatusOK},
		{"flyext, forged", newProvider(t, atEpoch), signed(forgedSignature), http.StatusUnauthorized},
		{"flyext, unsigned", newProvider(t, atEpoch), signed(""), http.StatusUnauthorized},
		{"brokerapi, right password", newBroker(), withPassword(secret), http.StatusCreated},
		{"brokerapi, wrong password", newBroker(), withPassword("wrong"), http.StatusUnauthorized},
	} {
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, c.request())
		if w.Code != c.want {
			t.Errorf("%s: got status %d, want %d: %s", c.name, w.Code, c.want, w.Body)
		}
		if c.want == http.StatusOK && !strings.Contains(w.Body.String(), secretsOf["LOGJAM_URL"]) {
			t.Errorf("%s: the response has no secrets: %s", c.name, w.Body)
		}
	}
	p := newProvider(t, atEpoch)
	for i, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		if w := httptest.NewRecorder(); !answers(p, want)(signed(genuine)()) {
			t.Errorf("flyext, time %d of the same request: got status %d", i+1, w.Code)
		}
	}
}

func TestFloorsAllocateNothing(t *testing.T) {
	if raceEnabled {
		return // the race detector makes sync.Pool drop items at random
	}
	now := time.Now().Truncate(time.Second)
	body := provisionBody(provisionSize)
	for row, v := range map[string]verifier{
		"RFC 9421": rfc9421Verifiers[0], "draft-cavage": cavageVerifiers[0], "X-Signature": xVerifiers[0],
	} {
		h, accepts := v.sign(secret, body, now), v.open(t, now)
		if n := testing.AllocsPerRun(100, func() { accepts(h, body) }); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", row, n)
		}
	}
}

func TestBatchIsFreshEachTime(t *testing.T) {
	t.Parallel()
	requests := newBatch(provisionSize)
	a := newAuthenticator(t, requests.clock, secret)
	for round := range 3 {
		requests.sign()
		for i := range requests.requests {
			if err := a.Check(&requests.requests[i]); err != nil {
				t.Fatalf("round %d, request %d: %v", round, i, err)
			}
		}
	}
	requests.rewind(0)
	if a.Check(&requests.requests[0]) == nil {
		t.Error("a replay was accepted")
	}
	for _, size := range []int{400, provisionSize, 1 << 20} {
		if got := len(provisionBody(size)); got != size {
			t.Errorf("a body of %d bytes has %d bytes", size, got)
		}
	}
}

func TestClientNoticesRefusals(t *testing.T) {
	t.Parallel()
	requests := newBatch(0)
	server := httptest.NewServer(newProvider(t, requests.clock))
	t.Cleanup(server.Close)
	connect := func() *client {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return &client{conn: conn}
	}
	c := connect()
	if err := c.learn(requests.wire()); err != nil {
		t.Fatal(err)
	}
	c.prepare(requests.wire, 20)
	if err := c.send(); err != nil {
		t.Fatal(err)
	}
	if c.send() == nil {
		t.Error("the client took refused replays for accepted requests")
	}
	body := provisionBody(provisionSize)
	if connect().learn(wire(xRequest(body, forgedSignature), body)) == nil {
		t.Error("the client took a refused forged request for an accepted one")
	}
}

func TestStoresTellReplays(t *testing.T) {
	t.Parallel()
	for _, s := range replayStores {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			const n = 1000
			f := newFilling(n, 2*n, s.open)
			if err := f.enter(n); err != nil {
				t.Fatal(err)
			}
			full, atOnce := s.admitted(n)
			switch s.name {
			case "ristretto":
				// It adds keys asynchronously, so an immediate replay passes.
			case "otter":
				// It evicts asynchronously, so the number of evicted keys varies.
				if atOnce != 0 {
					t.Errorf("replays accepted: %v immediately", atOnce)
				}
			case "golang-lru": // evicts immediately
				if atOnce != 0 || full == 0 {
					t.Errorf("replays accepted: %v immediately, %v when full", atOnce, full)
				}
			default:
				if atOnce != 0 || full != 0 {
					t.Errorf("replays accepted: %v immediately, %v when full", atOnce, full)
				}
			}
			if !s.clocked {
				return
			}
			// After turning over, the first nonce has expired.
			if err := f.enter(2 * n); err != nil {
				t.Fatal(err)
			}
			if fresh, err := f.use(1); !fresh || err != nil {
				t.Errorf("the store still has an expired nonce: %v", err)
			}
		})
	}
}
