package flytest_test

import (
	"net/http"
	"os"
	"testing"
)

// TestMain hides CloseIdleConnections of http.DefaultTransport from
// httptest.Server.Close. Otherwise Close would also close the idle connections of
// parallel tests, whose requests could fail with "http: CloseIdleConnections called".
func TestMain(m *testing.M) {
	http.DefaultTransport = struct{ http.RoundTripper }{http.DefaultTransport}
	os.Exit(m.Run())
}
