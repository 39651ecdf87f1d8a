package msgsig

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/flyext/flyext/internal/sfv"
)

type digest struct {
	name string // "sha-256" or "sha-512"
	sum  string
}

// bodyDigests are the digests of a field, parsed once for all signatures.
type bodyDigests struct {
	members []sfv.Member // of Content-Digest
	known   []digest
	err     error
}

// maxDigestField is the maximum length of Digest or Content-Digest, in bytes.
const maxDigestField = 4 << 10

var (
	errDigestSyntax    = errors.New("the covered digest is malformed")
	errDigestAlgorithm = errors.New("the covered digest has no sha-256 or sha-512")
	errDigestMismatch  = errors.New("the covered digest differs from the body's")
)

// CheckDigests recomputes each covered digest of the body. Call it after the MAC is
// verified: until then the digests are not authenticated.
func (s *Signature) CheckDigests(body []byte) error {
	for _, d := range s.digests {
		var sum string
		if d.name == "sha-512" {
			long := sha512.Sum512(body)
			sum = string(long[:])
		} else {
			short := sha256.Sum256(body)
			sum = string(short[:])
		}
		if d.sum != sum {
			return errDigestMismatch
		}
	}
	return nil
}

// contentDigests returns the digests of Content-Digest.
func (m *Message) contentDigests() *bodyDigests {
	if m.contentDigest == nil {
		m.contentDigest = parseContentDigest(m.Header["Content-Digest"])
	}
	return m.contentDigest
}

// wantDigests returns the digests of Digest.
func (m *Message) wantDigests() *bodyDigests {
	if m.digest == nil {
		m.digest = parseDigest(m.Header["Digest"])
	}
	return m.digest
}

var malformedDigests = &bodyDigests{err: errDigestSyntax}

// parseContentDigest parses Content-Digest (RFC 9530, section 2).
func parseContentDigest(lines []string) *bodyDigests {
	members, err := sfv.ParseDictionary(lines...)
	if err != nil || size(lines) > maxDigestField {
		return malformedDigests
	}
	d := &bodyDigests{members: members}
	for i := range members {
		member := &members[i]
		if member.IsList || member.Value.Kind != sfv.Bytes {
			return malformedDigests
		}
		if member.Key == "sha-256" || member.Key == "sha-512" {
			d.known = append(d.known, digest{member.Key, member.Value.Text})
		}
	}
	return d
}

// parseDigest parses Digest (RFC 3230, section 4.3.2). Algorithm names are
// case-insensitive.
func parseDigest(lines []string) *bodyDigests {
	if size(lines) > maxDigestField {
		return malformedDigests
	}
	d := &bodyDigests{}
	for part := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		name, value, ok := strings.Cut(trim(part), "=")
		if !ok {
			return malformedDigests
		}
		if name = strings.ToLower(name); name != "sha-256" && name != "sha-512" {
			continue
		}
		sum, ok := sfv.DecodeBase64(value)
		if !ok {
			return malformedDigests
		}
		d.known = append(d.known, digest{name, sum})
	}
	return d
}

func size(lines []string) int {
	n := 0
	for _, line := range lines {
		n += len(line)
	}
	return n
}

// cover records covered digests. A weak digest alone, such as md5, does not count.
func (s *Signature) cover(d *bodyDigests, member string) error {
	if d.err != nil {
		return d.err
	}
	found := false
	for _, known := range d.known {
		if member == "" || known.name == member {
			s.digests = append(s.digests, known)
			found = true
		}
	}
	if !found {
		return errDigestAlgorithm
	}
	s.Covered.Digest = true
	return nil
}

// appendSerialized appends Content-Digest, or one member of it, in its strict
// serialization (RFC 8941, section 4.1). It refuses members with parameters, which
// RFC 9530 does not define.
func (m *Message) appendSerialized(dst []byte, name string) ([]byte, error) {
	d := m.contentDigests()
	if d.err != nil {
		return nil, d.err
	}
	found := false
	for i := range d.members {
		member := &d.members[i]
		if name != "" && member.Key != name {
			continue
		}
		if len(member.Params) > 0 {
			return nil, errUnknown
		}
		if err := m.spend(len(member.Key) + 2*len(member.Value.Text)); err != nil {
			return nil, err
		}
		if name == "" && found {
			dst = append(dst, ", "...)
		}
		if name == "" {
			dst = append(append(dst, member.Key...), '=')
		}
		dst = append(dst, ':')
		dst = base64.StdEncoding.AppendEncode(dst, []byte(member.Value.Text))
		dst = append(dst, ':')
		found = true
	}
	if !found {
		return nil, errAbsent
	}
	return dst, nil
}
