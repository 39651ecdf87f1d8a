package flyext_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/flyext/flyext"
)

// A verify is a custom Verifier.
type verify func(context.Context, *flyext.Message) (flyext.Verification, error)

func (f verify) Verify(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
	return f(ctx, m)
}

// A custom verifier may verify a changed copy of a message. The Provisioner gets the
// fields of the request, not those of the copy.
func TestCopyOfAMessage(t *testing.T) {
	t.Parallel()
	ours := flyext.XSignature(testSecret)
	for name, first := range map[string]bool{"verified alone": false, "verified after the request": true} {
		other := xsigned("PATCH", "/flyio/extensions/x", `{"x1":1,"x2":2,"x3":3,"x4":4,"name":"of the copy"}`)
		otherBody, err := io.ReadAll(other.Body)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		p := newProvider(t, &testProvisioner{update: func(_ context.Context, _ string, req *flyext.UpdateRequest) (*flyext.Extension, error) {
			got = append(got, req.Name.Value, req.UserID.Value)
			return &flyext.Extension{}, nil
		}}, func(c *flyext.Config) {
			c.Verifier = verify(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
				another := *m
				if first {
					if _, err := ours.Verify(ctx, m); err != nil {
						return flyext.Verification{}, err
					}
				}
				another.Body, another.Header = otherBody, other.Header
				return ours.Verify(ctx, &another)
			})
		})
		w := do(p, xsigned("PATCH", "/flyio/extensions/x", `{"user_id":"of the request"}`))
		if w.Code != http.StatusOK || fmt.Sprint(got) != "[ of the request]" {
			t.Errorf("%s: got %d %s, %q", name, w.Code, w.Body, got)
		}
	}
}

// Copies of a message do not affect each other.
func TestCopiesOfAMessage(t *testing.T) {
	t.Parallel()
	ours := flyext.XSignature(testSecret)
	p := newProvider(t, &testProvisioner{}, func(c *flyext.Config) {
		c.Verifier = verify(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
			one, another := *m, *m
			r := xsigned("POST", "/flyio/extensions", filled(2))
			another.Header = r.Header
			var err error
			if another.Body, err = io.ReadAll(r.Body); err != nil {
				t.Error(err)
			}
			var keys [][16]byte
			for _, each := range []*flyext.Message{&one, &another, &one, &another} {
				v, err := ours.Verify(ctx, each)
				if err != nil || len(v.Nonces) != 1 {
					t.Fatalf("%+v, %v", v, err)
				}
				keys = append(keys, v.Nonces[0].Key)
			}
			if keys[0] != keys[2] || keys[1] != keys[3] || keys[0] == keys[1] {
				t.Errorf("two copies, each verified twice, have the nonces %x; want the first and third equal, and the second and fourth", keys)
			}
			return ours.Verify(ctx, m)
		})
	})
	if w := do(p, xsigned("POST", "/flyio/extensions", filled(1))); w.Code != http.StatusOK {
		t.Errorf("got %d %s, want 200", w.Code, w.Body)
	}
}

// A custom verifier may verify several copies concurrently.
func TestCopiesOfAMessageAtOnce(t *testing.T) {
	t.Parallel()
	one, another := flyext.XSignature(testSecret), flyext.XSignature("another", testSecret)
	p := newProvider(t, &testProvisioner{}, func(c *flyext.Config) {
		c.Verifier = verify(func(ctx context.Context, m *flyext.Message) (v flyext.Verification, err error) {
			first, second := *m, *m
			var all sync.WaitGroup
			all.Go(func() { _, _ = one.Verify(ctx, &first) })
			all.Go(func() { v, err = another.Verify(ctx, &second) })
			all.Wait()
			return v, err
		})
	})
	for n := range 100 {
		if w := do(p, xsigned("POST", "/flyio/extensions", filled(n))); w.Code != http.StatusOK {
			t.Fatalf("got %d %s, want 200", w.Code, w.Body)
		}
	}
}

// A kept event holds only its own memory, not a buffer that another request has grown.
// The test does not run in parallel, because the memory of other tests would count.
func TestEventKeepsNoOtherMemory(t *testing.T) {
	const events, size = 30, 1_000_000
	l := &listener{}
	p := newProvider(t, l, func(c *flyext.Config) {
		c.Verifier, c.EventVerifier = flyext.XSignature(testSecret), flyext.BearerToken("t")
	})
	large := strings.Repeat("p", size)
	held := func() int64 {
		var m runtime.MemStats
		for range 3 { // a sync.Pool is emptied in two collections
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := held()
	for n := range events {
		if w := do(p, httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(large))); w.Code != http.StatusUnauthorized {
			t.Fatalf("got %d %s, want 401", w.Code, w.Body)
		}
		e := binary(`{"machine_id":"m"}`, "ce-id", fmt.Sprint("e", n), "authorization", "Bearer t")
		if w := do(p, e); w.Code != http.StatusOK {
			t.Fatalf("got %d %s, want 200", w.Code, w.Body)
		}
	}
	if grown := held() - before; grown > events*size/10 {
		t.Errorf("%d events of 18 bytes hold %d bytes, want at most %d", len(l.received()), grown, events*size/10)
	}
	runtime.KeepAlive(l)
}

// A lateReader returns an error, as at a deadline, but later writes into the buffer of
// the call, when a test tells it to.
type lateReader struct{ write, wrote chan struct{} }

func (l *lateReader) Read(p []byte) (int, error) {
	go func() {
		<-l.write
		for i := range p {
			p[i] = '!'
		}
		l.wrote <- struct{}{}
	}()
	return 0, errors.New("deadline")
}

type storeFunc func(context.Context, flyext.Nonce) (bool, error)

func (f storeFunc) Use(ctx context.Context, n flyext.Nonce) (bool, error) { return f(ctx, n) }

// A late write to the buffer of a failed read must not change another request between
// its verification and its decoding. The test does not run in parallel, because other
// tests would take the reused memory.
func TestLateReader(t *testing.T) {
	late := &lateReader{make(chan struct{}), make(chan struct{})}
	p := newProvider(t, &testProvisioner{}, func(c *flyext.Config) {
		c.ReplayStore = storeFunc(func(context.Context, flyext.Nonce) (bool, error) {
			late.write <- struct{}{}
			<-late.wrote
			return true, nil
		})
	})
	do(p, httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(strings.Repeat("x", 5000)))) // leaves memory to reuse
	r := httptest.NewRequest("POST", "/flyio/extensions", io.NopCloser(late))
	r.ContentLength = 100
	if w := do(p, r); w.Code != http.StatusBadRequest {
		t.Errorf("got %d %s, want 400", w.Code, w.Body)
	}
	if w := do(p, xsigned("POST", "/flyio/extensions", minimal)); w.Code != http.StatusOK {
		t.Errorf("got %d %s, want 200", w.Code, w.Body)
	}
}

// A group keeps its verifiers even if the caller changes the slice.
func TestGroupKeepsItsVerifiers(t *testing.T) {
	t.Parallel()
	for name, group := range map[string]func(...flyext.Verifier) flyext.Verifier{"all of": flyext.AllOf, "any of": flyext.AnyOf} {
		verifiers := []flyext.Verifier{flyext.XSignature(testSecret)}
		p := newProvider(t, &testProvisioner{}, func(c *flyext.Config) { c.Verifier = group(verifiers...) })
		verifiers[0] = flyext.XSignature("another")
		if w := do(p, xsigned("POST", "/flyio/extensions", minimal)); w.Code != http.StatusOK {
			t.Errorf("%s: got %d %s, want 200", name, w.Code, w.Body)
		}
	}
}
