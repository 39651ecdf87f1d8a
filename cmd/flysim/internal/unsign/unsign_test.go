package unsign_test

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/flyext/flyext/cmd/flysim/internal/unsign"
)

func TestHeader(t *testing.T) {
	t.Parallel()
	got := unsign.Header(http.Header{
		"X-Signature": {"s"}, "Signature": {"s"}, "Signature-Input": {"s"}, "Authorization": {"Bearer t"}, "Date": {"d"}, "Digest": {"d"},
		"Host": {"h"}, "Content-Length": {"1"}, "Connection": {"close, X-Hop"}, "X-Hop": {"1"}, "Transfer-Encoding": {"chunked"},
		"Content-Type": {"application/cloudevents+json"}, "Ce-Id": {"e1"}, "X-Own": {"1", "2"},
	})
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{"Ce-Id", "Content-Type", "X-Own"}) || len(got["X-Own"]) != 2 {
		t.Errorf("got %v", got)
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"": "", "timestamp=1&nonce=2&url=3": "", "a=%20&timestamp=1&b=c+d&&url": "a=%20&b=c+d", "%75rl=1&curl=2": "curl=2", "%zz=1": "%zz=1",
	} {
		if got := unsign.Query(query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"b":1,"timestamp":2,"a":{"url":3},"nonce":"x","url":"y"}`: `{"b":1,"a":{"url":3}}`,
		`{"a": 1.0, "a":2, "\u0075rl":3}`:                           `{"a":1.0,"a":2}`,
		`{}`:                                                        `{}`, `[1]`: `[1]`, `{"a":`: `{"a":`, `{"url":1`: `{"url":1`, "": "",
	} {
		if got := string(unsign.Body([]byte(body))); got != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
}
