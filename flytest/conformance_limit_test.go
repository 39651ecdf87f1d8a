package flytest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext/flytest"
)

// TestBodyLimitVerdicts checks that only the provider can end the transfer of the
// endless body, and not a limit of the client.
func TestBodyLimitVerdicts(t *testing.T) {
	t.Parallel()
	reads := func(wait time.Duration) func(http.ResponseWriter, *http.Request) {
		return func(_ http.ResponseWriter, r *http.Request) {
			buf := make([]byte, 1<<20)
			for {
				if _, err := r.Body.Read(buf); err != nil {
					return
				}
				select {
				case <-r.Context().Done():
					return
				case <-time.After(wait):
				}
			}
		}
	}
	for _, c := range []struct {
		name    string
		timeout time.Duration // of the client
		handle  func(http.ResponseWriter, *http.Request)
		want    flytest.Verdict
	}{
		{"closes the connection", 0, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = r.Body.Read(make([]byte, 1<<10))
			panic(http.ErrAbortHandler)
		}, flytest.Passed},
		{"answers 413", 0, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusRequestEntityTooLarge) }, flytest.Passed},
		{"reads longer than the client's timeout", 10 * time.Second, reads(time.Second), flytest.Failed},
		{"reads longer than the run waits", 0, reads(time.Second), flytest.Failed},
		{"does not answer", 10 * time.Second, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, flytest.Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{format: flytest.FormatXSignature, handling: func(provider http.Handler) http.Handler {
					return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
						if r.ContentLength < 0 {
							c.handle(rw, r)
							return
						}
						provider.ServeHTTP(rw, r)
					})
				}}
				w.testing = func(conformance *flytest.Conformance) {
					conformance.Only, conformance.Client.Timeout = []string{"body-limit"}, c.timeout
				}
				if got := w.run(t).Results[0]; got.Verdict != c.want {
					t.Errorf("got %v, want %s", got, c.want)
				}
			})
		})
	}
}
