package flyext

import (
	"slices"
	"testing"
	"time"
)

// A nonce that two verifiers share is used once: using it twice would look like a
// replay. It is remembered until neither verifier would admit the message.
func TestMergeNonces(t *testing.T) {
	t.Parallel()
	a := Nonce{Key: [16]byte{1}, Expires: time.Unix(60, 0)}
	later := Nonce{Key: [16]byte{1}, Expires: time.Unix(90, 0)}
	b := Nonce{Key: [16]byte{2}, Expires: time.Unix(60, 0)}
	for _, c := range []struct {
		name       string
		have, more []Nonce
		want       []Nonce
	}{
		{"the first", nil, []Nonce{a}, []Nonce{a}},
		{"the same again", []Nonce{a}, []Nonce{a}, []Nonce{a}},
		{"another one", []Nonce{a}, []Nonce{b, a}, []Nonce{a, b}},
		{"the same with a later expiry", []Nonce{a}, []Nonce{later}, []Nonce{later}},
		{"the same with an earlier expiry", []Nonce{later}, []Nonce{a}, []Nonce{later}},
	} {
		if got := mergeNonces(c.have, c.more...); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
