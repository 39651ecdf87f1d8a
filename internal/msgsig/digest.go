package msgsig

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/flyext/flyext/internal/sfv"
)

// A digest is a digest of the body.
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

// maxDigestField is the most bytes of Digest or Content-Digest.
const maxDigestField = 4 << 10

var (
	errDigestSyntax    = errors.New("the covered digest is malformed")
	errDigestAlgorithm = errors.New("the covered digest has no sha-256 or sha-512")
	errDigestMismatch  = errors.New("the covered digest differs from the body's")
)

// CheckDigests recomputes every covered digest. Call it once the MAC is right: before
// that, a stranger chose the digests.
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

// contentDigests parses Content-Digest (RFC 9530, section 2).
func (m *Message) contentDigests() *bodyDigests {
	if m.contentDigest != nil {
		return m.contentDigest
	}
	d := &bodyDigests{}
	m.contentDigest = d
	lines := m.Header["Content-Digest"]
	if size(lines) > maxDigestField {
		d.err = errDigestSyntax
		return d
	}
	if d.members, d.err = sfv.ParseDictionary(lines...); d.err != nil {
		d.err = errDigestSyntax
		return d
	}
	for i := range d.members {
		member := &d.members[i]
		if member.IsList || member.Value.Kind != sfv.Bytes {
			d.err = errDigestSyntax
			return d
		}
		if member.Key == "sha-256" || member.Key == "sha-512" {
			d.known = append(d.known, digest{member.Key, member.Value.Text})
		}
	}
	return d
}

// wantDigests parses Digest (RFC 3230, section 4.3.2). The names of its algorithms
// are case-insensitive.
func (m *Message) wantDigests() *bodyDigests {
	if m.digest != nil {
		return m.digest
	}
	d := &bodyDigests{}
	m.digest = d
	lines := m.Header["Digest"]
	if size(lines) > maxDigestField {
		d.err = errDigestSyntax
		return d
	}
	for part := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		name, value, ok := strings.Cut(trim(part), "=")
		if !ok {
			d.err = errDigestSyntax
			return d
		}
		name = strings.ToLower(name)
		if name != "sha-256" && name != "sha-512" {
			continue
		}
		sum, ok := sfv.DecodeBase64(value)
		if !ok {
			d.err = errDigestSyntax
			return d
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

// coverContentDigest notes the digests of a covered Content-Digest, or of one member.
func (s *Signature) coverContentDigest(m *Message, member string) error {
	d := m.contentDigests()
	return s.cover(d, member)
}

func (s *Signature) coverDigest(m *Message) error { return s.cover(m.wantDigests(), "") }

// cover notes digests. Coverage of a weak digest alone, such as md5, does not count.
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
// serialization (RFC 8941, section 4.1). Members with parameters, which RFC 9530
// does not have, are refused.
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
