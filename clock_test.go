package flyext_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A jumpingClock jumps as if an operator or a broken time server had set it. It has
// no monotonic reading, which is the worst case.
type jumpingClock struct{ unix atomic.Int64 }

func newJumpingClock() *jumpingClock {
	c := &jumpingClock{}
	c.unix.Store(signingTime)
	return c
}

func (c *jumpingClock) now() time.Time       { return time.Unix(c.unix.Load(), 0) }
func (c *jumpingClock) jump(d time.Duration) { c.unix.Add(int64(d / time.Second)) }

// A sender signs requests as Fly.io does, by its own clock.
type sender struct {
	t      *testing.T
	signer flytest.Signer
	clock  *jumpingClock
}

// sign signs an update of an extension. Each call of the returned function returns the
// same signed request, ready to be sent.
func (s sender) sign(id string) func() *http.Request {
	s.t.Helper()
	fly := &flytest.Platform{BaseURL: testBase, Signer: s.signer, Now: s.clock.now}
	r, err := fly.NewRequest(s.t.Context(), http.MethodPatch, flytest.ExtensionPath(id), []byte(`{"name":"`+id+`"}`))
	if err != nil {
		s.t.Fatal(err)
	}
	return func() *http.Request { return received(r) }
}

// formatsWithSigners returns a signer for each format that Fly.io may send.
func formatsWithSigners() map[string]flytest.Signer {
	return map[string]flytest.Signer{
		"X-Signature":  flytest.XSignature(testSecret),
		"RFC 9421":     flytest.RFC9421(eventKey),
		"draft-05":     flytest.Draft05(eventKey),
		"draft-cavage": flytest.Cavage(eventKey),
	}
}

// verifiesFormats verifies the formats of formatsWithSigners.
func verifiesFormats() flyext.Verifier {
	return flyext.AnyOf(flyext.XSignature(testSecret), flyext.MessageSignature(eventKey))
}

// A provider's clock is wrong by an hour and then corrected, while Fly.io's clock is
// right. The provider refuses every request until its clock is corrected. Afterwards it
// admits the refused requests, and still refuses those that it admitted before.
func TestClockJumpsAndComesBack(t *testing.T) {
	t.Parallel()
	for name, signer := range formatsWithSigners() {
		for jump, reason := range map[time.Duration]string{time.Hour: tooOld, -time.Hour: fromTheFuture} {
			for storeName, store := range map[string]func(now func() time.Time) flyext.ReplayStore{
				"memory": func(now func() time.Time) flyext.ReplayStore { return flyext.NewMemoryReplayStore(0, now) },
				"shared": func(func() time.Time) flyext.ReplayStore { return &sharedStore{} },
			} {
				t.Run(name+", "+jump.String()+", "+storeName, func(t *testing.T) {
					t.Parallel()
					right, wrong := newJumpingClock(), newJumpingClock()
					auth, err := flyext.NewAuthenticator(flyext.Config{
						BaseURL: testBase, Verifier: verifiesFormats(), Now: wrong.now, ReplayStore: store(wrong.now),
					})
					if err != nil {
						t.Fatal(err)
					}
					fly := sender{t, signer, right}
					before, during := fly.sign("before"), fly.sign("during")
					wantRefusal(t, auth.Check(before()), "")

					wrong.jump(jump)
					for range 3 {
						wantRefusal(t, auth.Check(before()), reason)
						wantRefusal(t, auth.Check(during()), reason)
					}
					wrong.jump(-jump)
					right.jump(time.Second)
					wrong.jump(time.Second)

					wantRefusal(t, auth.Check(before()), usedBefore)
					for _, fresh := range []func() *http.Request{during, fly.sign("after")} {
						wantRefusal(t, auth.Check(fresh()), "")
						wantRefusal(t, auth.Check(fresh()), usedBefore)
					}
				})
			}
		}
	}
}

