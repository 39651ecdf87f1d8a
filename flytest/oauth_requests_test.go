package flytest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext/flytest"
)

func TestOAuthRequests(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t)
	o.accessToken(o.aCode())
	o.fly.SetFault(flytest.TokenEndpoint, flytest.StatusAnswer(http.StatusInternalServerError))
	o.redeem(tokenForm("another"))
	o.fly.SetFault(flytest.TokenEndpoint, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if got := r.FormValue("client_secret"); got != oauthSecret {
				t.Errorf("a fault gets the secret %q, want the original: the record shares the form of the request", got)
			}
		})
	})
	o.redeem(tokenForm("third"))
	got := o.fly.Requests()
	paths := []string{}
	for _, r := range got {
		paths = append(paths, r.Method+" "+r.Path)
	}
	if want := []string{"POST /oauth/authorize", "POST /oauth/token", "POST /oauth/token", "POST /oauth/token"}; !slices.Equal(paths, want) {
		t.Fatalf("got %q, want %q", paths, want)
	}
	for name, want := range map[string]string{
		"client_secret": "[redacted]", "client_id": oauthClientID, "code": "another", "code_verifier": oauthVerifier,
	} {
		if got := got[2].Form.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	got[2].Form.Set("code", "changed")
	if again := o.fly.Requests()[2].Form.Get("code"); again != "another" {
		t.Errorf("the code is now %q: Requests returned the map of the server", again)
	}
	for range 1000 {
		o.do(httptest.NewRequest(http.MethodGet, "/", nil))
	}
	if got := o.fly.Requests(); len(got) != 1000 || got[0].Path != "/" {
		t.Errorf("got %d requests, the first for %s; want the last 1000", len(got), got[0].Path)
	}
}

// TestOAuthRequestsAreBounded checks that large or many parameters do not fill the
// memory.
func TestOAuthRequestsAreBounded(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"one large parameter": "a=" + strings.Repeat("x", 60<<10),
		"many short parameters": func() (many string) {
			var b strings.Builder
			for i := range 9000 {
				fmt.Fprintf(&b, "%x&", i)
			}
			return b.String()
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOAuthTest(t)
			for range 200 {
				r := httptest.NewRequest(http.MethodPost, "/oauth/x", strings.NewReader(body))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				o.do(r)
			}
			size, parameters := 0, 0
			for _, r := range o.fly.Requests() {
				for name, values := range r.Form {
					size += len(name) + len(strings.Join(values, ""))
					parameters++
				}
			}
			if size > 4<<20 || parameters > 10_000 {
				t.Errorf("the record of 200 requests has %d bytes in %d parameters", size, parameters)
			}
		})
	}
}
