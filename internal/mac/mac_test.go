package mac_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/flyext/flyext/internal/mac"
)

// TestRFC4231 checks the test vectors of RFC 4231 with a complete HMAC-SHA256.
func TestRFC4231(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, key, message, want string }{
		{"case 1", strings.Repeat("\x0b", 20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{"case 2", "Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{"case 6, key longer than a block", strings.Repeat("\xaa", 131), "Test Using Larger Than Block-Size Key - Hash Key First",
			"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := mac.New(c.key)
			for range 3 { // reuses the state
				if sum := k.Sum([]byte(c.message)); hex.EncodeToString(sum[:]) != c.want {
					t.Errorf("got %x, want %s", sum, c.want)
				}
			}
		})
	}
}

func TestConcurrently(t *testing.T) {
	t.Parallel()
	k := mac.New("secret")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				message := fmt.Appendf(nil, "%d %d", i, j)
				h := hmac.New(sha256.New, []byte("secret"))
				h.Write(message)
				if sum := k.Sum(message); !hmac.Equal(sum[:], h.Sum(nil)) {
					t.Errorf("message %s: got a wrong MAC", message)
				}
			}
		})
	}
	wg.Wait()
}

func TestEqual(t *testing.T) {
	t.Parallel()
	var a [mac.Size]byte
	if !mac.Equal(a, a) {
		t.Error("a MAC differs from itself")
	}
	for i := range a {
		b := a
		b[i] = 1
		if mac.Equal(a, b) {
			t.Errorf("byte %d is not compared", i)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	k, message := mac.New("secret"), make([]byte, 400)
	for b.Loop() {
		k.Sum(message)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	sum := mac.New("secret").Sum([]byte("message"))
	lower := hex.EncodeToString(sum[:])
	standard := base64.StdEncoding.EncodeToString(sum[:])
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"lower-case hex", lower, true},
		{"upper-case hex", strings.ToUpper(lower), true},
		{"hex in both cases", strings.ToUpper(lower[:32]) + lower[32:], false},
		{"hex, one digit missing", lower[1:], false},
		{"hex, one digit more", lower + "0", false},
		{"hex with an invalid letter", lower[:63] + "g", false},
		{"base64", standard, true},
		{"base64 without padding", strings.TrimRight(standard, "="), false},
		{"base64 with spare bits set", standard[:42] + string(standard[42]+1) + "=", false},
		{"base64 with a line break", standard[:43] + "\n", false},
		{"base64 with a line break inside", standard[:20] + "\n" + standard[21:], false},
		{"base64 of 33 bytes", strings.Repeat("A", 44), false},
		{"base64 of 31 bytes", strings.Repeat("A", 42) + "==", false},
		{"URL-safe base64", strings.Repeat("_", 43) + "=", false},
		{"nothing", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, ok := mac.Parse(c.text)
			if ok != c.ok || ok && !mac.Equal(got, sum) {
				t.Errorf("%q: got %x, %t", c.text, got, ok)
			}
		})
	}
}
