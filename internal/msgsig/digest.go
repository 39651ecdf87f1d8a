package msgsig

import (
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"strings"

	"github.com/flyext/flyext/internal/sfv"
)

// A digest of the body that a signature covers.
type digest struct {
	sha512 bool // else SHA-256
	sum    string
}

var (
	errDigestSyntax    = errors.New("the covered digest is malformed")
	errDigestAlgorithm = errors.New("the covered digest has no sha-256 or sha-512")
	errDigestMismatch  = errors.New("the covered digest is not the body's")
)

// CheckDigests recomputes every covered digest. It is to be called once the MAC
// is right: before, the digests are a stranger's.
func (s *Signature) CheckDigests(body []byte) error {
	for _, d := range s.digests {
		if d.sha512 {
			if sum := sha512.Sum512(body); d.sum != string(sum[:]) {
				return errDigestMismatch
			}
		} else if sum := sha256.Sum256(body); d.sum != string(sum[:]) {
			return errDigestMismatch
		}
	}
	return nil
}

// SumBody returns the SHA-256 of a body, which a covered digest may have said
// already. CheckDigests must have found it right.
func (s *Signature) SumBody(body []byte) string {
	for _, d := range s.digests {
		if !d.sha512 {
			return d.sum
		}
	}
	sum := sha256.Sum256(body)
	return string(sum[:])
}

// coverContentDigest takes what a covered Content-Digest (RFC 9530, section 2)
// says, or one member of it.
func (s *Signature) coverContentDigest(lines []string, member string) error {
	defer s.room.digests.Reset() // nothing leads to it: a sum is a copy
	members, err := sfv.ParseDictionary(joinLines(lines), &s.room.digests)
	if err != nil {
		return errDigestSyntax
	}
	covered := false
	for i := range members {
		m := &members[i]
		if m.IsList || m.Value.Kind != sfv.Bytes {
			return errDigestSyntax
		}
		if member != "" && m.Key != member {
			continue
		}
		switch m.Key {
		case "sha-256":
			covered = s.add(digest{sum: m.Value.Text})
		case "sha-512":
			covered = s.add(digest{sha512: true, sum: m.Value.Text})
		}
	}
	return s.isCovered(covered)
}

// coverDigest takes what a covered Digest (RFC 3230, section 4.3.2) says, whose
// algorithm names know no case.
func (s *Signature) coverDigest(lines []string) error {
	covered := false
	for part := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		name, value, ok := strings.Cut(trim(part), "=")
		if !ok {
			return errDigestSyntax
		}
		is256, is512 := strings.EqualFold(name, "sha-256"), strings.EqualFold(name, "sha-512")
		if !is256 && !is512 {
			continue
		}
		sum, ok := sfv.DecodeBase64(value)
		if !ok {
			return errDigestSyntax
		}
		covered = s.add(digest{sha512: is512, sum: sum})
	}
	return s.isCovered(covered)
}

func (s *Signature) add(d digest) bool {
	if s.digests == nil {
		s.digests = s.oneDigest[:0]
	}
	s.digests = append(s.digests, d)
	return true
}

// isCovered notes whether a field has a digest that still protects: a covered
// md5 is no covered body.
func (s *Signature) isCovered(covered bool) error {
	if !covered {
		return errDigestAlgorithm
	}
	s.Covered.Digest = true
	return nil
}
