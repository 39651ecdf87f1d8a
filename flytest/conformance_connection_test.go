package flytest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// exampleBase is a base URL for which the client of an [httptest.Server] connects to
// that server.
const exampleBase = "https://example.com/flyio"

// TestKeptConnection checks that "kept-connection" fails if the provider reads the
// body of a refused request as the next request.
func TestKeptConnection(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		refusal string // sent instead of the provider's refusal; "" keeps that
		want    flytest.Verdict
	}{
		{"the body is read", "", flytest.Passed},
		{"the connection is closed", "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", flytest.Passed},
		{"the body stays unread", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", flytest.Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			service := &logstore{streams: map[string]*stream{}, deleted: map[string]bool{}}
			provider, err := flyext.New(service, flyext.Config{BaseURL: exampleBase, Verifier: flyext.XSignature(secret)})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.refusal == "" || r.Header.Get("X-Signature") != "" || r.ContentLength <= 0 {
					provider.ServeHTTP(w, r)
					return
				}
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, c.refusal)
				if _, err := conn.Read(make([]byte, 1)); err == nil { // net/http has buffered the body, so this is the next request
					_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
				}
			}))
			t.Cleanup(server.Close)
			conformance := flytest.Conformance{
				BaseURL: exampleBase, Credentials: flytest.Credentials{SigningSecret: secret}, Client: server.Client(), Only: []string{"kept-connection"},
			}
			report, err := conformance.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := report.Results[0]; got.Verdict != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}
