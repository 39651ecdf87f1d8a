package flyext

import (
	"net/http"
	"net/url"
	"testing"
)

// The signature covers the target of the request line, even if a router has changed
// r.URL. The scheme and authority of an absolute form are left out.
func TestRequestTarget(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"/a%2Fb?c=d":            "/a%2Fb?c=d",
		"http://h.test/a?b":     "/a?b",
		"https://h.test/a":      "/a",
		"HTTPS://h.test/a":      "/a",
		"https://h.test":        "/",
		"https://h.test?a/b":    "/?a/b",
		"https://h.test/":       "/",
		"https:///a":            "/a",
		"https://":              "/",
		"ftp://h.test/a":        "ftp://h.test/a",
		"://h.test/a":           "://h.test/a",
		"/a?url=https://h.test": "/a?url=https://h.test",
		"/https://h.test":       "/https://h.test",
		"http:/a":               "http:/a",
		"*":                     "*",
		"http":                  "http",
		"https":                 "https",
		"":                      "/made/by%20hand?x",
	} {
		r := &http.Request{RequestURI: line, URL: &url.URL{Path: "/made/by hand", RawQuery: "x"}}
		if got := requestTarget(r); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}
