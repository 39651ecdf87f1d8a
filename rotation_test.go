package flyext_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// rotating is a handler whose Provider can be replaced while requests run. A service
// changes its secrets without an outage by a new Provider with the same ReplayStore.
type rotating struct {
	atomic.Pointer[flyext.Provider]
}

func (r *rotating) ServeHTTP(w http.ResponseWriter, q *http.Request) { r.Load().ServeHTTP(w, q) }

// TestSecretsRotateUnderLoad changes the secret in the three steps of
// docs/signatures.md while eight senders send requests. At every step, each genuine
// request is admitted and each replay is refused.
func TestSecretsRotateUnderLoad(t *testing.T) {
	t.Parallel()
	const oldSecret, newSecret = "the-old-secret-of-the-rotation", "the-new-secret-of-the-rotation"
	keys := func(secrets []string) (keys []flyext.Key) {
		for _, secret := range secrets {
			keys = append(keys, flyext.Key{ID: eventKey.ID, Secret: secret}) // both keys have one id, as docs/signatures.md allows
		}
		return keys
	}
	for name, rotation := range map[string]struct {
		verifier func(secrets ...string) flyext.Verifier
		signer   func(secret string) flytest.Signer
	}{
		"X-Signature": {
			func(secrets ...string) flyext.Verifier { return flyext.XSignature(secrets...) },
			flytest.XSignature,
		},
		"MessageSignature": {
			func(secrets ...string) flyext.Verifier { return flyext.MessageSignature(keys(secrets)...) },
			func(secret string) flytest.Signer { return flytest.RFC9421(keys([]string{secret})[0]) },
		},
		"MessageSignature, draft-cavage": {
			func(secrets ...string) flyext.Verifier { return flyext.MessageSignature(keys(secrets)...) },
			func(secret string) flytest.Signer { return flytest.Cavage(keys([]string{secret})[0]) },
		},
		"BearerToken and MessageSignature": {
			func(secrets ...string) flyext.Verifier {
				return flyext.AllOf(flyext.BearerToken(secrets...), flyext.MessageSignature(keys(secrets)...))
			},
			func(secret string) flytest.Signer {
				return flytest.All(flytest.BearerToken(secret), flytest.RFC9421(keys([]string{secret})[0]))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var applied atomic.Int64
			p := &testProvisioner{update: func(context.Context, string, *flyext.UpdateRequest) (*flyext.Extension, error) {
				applied.Add(1)
				return &flyext.Extension{}, nil
			}}
			store, service := flyext.NewMemoryReplayStore(0, nil), &rotating{}
			deploy := func(secrets ...string) {
				service.Store(newProvider(t, p, func(c *flyext.Config) {
					c.Verifier, c.ReplayStore = rotation.verifier(secrets...), store
				}))
			}
			deploy(oldSecret)
			server := httptest.NewServer(service)
			t.Cleanup(server.Close)
			l := &rotationLoad{t: t, server: server}
			l.signer.Store(&signerBox{rotation.signer(oldSecret)})
			var senders sync.WaitGroup
			for n := range 8 {
				senders.Go(func() { l.send(n) })
			}

			const each = 40 // requests between two steps
			l.wait(each)
			deploy(newSecret, oldSecret)
			l.wait(each)
			l.signNewly(rotation.signer(newSecret))
			l.wait(each)
			deploy(newSecret)
			l.wait(each)
			l.over.Store(true)
			senders.Wait()

			if sent := l.sent.Load(); applied.Load() != sent {
				t.Errorf("%d requests were sent, but %d were applied", sent, applied.Load())
			}
			for _, captured := range l.captured {
				if w := do(service, received(captured)); w.Code != http.StatusUnauthorized {
					t.Errorf("a replay after the rotation: got %d %s, want 401", w.Code, w.Body)
				}
			}
			// The old secret is refused after the rotation.
			fly := &flytest.Platform{BaseURL: testBase, Signer: rotation.signer(oldSecret)}
			r, err := fly.NewRequest(t.Context(), http.MethodGet, "/extensions/x1", nil)
			if err != nil {
				t.Fatal(err)
			}
			if w := do(service, received(r)); w.Code != http.StatusUnauthorized {
				t.Errorf("a request signed with the old secret: got %d %s, want 401", w.Code, w.Body)
			}
		})
	}
}

