package flyext_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// A scriptedStore returns fixed results and keeps the nonces of its calls.
type scriptedStore struct {
	fresh bool
	err   error
	asked []flyext.Nonce
}

func (s *scriptedStore) Use(_ context.Context, n flyext.Nonce) (bool, error) {
	s.asked = append(s.asked, n)
	return s.fresh, s.err
}

func TestReplayStoreFails(t *testing.T) {
	t.Parallel()
	for name, fresh := range map[string]bool{"not fresh": false, "fresh": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auth, err := flyext.NewAuthenticator(flyext.Config{
				BaseURL: signingBase, Verifier: flyext.XSignature(signingSecret),
				Now:         func() time.Time { return time.Unix(signingTime, 0) },
				ReplayStore: &scriptedStore{fresh: fresh, err: errors.New("out of reach")},
			})
			if err != nil {
				t.Fatal(err)
			}
			want503(t, auth.Check(newPost().xSignature().request(t)))
		})
	}
}

func want503(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*flyext.Error](err)
	if !ok || e.Status != http.StatusServiceUnavailable || e.Code != flyext.CodeReplayUnavailable {
		t.Errorf("got %v, want 503", err)
	} else if e.Message == "" || e.Err == nil {
		t.Errorf("the message is %q and the cause %v, want both", e.Message, e.Err)
	}
}

func TestMemoryReplayStore(t *testing.T) {
	t.Parallel()
	now := time.Unix(signingTime, 0)
	store := flyext.NewMemoryReplayStore(3, func() time.Time { return now })
	use := func(key byte, lives time.Duration) (bool, error) {
		return store.Use(t.Context(), flyext.Nonce{Key: [16]byte{key}, Expires: time.Unix(signingTime, 0).Add(lives)})
	}
	for _, step := range []struct {
		name  string
		at    time.Duration
		key   byte
		lives time.Duration
		fresh bool
		full  bool
	}{
		{name: "the first", key: 1, lives: time.Minute, fresh: true},
		{name: "again", key: 1, lives: time.Minute},
		{name: "the second", key: 2, lives: 2 * time.Minute, fresh: true},
		{name: "the third", key: 3, lives: 2 * time.Minute, fresh: true},
		{name: "one too many", key: 4, lives: time.Minute, full: true},
		{name: "a replay is reported while the store is full", key: 2, lives: 2 * time.Minute},
		{name: "the clock jumps back", at: -time.Hour, key: 1, lives: time.Minute},
		{name: "still full", at: -time.Hour, key: 4, lives: time.Minute, full: true},
		{name: "at the expiry itself", at: time.Minute, key: 1, lives: time.Minute},
		{name: "seconds later there is room", at: time.Minute + 10*time.Second, key: 4, lives: 3 * time.Minute, fresh: true},
		{name: "full again", at: time.Minute + 10*time.Second, key: 5, lives: 3 * time.Minute, full: true},
		{name: "nonces with a later expiry are still known", at: time.Minute + 10*time.Second, key: 3, lives: 2 * time.Minute},
		{name: "a forgotten nonce is not fresh again", at: time.Minute + 10*time.Second, key: 1, lives: time.Minute, full: true},
		{name: "not even after the clock is set back", at: 0, key: 1, lives: time.Minute, full: true},
		{name: "all but one have expired", at: 3 * time.Minute, key: 1, lives: 4 * time.Minute, fresh: true},
		{name: "the last one has not", at: 3 * time.Minute, key: 4, lives: 3 * time.Minute},
	} {
		now = time.Unix(signingTime, 0).Add(step.at)
		fresh, err := use(step.key, step.lives)
		if fresh != step.fresh || (err != nil) != step.full {
			t.Errorf("%s: got %v, %v, want fresh %v, full %v", step.name, fresh, err, step.fresh, step.full)
		}
	}
}

// A store that is full of unexpired nonces keeps them, and new requests get 503.
func TestMemoryReplayStoreFull(t *testing.T) {
	t.Parallel()
	clock := func() time.Time { return time.Unix(signingTime, 0) }
	auth, err := flyext.NewAuthenticator(flyext.Config{
		BaseURL: signingBase, Verifier: flyext.XSignature(signingSecret), Now: clock,
		ReplayStore: flyext.NewMemoryReplayStore(1, clock),
	})
	if err != nil {
		t.Fatal(err)
	}
	first := newPost().xSignature()
	wantRefusal(t, auth.Check(first.request(t)), "")
	want503(t, auth.Check(xBody(strings.Replace(signingBody, "n1", "n2", 1)).request(t)))
	wantRefusal(t, auth.Check(first.request(t)), usedBefore)
}

// failingStore fails in one of its calls.
type failingStore struct {
	flyext.ReplayStore
	calls, failing int
}

func (s *failingStore) Use(ctx context.Context, n flyext.Nonce) (bool, error) {
	if s.calls++; s.calls == s.failing {
		return false, errors.New("out of reach")
	}
	return s.ReplayStore.Use(ctx, n)
}

// A message has two nonces. The store fails after the first. The message is refused,
// and a retry is refused as a replay.
func TestStoreFailsBetweenTwoNonces(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return time.Unix(signingTime, 0) }
	auth, err := flyext.NewAuthenticator(flyext.Config{
		BaseURL: signingBase, Verifier: flyext.AllOf(flyext.XSignature(signingSecret), flyext.MessageSignature(signingKey)),
		Now: now, ReplayStore: &failingStore{ReplayStore: flyext.NewMemoryReplayStore(0, now), failing: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	message := newPost().xSignature().rfc9421()
	want503(t, auth.Check(message.request(t)))
	wantRefusal(t, auth.Check(message.request(t)), usedBefore)
}
