package flyext_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

const usedBefore = "message was used before"

// everyVerifier verifies every format of everyFormat.
func everyVerifier() flyext.Verifier {
	p := flyext.Policy{ZntrioDialect: true}
	return flyext.AnyOf(p.XSignature(signingSecret), p.MessageSignature(signingKey))
}

// everyFormat returns a signed request of every format.
func everyFormat() map[string]*wireRequest {
	return map[string]*wireRequest{
		"RFC 9421": newPost().rfc9421(),
		"RFC 9421 with a nonce": newPost().
			signRFC9421("sig1", covered, rfcParams(signingTime)+`;nonce="n1"`),
		"RFC 9421 without a body":      newGet(queryTarget).rfc9421(),
		"draft-05":                     newPost().signRFC9421("sig1", `"@method" "@request-target" "digest"`, rfcParams(signingTime)),
		"draft-cavage":                 newPost().cavage(),
		"draft-cavage, digest covered": newPost().signCavage("(request-target) host date digest", cavageParams),
		"zntrio":                       newPost().zntrio(),
		"X-Signature of a body":        newPost().xSignature(),
		"X-Signature of a query":       newGet(signedQuery(extensionPath)).xSignature(),
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	for name, w := range everyFormat() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auth := newAuthenticator(t, everyVerifier(), 0)
			wantRefusal(t, auth.Check(w.request(t)), "")
			wantRefusal(t, auth.Check(w.request(t)), usedBefore)
			wantRefusal(t, auth.Check(w.request(t)), usedBefore)
		})
	}
}

func TestReplayConcurrently(t *testing.T) {
	t.Parallel()
	for name, w := range everyFormat() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auth := newAuthenticator(t, everyVerifier(), 0)
			var admitted atomic.Int32
			var wg sync.WaitGroup
			start := make(chan struct{})
			for range 100 {
				r := w.clone().request(t)
				wg.Go(func() {
					<-start
					if auth.Check(r) == nil {
						admitted.Add(1)
					}
				})
			}
			close(start)
			wg.Wait()
			if n := admitted.Load(); n != 1 {
				t.Errorf("%d of 100 copies were admitted", n)
			}
		})
	}
}

// A message with two valid signatures is admitted only once, even if an attacker
// removes one of them.
func TestReplayStrippedOfOneSignature(t *testing.T) {
	t.Parallel()
	keys := flyext.MessageSignature(flyext.Key{ID: "new", Secret: "new"}, flyext.Key{ID: "old", Secret: "old"})
	params := func(id string) string { return fmt.Sprintf(`;created=%d;keyid="%s"`, signingTime, id) }
	two := newPost().signedWith("new").signRFC9421("a", covered, params("new")).
		signedWith("old").signRFC9421("b", covered, params("old"))
	only := func(i int) func(*wireRequest) {
		return func(w *wireRequest) {
			w.header["Signature"] = w.header["Signature"][i : i+1]
			w.header["Signature-Input"] = w.header["Signature-Input"][i : i+1]
		}
	}
	both := newPost().xSignature().rfc9421()
	without := func(names ...string) func(*wireRequest) {
		return func(w *wireRequest) {
			for _, name := range names {
				w.header.Del(name)
			}
		}
	}
	for _, c := range []struct {
		name     string
		verifier flyext.Verifier
		request  *wireRequest
		strip    func(*wireRequest)
	}{
		{"the first of two labels stays", keys, two, only(0)},
		{"the second of two labels stays", keys, two, only(1)},
		{"the X-Signature stays", everyVerifier(), both, without("Signature", "Signature-Input")},
		{"the message signature stays", everyVerifier(), both, without("X-Signature")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			stripped := c.request.clone().tampered(c.strip)
			auth := newAuthenticator(t, c.verifier, 0)
			wantRefusal(t, auth.Check(c.request.request(t)), "")
			wantRefusal(t, auth.Check(stripped.request(t)), usedBefore)

			other := newAuthenticator(t, c.verifier, 0)
			wantRefusal(t, other.Check(stripped.request(t)), "")
			wantRefusal(t, other.Check(c.request.request(t)), usedBefore)
		})
	}
}

