package flyext_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

// covered reports whether a recorded signature covers all that the documentation of the
// default policy requires.
func (c *interopCase) covered() bool {
	covers := func(name string) bool { return slices.Contains(c.Covers, name) }
	hasBody := c.Request.BodyBase64 != ""
	_, query, _ := strings.Cut(c.Request.URL, "?")
	switch c.Scheme {
	case "x-signature":
		signed := "body"
		if c.Request.Method == http.MethodGet || c.Request.Method == http.MethodDelete {
			signed = "query"
		}
		return covers(signed) && covers("timestamp") && covers("nonce") && covers("url-param")
	case "rfc9421-hmac-sha256":
		return covers("method") && covers("path") && (query == "" || covers("query")) &&
			(!hasBody || covers("body")) && (covers("created") || covers("date"))
	default: // draft-cavage, and zntrio's dialect
		return covers("method") && covers("path") && (query == "" || covers("query")) &&
			(!hasBody || covers("content-length") || covers("body")) && (covers("created") || covers("date"))
	}
}

// A request is admitted if, and only if, its signature is valid and covers all that the
// default policy requires.
func TestInteropDefaultPolicy(t *testing.T) {
	t.Parallel()
	admitted, uncovered := 0, 0
	for _, c := range readInterop(t) {
		want := c.Valid && c.covered()
		if feature, ok := c.OptionalFeature.(string); ok && slices.Contains(refusedFeatures, feature) {
			want = false
		}
		err := c.check(t, flyext.Policy{})
		if (err == nil) != want {
			t.Errorf("%s, signed by %s, covers %v: got %v, want admitted = %v %s", c.Name, c.Signer, c.Covers, err, want, c.Why)
		}
		switch {
		case want:
			admitted++
		case c.Valid:
			uncovered++
			if e, ok := errors.AsType[*flyext.Error](err); ok && e.Status != http.StatusUnauthorized {
				t.Errorf("%s: got %v, want the uniform 401", c.Name, err)
			}
		}
	}
	if admitted == 0 || uncovered == 0 {
		t.Errorf("the recordings have %d requests to admit and %d valid ones that cover too little; want some of each", admitted, uncovered)
	}
	t.Logf("%d admitted, %d valid but refused because they cover too little", admitted, uncovered)
}
