package flyext

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
)

// BearerToken returns a Verifier for "Authorization: Bearer <token>", which Fly.io's
// proposal requires in addition to a signature. Combine it with [MessageSignature] in an
// [AllOf]: with a token alone, an attacker who sees one request can make any other.
// Pass several tokens during a rotation. It is safe for concurrent use.
func BearerToken(tokens ...string) Verifier {
	v := &bearerToken{}
	if len(tokens) == 0 {
		v.err = errors.New("flyext: BearerToken needs a token")
	}
	for _, token := range tokens {
		if token == "" || strings.Trim(token, " \t") != token {
			v.err = errors.New("flyext: BearerToken: a token must not be empty, or begin or end with a space")
		}
		v.sums = append(v.sums, sha256.Sum256([]byte(token)))
	}
	return v
}

type bearerToken struct {
	construction
	sums [][sha256.Size]byte // hashes have equal lengths, so the comparison hides the token's
}

var (
	errBearerHeader   = fmt.Errorf("bearer token: %w: missing or repeated Authorization: Bearer header", ErrUnsigned)
	errBearerMismatch = &quietError{"bearer token: does not match", ErrSignatureMismatch}
)

func (v *bearerToken) Verify(_ context.Context, m *Message) (Verification, error) {
	if v.err != nil {
		return Verification{}, v.err
	}
	var token string
	found := 0
	for _, line := range m.Header["Authorization"] {
		if scheme, rest, ok := strings.Cut(line, " "); ok && strings.EqualFold(scheme, "Bearer") {
			token = strings.TrimLeft(rest, " ")
			found++
		}
	}
	if found != 1 {
		return Verification{}, errBearerHeader
	}
	sum := sha256.Sum256([]byte(token))
	equal := 0
	for i := range v.sums {
		equal |= subtle.ConstantTimeCompare(sum[:], v.sums[i][:])
	}
	if equal != 1 {
		return Verification{}, errBearerMismatch
	}
	return Verification{Generation: Generation1, Verifier: "bearer-token"}, nil
}
