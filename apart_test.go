package flyext_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
)

// filled returns a body with n in the value of every member.
func filled(n int) string {
	return fmt.Sprintf(`{"id":"id%[1]d","organization_id":"org%[1]d","name":"name%[1]d","user_email":"%[1]d@%[2]s",`+
		`"read_regions":["r%[1]d","s%[1]d"],"extra%[1]d":{"n":%[1]d},"a\u006eother":"%[3]s"}`,
		n, strings.Repeat("x", 300), strings.Repeat(fmt.Sprint(n), 100))
}

// Other requests do not change the request that a Provisioner holds, even if the
// Provisioner is still running after its deadline.
func TestRequestsStayApart(t *testing.T) {
	t.Parallel()
	verifiers := map[string]flyext.Verifier{
		"X-Signature": flyext.XSignature(testSecret),
		"any of":      flyext.AnyOf(flyext.BearerToken("t"), flyext.XSignature(testSecret)),
		"custom":      &keeper{Verifier: flyext.XSignature(testSecret)},
	}
	for name, v := range verifiers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const many, rounds = 8, 20
				var mu sync.Mutex
				requests := map[string]*flyext.ProvisionRequest{}
				p := newProvider(t, &testProvisioner{
					provision: func(ctx context.Context, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
						if strings.HasSuffix(req.ID, "7") {
							time.Sleep(time.Minute) // long past the deadline
						}
						mu.Lock()
						defer mu.Unlock()
						requests[req.ID] = req
						return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
					},
				}, func(c *flyext.Config) { c.Verifier = v })
				var all sync.WaitGroup
				for g := range many {
					all.Go(func() {
						for i := range rounds {
							n := 1000*(g+1) + i
							do(p, xsigned("POST", "/flyio/extensions", filled(n)))
							// A refused request also reads a body.
							forged := xsigned("POST", "/flyio/extensions", filled(9999))
							forged.Header.Set("X-Signature", strings.Repeat("0", 64))
							do(p, forged)
							// So does a request that cannot be decoded.
							do(p, xsigned("POST", "/flyio/extensions", `{"id":7}`))
						}
					})
				}
				all.Wait()
				time.Sleep(time.Hour)
				mu.Lock()
				defer mu.Unlock()
				if len(requests) != many*rounds {
					t.Errorf("the Provisioner got %d requests, want %d", len(requests), many*rounds)
				}
				for id, req := range requests {
					n := strings.TrimPrefix(id, "id")
					got := fmt.Sprint(req.ID, req.OrganizationID, req.Name, req.UserEmail, req.ReadRegions,
						string(req.Extra["extra"+n]), string(req.Extra["another"]), len(req.Extra))
					want := fmt.Sprint("id"+n, "org"+n, "name"+n, n+"@"+strings.Repeat("x", 300), []string{"r" + n, "s" + n},
						`{"n":`+n+`}`, `"`+strings.Repeat(n, 100)+`"`, 2)
					if got != want {
						t.Errorf("%s:\ngot  %s\nwant %s", id, got, want)
					}
				}
			})
		})
	}
}

// A keeper is a verifier that keeps its messages, which a verifier must not do.
type keeper struct {
	flyext.Verifier
	mu   sync.Mutex
	kept []*flyext.Message
}

func (k *keeper) Verify(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = append(k.kept, m)
	return k.Verifier.Verify(ctx, m)
}

// A message that a custom verifier keeps is never overwritten by another, even inside
// AllOf or AnyOf.
func TestKeptMessage(t *testing.T) {
	t.Parallel()
	for name, around := range map[string]func(flyext.Verifier) flyext.Verifier{
		"by itself": func(v flyext.Verifier) flyext.Verifier { return v },
		"all of":    func(v flyext.Verifier) flyext.Verifier { return flyext.AllOf(flyext.XSignature(testSecret), v) },
		"any of": func(v flyext.Verifier) flyext.Verifier {
			return flyext.AllOf(flyext.AnyOf(v, flyext.BearerToken("t")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := &keeper{Verifier: flyext.XSignature(testSecret)}
			p := newProvider(t, &testProvisioner{}, func(c *flyext.Config) { c.Verifier = around(k) })
			auth, err := flyext.NewAuthenticator(flyext.Config{BaseURL: testBase, Verifier: around(k)})
			if err != nil {
				t.Fatal(err)
			}
			var bodies []string
			for n := range 100 {
				r := xsigned("POST", "/flyio/extensions", filled(n))
				text, err := io.ReadAll(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				r.Body = io.NopCloser(bytes.NewReader(text))
				bodies = append(bodies, string(text))
				if n%2 == 0 {
					do(p, r)
				} else if err := auth.Check(r); err != nil {
					t.Fatal(err)
				}
			}
			for n, m := range k.kept {
				if string(m.Body) != bodies[n] || m.Method != "POST" || m.Target != "/flyio/extensions" {
					t.Errorf("message %d has changed to %+v", n, m)
				}
			}
			if len(k.kept) != len(bodies) {
				t.Errorf("the verifier got %d messages, want %d", len(k.kept), len(bodies))
			}
		})
	}
}

// A handler may keep a restored body, and a receiver the data of an event. Later
// requests do not overwrite them.
func TestBodiesStayApart(t *testing.T) {
	t.Parallel()
	auth, err := flyext.NewAuthenticator(flyext.Config{BaseURL: testBase, Verifier: flyext.XSignature(testSecret)})
	if err != nil {
		t.Fatal(err)
	}
	var requests []*http.Request
	handler := auth.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { requests = append(requests, r) }))
	l := &listener{}
	p := newProvider(t, l, func(c *flyext.Config) {
		c.Verifier, c.EventVerifier = flyext.XSignature(testSecret), flyext.BearerToken("t")
	})
	var sent, events [][]byte
	// large leaves enough memory to reuse for all of them.
	large := func() { do(p, xsigned("POST", "/flyio/extensions", `{"pad":"`+strings.Repeat("p", 5000)+`"}`)) }
	for n := range 50 {
		large()
		r := xsigned("POST", "/flyio/extensions", filled(n))
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, text)
		r.Body = io.NopCloser(bytes.NewReader(text))
		if n%2 == 0 {
			handler.ServeHTTP(httptest.NewRecorder(), r)
		} else if err := auth.Check(r); err != nil {
			t.Fatal(err)
		} else {
			requests = append(requests, r)
		}
		large()
		data := []byte(fmt.Sprintf(`{"machine_id":"m%d"}`, n))
		e := binary(string(data), "ce-id", fmt.Sprint("e", n), "authorization", "Bearer t")
		if w := do(p, e); w.Code != http.StatusOK {
			t.Fatalf("got %d %s, want 200", w.Code, w.Body)
		}
		events = append(events, data)
	}
	for n, r := range requests {
		if text, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(text, sent[n]) {
			t.Errorf("body %d is now %q, %v", n, text, err)
		}
	}
	var got [][]byte
	for _, e := range l.received() {
		got = append(got, e.Data)
	}
	if !reflect.DeepEqual(got, events) {
		t.Errorf("the data of the events is now %q", got)
	}
}
