// Package mac computes HMAC-SHA256 (RFC 2104, FIPS 198-1) under one key, many
// times, and reads what others have computed.
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
)

// Size is the length of a MAC in bytes.
const Size = sha256.Size

// A Key is a secret, ready for use. Its hash states are pooled, because a
// state that was reset once has the key's padding already hashed: that halves
// the cost of a short message. It is safe for concurrent use.
type Key struct {
	pool sync.Pool
}

// A state has room for its sum, which would be allocated if it were the
// caller's.
type state struct {
	hash hash.Hash
	sum  [Size]byte
}

// New returns the key for a secret, which it copies.
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

// Equal reports, in constant time, whether two MACs are the same.
func Equal(a, b [Size]byte) bool {
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Parse reads a MAC in lower- or upper-case hex or in standard base64, each in
// its one spelling.
func Parse(text string) (sum [Size]byte, ok bool) {
	switch len(text) {
	case hex.EncodedLen(Size):
		return parseHex(text)
	case base64.StdEncoding.EncodedLen(Size):
		return parseBase64(text)
	}
	return sum, false
}

func parseHex(text string) (sum [Size]byte, ok bool) {
	if text != strings.ToLower(text) && text != strings.ToUpper(text) {
		return sum, false
	}
	var digits [2 * Size]byte
	copy(digits[:], text)
	n, err := hex.Decode(sum[:], digits[:])
	return sum, err == nil && n == Size
}

// strictBase64 is made once: making it copies its tables.
var strictBase64 = base64.StdEncoding.Strict()

func parseBase64(text string) (sum [Size]byte, ok bool) {
	var digits [(Size + 2) / 3 * 4]byte
	copy(digits[:], text)
	var buf [Size + 1]byte // room for what so many digits can hold
	n, err := strictBase64.Decode(buf[:], digits[:])
	copy(sum[:], buf[:])
	return sum, err == nil && n == Size
}
