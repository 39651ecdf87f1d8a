package flyext_test

import (
	"net/http"
	"os"
	"testing"
)

// TestMain replaces http.DefaultTransport by one without CloseIdleConnections.
// httptest.Server.Close would call that method and close the connections of parallel
// tests, whose requests can then fail with "http: CloseIdleConnections called".
func TestMain(m *testing.M) {
	http.DefaultTransport = struct{ http.RoundTripper }{http.DefaultTransport}
	os.Exit(m.Run())
}