// Both clocks jump, as if they shared a machine or a time server. A request admitted
// before or after the jump is not admitted again.
func TestBothClocksJump(t *testing.T) {
	t.Parallel()
	for name, signer := range formatsWithSigners() {
		for _, jump := range []time.Duration{time.Hour, -time.Hour} {
			t.Run(name+", "+jump.String(), func(t *testing.T) {
				t.Parallel()
				clock := newJumpingClock()
				auth, err := flyext.NewAuthenticator(flyext.Config{BaseURL: testBase, Verifier: verifiesFormats(), Now: clock.now})
				if err != nil {
					t.Fatal(err)
				}
				fly := sender{t, signer, clock}
				before := fly.sign("before")
				wantRefusal(t, auth.Check(before()), "")
				clock.jump(jump)
				there := fly.sign("there")
				wantRefusal(t, auth.Check(there()), "")
				wantRefusal(t, auth.Check(there()), usedBefore)
				if err := auth.Check(before()); err == nil {
					t.Error("a request admitted before the jump is admitted again")
				}
				// Further requests remove expired nonces. This nonce must stay.
				for _, id := range []string{"a", "b", "c"} {
					wantRefusal(t, auth.Check(fly.sign(id)()), "")
				}
				wantRefusal(t, auth.Check(there()), usedBefore)
			})
		}
	}
}

// A received event is remembered for a day, even if the clock jumps in that time.
func TestEventsAndTheClock(t *testing.T) {
	t.Parallel()
	clock, l := newJumpingClock(), &listener{}
	provider := newProvider(t, l, func(c *flyext.Config) { unsigned(c); c.Now = clock.now })
	for _, jump := range []time.Duration{0, time.Hour, -time.Hour, -time.Hour, time.Hour} {
		clock.jump(jump)
		if w := do(provider, binary("{}")); w.Code != 200 {
			t.Errorf("after %v: got %d %s, want 200", jump, w.Code, w.Body)
		}
	}
	wantCalls(t, l, "event e1")
}

// The clock jumps while a customer signs in.
func TestSignOnAndTheClock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		jump time.Duration
		code string // of the refusal, or ""
	}{
		"forwards": {time.Hour, flyext.CodeExpiredState},
		"back":     {-time.Hour, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newSSOTest(t)
			b := st.browser()
			callback := b.authorize(b.begin("x1"))
			st.advance(c.jump)
			if c.code != "" { // the same callback succeeds after the clock is corrected
				st.wantRefusal(b.get(callback), http.StatusBadRequest, c.code)
				st.wantNoSignIn()
				st.advance(-c.jump)
			}
			if p := b.get(callback); len(st.signedIn) != 1 {
				t.Fatalf("got %d %s, want a sign-in", p.status, p.body)
			}
			// The handshake is used up, however the clock jumps.
			st.signedIn = nil
			for _, jump := range []time.Duration{0, c.jump, -c.jump, -c.jump} {
				st.advance(jump)
				b.get(callback)
				st.wantNoSignIn()
			}
			// The next handshake succeeds.
			again := st.browser()
			if p := again.get(again.authorize(again.begin("x1"))); len(st.signedIn) != 1 {
				t.Errorf("got %d %s, want a sign-in", p.status, p.body)
			}
		})
	}
}

// The deadline of a call is a duration and does not depend on Config.Now.
func TestDeadlineAndTheClock(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			clock := newJumpingClock()
			p := &testProvisioner{fetch: func(ctx context.Context, id string) (*flyext.Extension, error) {
				clock.jump(jump)
				if id == "hangs" {
					<-ctx.Done()
				}
				return &flyext.Extension{}, ctx.Err()
			}}
			provider := newProvider(t, p, func(c *flyext.Config) { unsigned(c); c.Now = clock.now })
			if w := do(provider, fetchRequest("x1")); w.Code != 200 {
				t.Errorf("%v: got %d %s, want 200", jump, w.Code, w.Body)
			}
			start := time.Now()
			if w := do(provider, fetchRequest("hangs")); w.Code != 504 || time.Since(start) != 25*time.Second {
				t.Errorf("%v: got %d after %v, want 504 after 25s", jump, w.Code, time.Since(start))
			}
		})
	}
}
