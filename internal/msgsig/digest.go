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

// coverDigest takes the digests of a covered field. At least one must be of an
// algorithm that still protects: a covered md5 is no covered body.
func (s *Signature) coverDigest(digests []digest, err error) error {
	if err != nil {
		return err
	}
	if len(digests) == 0 {
		return errDigestAlgorithm
	}
	if s.digests == nil {
		s.digests = digests
	} else {
		s.digests = append(s.digests, digests...)
	}
	s.Covered.Digest = true
	return nil
}

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

// parseContentDigest reads Content-Digest (RFC 9530, section 2), or one member
// of it.
func parseContentDigest(lines []string, member string) ([]digest, error) {
	var room [2]sfv.Member
	members, err := sfv.ParseDictionary(joinLines(lines), room[:])
	if err != nil {
		return nil, errDigestSyntax
	}
	var digests []digest
	for i := range members {
		m := &members[i]
		if m.IsList || m.Value.Kind != sfv.Bytes {
			return nil, errDigestSyntax
		}
		if member != "" && m.Key != member {
			continue
		}
		switch m.Key {
		case "sha-256":
			digests = append(digests, digest{sum: m.Value.Text})
		case "sha-512":
			digests = append(digests, digest{sha512: true, sum: m.Value.Text})
		}
	}
	return digests, nil
}

// parseDigest reads Digest (RFC 3230, section 4.3.2), whose algorithm names
// know no case.
func parseDigest(lines []string) ([]digest, error) {
	var digests []digest
	for part := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		name, value, ok := strings.Cut(trim(part), "=")
		if !ok {
			return nil, errDigestSyntax
		}
		is256, is512 := strings.EqualFold(name, "sha-256"), strings.EqualFold(name, "sha-512")
		if !is256 && !is512 {
			continue
		}
		sum, ok := sfv.DecodeBase64(value)
		if !ok {
			return nil, errDigestSyntax
		}
		digests = append(digests, digest{sha512: is512, sum: sum})
	}
	return digests, nil
}
