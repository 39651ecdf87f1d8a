package flyext_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A wallClock is one that is set by hand while time goes on: in a bubble of
// testing/synctest, that of the bubble.
type wallClock struct{ off atomic.Int64 }

func (c *wallClock) now() time.Time      { return time.Now().Round(0).Add(time.Duration(c.off.Load())) }
func (c *wallClock) set(d time.Duration) { c.off.Add(int64(d)) }

// A forgetfulStore forgets a nonce in the moment in which it may, by a clock of
// its own, as Redis does: it is told for how long.
type forgetfulStore struct {
	wall func() time.Time
	slow time.Duration

	mu   sync.Mutex
	keys map[[16]byte]time.Time
}

func (s *forgetfulStore) Use(_ context.Context, n flyext.Nonce) (bool, error) {
	time.Sleep(s.slow)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if until, there := s.keys[n.Key]; there && now.Before(until) {
		return false, nil
	}
	s.keys[n.Key] = now.Add(n.Expires.Sub(s.wall()))
	return true, nil
}

// forgetting returns an authenticator with such a store, both on that clock.
func forgetting(t *testing.T, wall *wallClock, v flyext.Verifier) (*flyext.Authenticator, *forgetfulStore) {
	t.Helper()
	store := &forgetfulStore{wall: wall.now, keys: map[[16]byte]time.Time{}}
	auth, err := flyext.NewAuthenticator(flyext.Config{BaseURL: testBase, Verifier: v, Now: wall.now, ReplayStore: store})
	if err != nil {
		t.Fatal(err)
	}
	return auth, store
}

// A message is captured when it is used. The clock of the provider is set back,
// after its nonce was forgotten, to where the message is fresh.
func TestClockSetBackBehindWhatIsForgotten(t *testing.T) {
	t.Parallel()
	const m = time.Minute
	for _, c := range []struct {
		name    string
		traffic time.Duration // a message every 10 seconds
		idle    time.Duration
		back    time.Duration
		later   time.Duration
		replay  string // of the one that was captured: why, or "" where it is 503
		genuine bool   // a message signed by the provider's own clock is admitted
	}{
		{"by 7 minutes after ten of traffic", 4 * m, 6 * m, 7 * m, 0, "", false},
		{"by 10 minutes", 10 * m, 0, 10 * m, 0, "", false},
		{"by an hour", 10 * m, 0, 60 * m, 50 * m, "", false},
		{"by a day after an idle one", 0, 24 * 60 * m, 24 * 60 * m, 0, "", false},
		{"by less than a nonce lives, after it was forgotten", 0, 6*m + 10*time.Second, 90 * time.Second, 0, "", false},
		{"by less than a nonce lives, before it was forgotten", 0, 3 * m, 3 * m, 2*m + 50*time.Second, usedBefore, true},
		{"by less than a nonce lives, and it is forgotten then", 0, 3 * m, 3 * m, 3*m + time.Second, "", false},
		{"until what is forgotten is too old", 10 * m, 0, 10 * m, 17 * m, tooOld, true},
	} {
		for name, signer := range formatsWithSigners() {
			t.Run(c.name+", "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var wall wallClock
					auth, store := forgetting(t, &wall, verifiesFormats())
					time.Sleep(time.Second)
					captured := signAt(t, signer, wall.now, "captured")
					wantRefusal(t, auth.Check(captured()), "")
					for range c.traffic / (10 * time.Second) {
						time.Sleep(10 * time.Second)
						wantRefusal(t, auth.Check(signAt(t, signer, wall.now, "other")()), "")
					}
					time.Sleep(c.idle)
					wall.set(-c.back)
					time.Sleep(c.later)

					if c.replay != "" {
						wantRefusal(t, auth.Check(captured()), c.replay)
					} else {
						r := captured()
						want503(t, auth.Check(r))
						wantBody(t, r)
					}
					genuine := signAt(t, signer, wall.now, "genuine")
					if c.genuine {
						wantRefusal(t, auth.Check(genuine()), "")
					} else {
						known := len(store.keys)
						want503(t, auth.Check(genuine()))
						if len(store.keys) != known {
							t.Error("the nonce of a message that is not judged was entered")
						}
					}
					// Who has no secret learns nothing of it.
					err := auth.Check(signAt(t, flytest.XSignature("guessed"), wall.now, "forged")())
					wantRefusal(t, err, xMismatch)
				})
			})
		}
	}
}