// Two signatures of one message may share a nonce. The second is not a replay of the
// first.
func TestSharedNonceIsNoReplay(t *testing.T) {
	t.Parallel()
	params := rfcParams(signingTime) + `;nonce="n"`
	w := newPost().signRFC9421("a", covered, params).signRFC9421("b", `"date" `+covered, params)
	auth := newAuthenticator(t, messageVerifier(flyext.Policy{}), 0)
	wantRefusal(t, auth.Check(w.request(t)), "")
	wantRefusal(t, auth.Check(w.request(t)), usedBefore)
}

// Another message with the same nonce is a replay. With another key id it is not.
func TestNonceOfAnotherMessage(t *testing.T) {
	t.Parallel()
	auth := newAuthenticator(t, flyext.MessageSignature(signingKey, flyext.Key{ID: "k", Secret: signingSecret}), 0)
	sign := func(w *wireRequest, params string) *wireRequest {
		return w.signRFC9421("s", `"@method" "@target-uri"`, params)
	}
	withNonce := rfcParams(signingTime) + `;nonce="n"`
	wantRefusal(t, auth.Check(sign(newGet("/flyio/a"), withNonce).request(t)), "")
	wantRefusal(t, auth.Check(sign(newGet("/flyio/b"), withNonce).request(t)), usedBefore)
	wantRefusal(t, auth.Check(sign(newGet("/flyio/b"), strings.Replace(withNonce, signingKeyID, "k", 1)).request(t)), "")
}

// A refused request must not use up the nonce of a genuine request, whether its MAC,
// its time or its URL is wrong.
func TestNonceIsEnteredLast(t *testing.T) {
	t.Parallel()
	withNonce := rfcParams(signingTime) + `;nonce="n1"`
	x := newPost().xSignature()
	rfc := newPost().signRFC9421("sig1", covered, withNonce)
	cavage := newPost().cavage()
	for _, c := range []struct {
		name         string
		genuine, bad *wireRequest
		want         string
	}{
		{"X-Signature, wrong MAC", x, newPost().signedWith("other").xSignature(), xMismatch},
		{"X-Signature, stale", x, xBody(strings.Replace(signingBody, "1700000000", "1600000000", 1)), tooOld},
		{"X-Signature, future", x, xBody(strings.Replace(signingBody, "1700000000", "1800000000", 1)), fromTheFuture},
		{"X-Signature, wrong url", x, xURLOf("https://other.test/flyio/extensions"), xURL},
		{"X-Signature, unsigned query", x, newPost().xSignature().tampered(func(w *wireRequest) { w.target += "?a" }), xUnsigned},
		{"RFC 9421, wrong MAC", rfc, newPost().signedWith("other").signRFC9421("sig1", covered, withNonce), wrongMAC},
		{"RFC 9421, stale", rfc, newPost().signRFC9421("sig1", covered, rfcParams(signingTime-301)+`;nonce="n1"`), tooOld},
		{"RFC 9421, expired", rfc, newPost().signRFC9421("sig1", covered, withNonce+";expires=1600000000"), expired},
		{"RFC 9421, wrong path", rfc, rfc.clone().tampered(func(w *wireRequest) { w.target = "/flyio/extensions/x2" }), wrongMAC},
		{"RFC 9421, wrong body", rfc, rfc.clone().tampered(exchangeBody), wrongDigest},
		{"RFC 9421, too little covered", rfc, newPost().signRFC9421("sig1", `"@method"`, withNonce), uncoveredTarget},
		{"draft-cavage, too little covered", cavage, newPost().signCavage("date", cavageParams), uncoveredTarget},
		{"draft-cavage, wrong path", cavage, cavage.clone().tampered(func(w *wireRequest) { w.target = "/flyio/x" }), wrongMAC},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := flyext.AnyOf(flyext.XSignature(signingSecret), flyext.MessageSignature(signingKey))
			auth := newAuthenticator(t, v, 0)
			wantRefusal(t, auth.Check(c.bad.request(t)), c.want)
			wantRefusal(t, auth.Check(c.genuine.request(t)), "")
			wantRefusal(t, auth.Check(c.genuine.request(t)), usedBefore)
		})
	}
}

