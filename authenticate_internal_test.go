package flyext

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// What is signed is what stands in the request line, whatever a router has made
// of r.URL, without the authority of an absolute form.
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

// A request's id has 26 digits of five random bits each, and of four in the last
// two: 128.
func TestNewRequestID(t *testing.T) {
	t.Parallel()
	const digits = "0123456789abcdefghjkmnpqrstvwxyz"
	var seen [26][32]bool
	for range 2000 { // of which all 832 have a digit missing once in 10^25 runs
		id := newRequestID()
		if len(id) != 26 {
			t.Fatalf("it is %q", id)
		}
		for i := range id {
			d := strings.IndexByte(digits, id[i])
			if d < 0 {
				t.Fatalf("it is %q", id)
			}
			seen[i][d] = true
		}
	}
	for i := range seen {
		for d, ok := range seen[i] {
			if last := i >= 24 && d >= 16; ok == last {
				t.Errorf("digit %d is %c: %t", i, digits[d], ok)
			}
		}
	}
}

// A reason is found below the name of the verifier that gives it.
func TestRefusalUnwraps(t *testing.T) {
	t.Parallel()
	if err := error(refusal{ErrSignatureMismatch}); !errors.Is(err, ErrSignatureMismatch) || err.Error() != "message signature: MAC does not match" {
		t.Errorf("got %v", err)
	}
}
