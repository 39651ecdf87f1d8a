package flyext_test

import (
	"net/http"
	"os"
	"testing"
)

// TestMain hides from httptest.Server.Close that http.DefaultTransport can close
// idle connections. Close closes those of every test that runs in parallel, and a
// request of theirs can fail with "http: CloseIdleConnections called".
func TestMain(m *testing.M) {
	http.DefaultTransport = struct{ http.RoundTripper }{http.DefaultTransport}
	os.Exit(m.Run())
}