// A rotationLoad is the state that the senders share.
type rotationLoad struct {
	t      *testing.T
	server *httptest.Server
	signer atomic.Pointer[signerBox]
	signs  sync.RWMutex // read-locked while a request is on its way
	sent   atomic.Int64
	over   atomic.Bool

	mu       sync.Mutex
	captured []*http.Request
}

type signerBox struct{ flytest.Signer }

// signNewly makes all senders sign with another secret. It first waits for the answers
// to the requests that were signed with the old one. Fly.io's requests, too, take
// seconds at most.
func (l *rotationLoad) signNewly(s flytest.Signer) {
	l.signs.Lock()
	defer l.signs.Unlock()
	l.signer.Store(&signerBox{s})
}

// wait waits for a number of requests to be sent.
func (l *rotationLoad) wait(requests int64) {
	until := l.sent.Load() + requests
	for l.sent.Load() < until && !l.t.Failed() {
		time.Sleep(time.Millisecond)
	}
}

// send sends updates one after the other, and replays each of them.
func (l *rotationLoad) send(sender int) {
	client := &http.Client{Transport: l.transport()}
	for n := 0; !l.over.Load() && !l.t.Failed(); n++ {
		r, ok := l.sendOne(client, fmt.Sprintf("x%d-%d", sender, n))
		if !ok {
			return
		}
		again := r.Clone(l.t.Context())
		again.Body, _ = r.GetBody()
		answer, err := client.Do(again)
		if err != nil {
			l.t.Error(err)
			return
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized {
			l.t.Errorf("a replay got %s, want 401", answer.Status)
		}
	}
}

func (l *rotationLoad) sendOne(client *http.Client, id string) (*http.Request, bool) {
	l.signs.RLock()
	defer l.signs.RUnlock()
	fly := &flytest.Platform{BaseURL: testBase, Signer: l.signer.Load().Signer, Client: client}
	r, err := fly.NewRequest(l.t.Context(), http.MethodPatch, flytest.ExtensionPath(id), []byte(`{"name":"`+id+`"}`))
	if err != nil {
		l.t.Error(err)
		return nil, false
	}
	answer, err := fly.Do(r)
	if err != nil || answer.StatusCode != http.StatusOK {
		l.t.Errorf("a genuine request was refused: %v %v", answer, err)
		return nil, false
	}
	l.sent.Add(1)
	l.mu.Lock()
	l.captured = append(l.captured, r)
	l.mu.Unlock()
	return r, true
}

// transport sends requests for the provider's public URL to the server.
func (l *rotationLoad) transport() http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		to := r.Clone(r.Context())
		to.URL.Scheme, to.URL.Host, to.Host = "http", l.server.Listener.Addr().String(), r.URL.Host
		return l.server.Client().Transport.RoundTrip(to)
	})
}

// TestStateKeyRotatesUnderLoad rotates the state key of the sign-on while customers
// sign in. All of them succeed.
func TestStateKeyRotatesUnderLoad(t *testing.T) {
	t.Parallel()
	const newKey = "the-key-that-comes-after-it-0123456789"
	st, service := newSSOTest(t), &rotating{}
	service.Store(st.provider)
	st.world["logjam.io"] = service
	var on sync.RWMutex // read-locked while a customer signs in
	var signedIn atomic.Int64
	var over atomic.Bool
	var customers sync.WaitGroup
	for range 4 {
		customers.Go(func() {
			for !over.Load() && !t.Failed() {
				on.RLock()
				b := st.browser()
				callback := b.authorize(b.begin("x1"))
				if p := b.get(callback); p.status != http.StatusSeeOther {
					t.Errorf("a customer was refused: %d %s", p.status, p.body)
				}
				signedIn.Add(1)
				on.RUnlock()
			}
		})
	}
	wait := func() {
		for until := signedIn.Load() + 20; signedIn.Load() < until && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
	}
	wait()
	for _, step := range []func(*flyext.SSOConfig){
		func(s *flyext.SSOConfig) { s.OldStateKeys = []string{newKey} },
		func(s *flyext.SSOConfig) { s.StateKey, s.OldStateKeys = newKey, []string{ssoStateKey} },
	} {
		service.Store(st.newProvider(step))
		wait()
	}
	on.Lock() // handshakes last at most ten minutes; those that began with the old key have ended
	service.Store(st.newProvider(func(s *flyext.SSOConfig) { s.StateKey = newKey }))
	on.Unlock()
	wait()
	over.Store(true)
	customers.Wait()
}
