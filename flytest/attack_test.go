package flytest_test

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// attacks are changes to a genuine request on its way to the provider. The attacker
// does not know the secret.
var attacks = []struct {
	name     string
	method   string // of the genuine request
	body     string
	platform func(p *flytest.Platform)
	request  func(r *http.Request)
}{
	{
		name: "body of the same length", method: http.MethodPatch, body: `{"name":"a"}`,
		request: func(r *http.Request) { setBody(r, bytes.Replace(body(r), []byte(`"a"`), []byte(`"b"`), 1)) },
	},
	{
		name: "longer body", method: http.MethodPatch, body: `{"name":"a"}`,
		request: func(r *http.Request) { setBody(r, bytes.Replace(body(r), []byte(`"a"`), []byte(`"aa"`), 1)) },
	},
	{
		name: "no body", method: http.MethodPatch, body: `{"name":"a"}`,
		request: func(r *http.Request) { setBody(r, nil) },
	},
	{
		name: "body added", method: http.MethodGet,
		request: func(r *http.Request) { setBody(r, []byte(`{}`)) },
	},
	{
		name: "path", method: http.MethodGet,
		request: func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "mine", "hers", 1) },
	},
	{
		name: "path with a body", method: http.MethodPatch, body: `{"name":"a"}`,
		request: func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "mine", "hers", 1) },
	},
	{
		name: "method", method: http.MethodGet,
		request: func(r *http.Request) { r.Method = http.MethodDelete },
	},
	{
		name: "query added", method: http.MethodGet,
		request: func(r *http.Request) {
			r.URL.RawQuery = strings.TrimPrefix(r.URL.RawQuery+"&plan=free", "&")
		},
	},
	{
		name: "query added to a body", method: http.MethodPatch, body: `{"name":"a"}`,
		request: func(r *http.Request) { r.URL.RawQuery = "plan=free" },
	},
	{
		name: "signature", method: http.MethodGet,
		request: func(r *http.Request) {
			for _, name := range []string{"X-Signature", "Signature", "Authorization"} {
				for i, value := range r.Header[name] {
					r.Header[name][i] = flipMAC(value)
				}
			}
		},
	},
	{
		name: "no signature", method: http.MethodGet,
		request: func(r *http.Request) {
			for _, name := range []string{"X-Signature", "Signature", "Signature-Input", "Authorization"} {
				r.Header.Del(name)
			}
		},
	},
	{
		name: "stale", method: http.MethodGet,
		platform: func(p *flytest.Platform) { p.Now = func() time.Time { return time.Now().Add(-6 * time.Minute) } },
	},
	{
		name: "stale with a body", method: http.MethodPatch, body: `{"name":"a"}`,
		platform: func(p *flytest.Platform) { p.Now = func() time.Time { return time.Now().Add(-6 * time.Minute) } },
	},
	{
		name: "from the future", method: http.MethodGet,
		platform: func(p *flytest.Platform) { p.Now = func() time.Time { return time.Now().Add(2 * time.Minute) } },
	},
	{
		name: "from the future with a body", method: http.MethodPatch, body: `{"name":"a"}`,
		platform: func(p *flytest.Platform) { p.Now = func() time.Time { return time.Now().Add(2 * time.Minute) } },
	},
}

func body(r *http.Request) []byte {
	var buf bytes.Buffer
	if rc, err := r.GetBody(); err == nil {
		_, _ = buf.ReadFrom(rc)
	}
	return buf.Bytes()
}

func setBody(r *http.Request, body []byte) {
	flytest.SetBody(r, body)
	r.Header.Set("Content-Type", "application/json")
}

// flipMAC changes one character of the MAC that a header ends with.
func flipMAC(value string) string {
	at := len(value) - 10
	other := byte('0')
	if value[at] == other {
		other = '1'
	}
	return value[:at] + string(other) + value[at+1:]
}

func TestAttacksAreRefused(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		for _, a := range attacks {
			t.Run(f.name+"/"+a.name, func(t *testing.T) {
				t.Parallel()
				s := newService("mine", "hers")
				fly := start(t, s, f.signer(secret), f.verifier)
				if a.platform != nil {
					a.platform(fly)
				}
				r, err := fly.NewRequest(t.Context(), a.method, "/extensions/mine", []byte(a.body))
				if err != nil {
					t.Fatal(err)
				}
				if a.request != nil {
					a.request(r)
				}
				answer, err := fly.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				want, wantCalls := http.StatusUnauthorized, 0
				if f.uncovered == a.name {
					want, wantCalls = http.StatusOK, 1
				}
				if answer.StatusCode != want || s.called() != wantCalls {
					t.Errorf("got status %d and %d calls of the Provisioner, want %d and %d", answer.StatusCode, s.called(), want, wantCalls)
				}
			})
		}
	}
}

func TestWrongSecretIsRefused(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s := newService("mine")
			fly := start(t, s, f.signer(secret+"0"), f.verifier)
			_, provisioned := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "mine", OrganizationID: "M03FclA4m"})
			_, updated := fly.Update(t.Context(), "mine", flyext.UpdateRequest{})
			_, fetched := fly.Fetch(t.Context(), "mine")
			deprovisioned := fly.Deprovision(t.Context(), "mine")
			for i, err := range []error{provisioned, updated, fetched, deprovisioned} {
				if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Status != http.StatusUnauthorized || e.Code != flyext.CodeUnauthenticated {
					t.Errorf("call %d: %v", i, err)
				}
			}
			if s.called() != 0 {
				t.Errorf("the Provisioner was called %d times, want 0", s.called())
			}
		})
	}
}

func TestReplayIsRefused(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		for _, method := range []string{http.MethodPatch, http.MethodGet, http.MethodDelete} {
			t.Run(f.name+"/"+method, func(t *testing.T) {
				t.Parallel()
				s := newService("mine")
				fly := start(t, s, f.signer(secret), f.verifier)
				var content []byte
				if method == http.MethodPatch {
					content = []byte(`{"name":"a"}`)
				}
				r, err := fly.NewRequest(t.Context(), method, "/extensions/mine", content)
				if err != nil {
					t.Fatal(err)
				}
				for _, want := range []int{http.StatusOK, http.StatusUnauthorized, http.StatusUnauthorized} {
					answer, err := fly.Do(r)
					if err != nil || answer.StatusCode != want {
						t.Errorf("got %v, %v, want %d", answer, err, want)
					}
				}
				if s.called() != 1 {
					t.Errorf("the Provisioner was called %d times, want 1", s.called())
				}
			})
		}
	}
}
