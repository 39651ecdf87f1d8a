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

// What a benchmark measures has to be what its row says: these tests hold that
// nobody is fast because of refusing what is genuine or accepting what is not.

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
					{"other secret", v.sign("a secret of somebody else", body, now), body, false},
					{"unsigned", xRequest(body, "").Header, body, false},
					{"genuine", v.sign(secret, body, now), body, true},
				} {
					accepts := v.open(t, now)
					if got := accepts(c.header, c.body); got != c.want {
						t.Errorf("%s: accepted is %t", c.name, got)
					}
				}
			})
		}
	}
}

// A digest that fits another body must not help it: the floor checks both.
func TestMessageFloorsCheckWhatTheyRead(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	body := provisionBody(provisionSize)
	other := bytes.Replace(body, []byte("admin"), []byte("owner"), 1)
	for _, row := range [][]verifier{rfc9421Verifiers, cavageVerifiers} {
		for _, v := range row[:2] {
			genuine := v.sign(secret, body, now)
			swapped := v.sign("a secret of somebody else", other, now)
			swapped["Signature"] = genuine["Signature"]
			if v.open(t, now)(swapped, other) {
				t.Errorf("%s accepts another body with its digest", v.name)
			}
			for name, at := range map[string]time.Time{"old": now.Add(maxAge + time.Second), "early": now.Add(-clockSkew - time.Second)} {
				if v.open(t, at)(genuine, body) {
					t.Errorf("%s accepts what is too %s", v.name, name)
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
			t.Errorf("%s: answered with %d, want %d: %s", c.name, w.Code, c.want, w.Body)
		}
		if c.want == http.StatusOK && !strings.Contains(w.Body.String(), secretsOf["LOGJAM_URL"]) {
			t.Errorf("%s: the answer has no secrets: %s", c.name, w.Body)
		}
	}
	p := newProvider(t, atEpoch)
	for i, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		if w := httptest.NewRecorder(); !answers(p, want)(signed(genuine)()) {
			t.Errorf("flyext, time %d of the same request: %d", i+1, w.Code)
		}
	}
}

func TestFloorsAllocateNothing(t *testing.T) {
	if raceEnabled {
		return // a sync.Pool under the race detector drops things at random
	}
	now := time.Now().Truncate(time.Second)
	body := provisionBody(provisionSize)
	for row, v := range map[string]verifier{
		"RFC 9421": rfc9421Verifiers[0], "draft-cavage": cavageVerifiers[0], "X-Signature": xVerifiers[0],
	} {
		h, accepts := v.sign(secret, body, now), v.open(t, now)
		if n := testing.AllocsPerRun(100, func() { accepts(h, body) }); n != 0 {
			t.Errorf("%s: %v allocations", row, n)
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
		t.Error("a replay was admitted")
	}
	for _, size := range []int{400, provisionSize, 1 << 20} {
		if got := len(provisionBody(size)); got != size {
			t.Errorf("a body of %d bytes has %d", size, got)
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
		t.Error("the same requests again were taken for answered with 200")
	}
	body := provisionBody(provisionSize)
	if connect().learn(wire(xRequest(body, forgedSignature), body)) == nil {
		t.Error("a forged request was taken for answered with 200")
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
				// It enters when it finds the time, so a copy passes that comes at once.
			case "otter":
				// It evicts when it finds the time, so how many it forgot is not known yet.
				if atOnce != 0 {
					t.Errorf("replays admitted: %v at once", atOnce)
				}
			case "golang-lru": // which evicts
				if atOnce != 0 || full == 0 {
					t.Errorf("replays admitted: %v at once, %v when full", atOnce, full)
				}
			default:
				if atOnce != 0 || full != 0 {
					t.Errorf("replays admitted: %v at once, %v when full", atOnce, full)
				}
			}
			if !s.clocked {
				return
			}
			// What was entered first has expired by the time that all have turned over.
			if err := f.enter(2 * n); err != nil {
				t.Fatal(err)
			}
			if fresh, err := f.use(1); !fresh || err != nil {
				t.Errorf("an expired nonce is not forgotten: %v", err)
			}
		})
	}
}
