// Package mac computes and parses HMAC-SHA256 values (RFC 2104, FIPS 198-1). A Key
// is reused for many messages.
package mac

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strings"
	"sync"

	"github.com/flyext/flyext/internal/sfv"
)

// Size is the length of a MAC in bytes.
const Size = sha256.Size

// A Key computes MACs with a secret. It is safe for concurrent use. It pools hash
// states: a state that was reset has already hashed the key's padding, which halves
// the cost of a short message.
type Key struct {
	pool sync.Pool
}

// A state includes the buffer for a sum to save an allocation.
type state struct {
	hash hash.Hash
	sum  [Size]byte
}

// New returns a Key for a copy of secret.
func New(secret string) *Key {
	k := &Key{}
	k.pool.New = func() any { return &state{hash: hmac.New(sha256.New, []byte(secret))} }
	return k
}

// Sum returns the MAC of message.
func (k *Key) Sum(message []byte) [Size]byte {
	s := k.pool.Get().(*state)
	s.hash.Reset()
	s.hash.Write(message)
	s.hash.Sum(s.sum[:0])
	sum := s.sum
	k.pool.Put(s)
	return sum
}

// Equal reports whether two MACs are equal, in constant time.
func Equal(a, b [Size]byte) bool {
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Parse parses a MAC in standard base64, or in hex that is all lower or all upper
// case.
func Parse(text string) (sum [Size]byte, ok bool) {
	switch len(text) {
	case hex.EncodedLen(Size):
		return parseHex(text)
	case base64.StdEncoding.EncodedLen(Size):
		decoded, ok := sfv.DecodeBase64(text)
		copy(sum[:], decoded)
		return sum, ok && len(decoded) == Size
	}
	return sum, false
}

func parseHex(text string) (sum [Size]byte, ok bool) {
	if text != strings.ToLower(text) && text != strings.ToUpper(text) {
		return sum, false
	}
	n, err := hex.Decode(sum[:], []byte(text))
	return sum, err == nil && n == Size
}
