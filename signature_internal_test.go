package flyext

import (
	"testing"
	"time"
)

// Of a nonce that two verifiers found, what lasts longer holds; and until when
// its message is fresh is not known if one of them does not know it.
func TestMergeNonces(t *testing.T) {
	t.Parallel()
	at := func(minute int) time.Time {
		if minute == 0 {
			return time.Time{}
		}
		return time.Unix(60*int64(minute), 0)
	}
	for _, c := range []struct{ expires, fresh, expires2, fresh2, wantExpires, wantFresh int }{
		{5, 3, 5, 3, 5, 3},
		{5, 3, 6, 4, 6, 4}, {6, 4, 5, 3, 6, 4},
		{5, 4, 6, 3, 6, 4}, {6, 3, 5, 4, 6, 4},
		{5, 0, 6, 4, 6, 0}, {5, 3, 6, 0, 6, 0}, {6, 0, 5, 0, 6, 0}, {6, 3, 5, 0, 6, 0}, {6, 0, 5, 4, 6, 0},
	} {
		one := Nonce{[16]byte{1}, at(c.expires), at(c.fresh)}
		another := Nonce{[16]byte{1}, at(c.expires2), at(c.fresh2)}
		other := Nonce{[16]byte{2}, at(1), at(1)}
		want := Nonce{[16]byte{1}, at(c.wantExpires), at(c.wantFresh)}
		for name, got := range map[string][]Nonce{
			"one after the other": mergeNonces(mergeNonces(mergeNonces(nil, one), other), another),
			"two at once":         mergeNonces([]Nonce{one}, other, another),
		} {
			if len(got) != 2 || got[0] != want || got[1] != other {
				t.Errorf("%+v, %s: got %v, want %v and %v", c, name, got, want, other)
			}
		}
	}
}