// wantBody demands that a body which was read is there again, if there was one.
func wantBody(t *testing.T, r *http.Request) {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil || int64(len(body)) != r.ContentLength {
		t.Errorf("%d bytes of the body are left of %d, %v", len(body), r.ContentLength, err)
	}
}

// A nonce that is forgotten while the store takes its time is noticed too.
func TestClockSetBackAndSlowStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var wall wallClock
		auth, store := forgetting(t, &wall, verifiesFormats())
		time.Sleep(time.Second)
		captured := signAt(t, flytest.XSignature(testSecret), wall.now, "captured")
		wantRefusal(t, auth.Check(captured()), "")
		time.Sleep(6*time.Minute - 5*time.Second)
		wall.set(-3 * time.Minute)
		wantRefusal(t, auth.Check(captured()), usedBefore)
		store.slow = 10 * time.Second
		late := captured()
		want503(t, auth.Check(late))
		wantBody(t, late)
	})
}

// A clock that is wrong for a while, and set right, refuses nobody afterwards: in
// between nothing was admitted, since Fly.io's clock is right.
func TestClockSetRight(t *testing.T) {
	t.Parallel()
	for name, signer := range formatsWithSigners() {
		for _, c := range []struct {
			jump   time.Duration
			reason string
		}{{time.Hour, tooOld}, {-time.Hour, ""}, {4 * time.Minute, "admitted"}} {
			t.Run(name+", "+c.jump.String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var right, wall wallClock
					auth, _ := forgetting(t, &wall, verifiesFormats())
					traffic := func(reason string) {
						for range 60 {
							time.Sleep(10 * time.Second)
							r := signAt(t, signer, right.now, "x1")
							switch err := auth.Check(r()); reason {
							case "admitted":
								wantRefusal(t, err, "")
								wantRefusal(t, auth.Check(r()), usedBefore)
							case "":
								wantRefusal(t, err, fromTheFuture)
							default:
								wantRefusal(t, err, reason)
							}
						}
					}
					traffic("admitted")
					wall.set(c.jump)
					traffic(c.reason)
					wall.set(-c.jump)
					traffic("admitted")
				})
			})
		}
	}
}

func signAt(t *testing.T, signer flytest.Signer, now func() time.Time, id string) func() *http.Request {
	t.Helper()
	fly := &flytest.Platform{BaseURL: testBase, Signer: signer, Now: now}
	r, err := fly.NewRequest(t.Context(), http.MethodPatch, flytest.ExtensionPath(id), []byte(`{"name":"`+id+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	return func() *http.Request { return received(r) }
}

// What uses no nonce up cannot be forgotten, whatever the clock does.
func TestClockSetBackWithoutNonces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var wall wallClock
		auth, _ := forgetting(t, &wall, flyext.AnyOf(verifiesFormats(), flyext.BearerToken("t")))
		time.Sleep(time.Second)
		for _, signer := range formatsWithSigners() {
			wantRefusal(t, auth.Check(signAt(t, signer, wall.now, "signed")()), "")
		}
		time.Sleep(10 * time.Minute)
		wall.set(-10 * time.Minute)
		for _, signer := range formatsWithSigners() {
			if e, ok := errors.AsType[*flyext.Error](auth.Check(signAt(t, signer, wall.now, "another")())); !ok || e.Status != http.StatusServiceUnavailable {
				t.Errorf("signed: got %v", e)
			}
		}
		wantRefusal(t, auth.Check(newPost().set("Authorization", "Bearer t").request(t)), "")
	})
}