// The example of Fly.io's proposal covers no digest. An attacker who saw one request
// could therefore replace the body by another of the same length. The signature
// itself counts as the nonce and prevents this. As a side effect, the second of two
// genuine requests in one second is refused.
func TestCavageWithoutNonce(t *testing.T) {
	t.Parallel()
	first := newPost().cavage()
	auth := newAuthenticator(t, flyext.MessageSignature(signingKey), 0)
	wantRefusal(t, auth.Check(first.request(t)), "")
	for i := range 5 {
		other := newPost().tampered(func(w *wireRequest) { w.body = strings.Replace(w.body, "x1", fmt.Sprint("y", i), 1) }).cavage()
		if first.header.Get("Signature") != other.header.Get("Signature") {
			t.Fatal("the two requests do not share their signature")
		}
		wantRefusal(t, auth.Check(other.request(t)), usedBefore)
	}

	strict := newAuthenticator(t, flyext.Policy{RequireDigest: true}.MessageSignature(signingKey), 0)
	wantRefusal(t, strict.Check(first.request(t)), uncoveredBody)
}

// A nonce is remembered for as long as its message could be admitted, even on a machine
// whose clock is behind.
func TestNonceExpires(t *testing.T) {
	t.Parallel()
	p := flyext.Policy{MaxAge: 10 * time.Minute, ClockSkew: 2 * time.Minute, ZntrioDialect: true}
	for name, w := range everyFormat() {
		for _, c := range []struct {
			name     string
			admitted int64 // seconds after it was signed
			expires  time.Duration
		}{
			{"admitted a minute after it was signed", 60, 12 * time.Minute},
			{"admitted a minute before it was signed, by a clock that is behind", -60, 12 * time.Minute},
		} {
			t.Run(name+", "+c.name, func(t *testing.T) {
				t.Parallel()
				store := &scriptedStore{fresh: true}
				auth, err := flyext.NewAuthenticator(flyext.Config{
					BaseURL: signingBase, Verifier: flyext.AnyOf(p.XSignature(signingSecret), p.MessageSignature(signingKey)),
					Now:         func() time.Time { return time.Unix(signingTime+c.admitted, 0) },
					ReplayStore: store,
				})
				if err != nil {
					t.Fatal(err)
				}
				wantRefusal(t, auth.Check(w.clone().request(t)), "")
				if len(store.asked) != 1 {
					t.Fatalf("the store was called %d times, want once", len(store.asked))
				}
				if want := time.Unix(signingTime, 0).Add(c.expires); !store.asked[0].Expires.Equal(want) {
					t.Errorf("the nonce expires at %v, want %v", store.asked[0].Expires, want)
				}
			})
		}
	}
}

// An attacker can choose an unsigned time. It must not shorten the time for which the
// nonce is remembered.
func TestNonceExpiresByTheSignedTime(t *testing.T) {
	t.Parallel()
	m := newPost().signCavage("(request-target) date content-length", cavageParams+fmt.Sprintf("created=%d,", signingTime-90)).message(t)
	m.Now = time.Unix(signingTime-60, 0)
	v, err := flyext.MessageSignature(signingKey).Verify(t.Context(), m)
	if err != nil || len(v.Nonces) != 1 {
		t.Fatalf("%+v, %v", v, err)
	}
	if want := time.Unix(signingTime, 0).Add(6 * time.Minute); !v.Nonces[0].Expires.Equal(want) {
		t.Errorf("the nonce expires at %v, want %v", v.Nonces[0].Expires, want)
	}
}

func TestNonceKey(t *testing.T) {
	t.Parallel()
	seen := map[[16]byte]int{}
	for i, parts := range [][]string{{""}, {"a"}, {"a", ""}, {"", "a"}, {"a", "b"}, {"ab"}, {"a", "b", ""}, {"1:a"}, {"a1:b"}} {
		key := flyext.NonceKey(parts[0], parts[1:]...)
		if j, twice := seen[key]; twice {
			t.Errorf("cases %d and %d have the same key", i, j)
		}
		seen[key] = i
		if flyext.NonceKey(parts[0], parts[1:]...) != key {
			t.Errorf("case %d has different keys in two calls", i)
		}
	}
}
