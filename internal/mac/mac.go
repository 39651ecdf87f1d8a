// Package mac computes HMAC-SHA256 (RFC 2104, FIPS 198-1) under one key, many
// times.
package mac

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"hash"
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

// New returns the key for a secret, which it copies.
func New(secret string) *Key {
	k := &Key{}
	k.pool.New = func() any { return hmac.New(sha256.New, []byte(secret)) }
	return k
}

// Sum returns the MAC of message.
func (k *Key) Sum(message []byte) (sum [Size]byte) {
	h := k.pool.Get().(hash.Hash)
	h.Reset()
	h.Write(message)
	h.Sum(sum[:0])
	k.pool.Put(h)
	return sum
}

// Equal reports, in constant time, whether two MACs are the same.
func Equal(a, b [Size]byte) bool {
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
