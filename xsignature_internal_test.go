package flyext

import (
	"net/url"
	"strings"
	"testing"
)

// What needs no parsing is what parsing would say the same of.
func TestPlainURL(t *testing.T) {
	t.Parallel()
	base := &url.URL{Scheme: "https", Host: "logjam.test"}
	for c := range 256 {
		path := "/a" + string([]byte{byte(c)}) + "b"
		plain := c < 0x80 && strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/", rune(c))
		if isPlainPath(path) != plain {
			t.Errorf("%q is plain: %t", path, !plain)
		}
		text := base.String() + path
		target, err := url.Parse(text)
		parsed := err == nil && sameTarget(base, path, target)
		if _, ok := queryOfURL(base, path, text); ok != parsed {
			t.Errorf("%q at %q: %t, parsed %t", text, path, ok, parsed)
		}
	}
	for path, plain := range map[string]bool{"/": true, "": false, "a": false, "a/": false, "%/": false, "//a/../b": true} {
		if isPlainPath(path) != plain {
			t.Errorf("%q is plain: %t", path, !plain)
		}
	}
}
