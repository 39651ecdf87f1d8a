package flyext

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
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

// A request id has 26 digits with 128 random bits: five bits in each of the first 24
// digits, four in each of the last two.
func TestNewRequestID(t *testing.T) {
	t.Parallel()
	const digits = "0123456789abcdefghjkmnpqrstvwxyz"
	var seen [26][32]bool
	for range 2000 { // a digit is missing by chance in one of 10^25 runs
		id := newRequestID()
		if len(id) != 26 {
			t.Fatalf("the id is %q, want 26 digits", id)
		}
		for i := range id {
			d := strings.IndexByte(digits, id[i])
			if d < 0 {
				t.Fatalf("the id %q has %q", id, id[i])
			}
			seen[i][d] = true
		}
	}
	for i := range seen {
		for d, ok := range seen[i] {
			if last := i >= 24 && d >= 16; ok == last {
				t.Errorf("digit %d is sometimes %c: %t, want %t", i, digits[d], ok, !last)
			}
		}
	}
}

// errors.Is finds the reason in a refusal, whose text also names the verifier.
func TestRefusalUnwraps(t *testing.T) {
	t.Parallel()
	if err := error(refusal{ErrSignatureMismatch}); !errors.Is(err, ErrSignatureMismatch) || err.Error() != "message signature: MAC does not match" {
		t.Errorf("got %v", err)
	}
}
