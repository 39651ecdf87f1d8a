package msgsig

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/dunglas/httpsfv"

	"github.com/flyext/flyext/internal/sfv"
)

// maxComponents bounds the components of all signatures of a message together:
// the value of each is looked up before any MAC is right, and 64 signatures of 64
// components would have a stranger's query read 4,096 times.
const maxComponents = 64

// maxBase bounds the base that one signature has us hash, in bytes.
const maxBase = 128 << 10

// ParseRFC9421 reads Signature-Input and Signature (RFC 9421, section 4). Both
// must carry the same labels, each once.
func ParseRFC9421(h http.Header, room *Room) ([]Signature, error) {
	if len(h["Signature-Input"]) == 0 || len(h["Signature"]) == 0 {
		return nil, ErrNone
	}
	inputs, err := sfv.ParseDictionary(joinLines(h["Signature-Input"]), &room.fields)
	if err != nil {
		return nil, errSyntax
	}
	values, err := sfv.ParseDictionary(joinLines(h["Signature"]), &room.fields)
	if err != nil {
		return nil, errSyntax
	}
	if len(inputs) == 0 || len(inputs) != len(values) {
		return nil, errLabels
	}
	signatures := room.make(len(inputs))
	components := 0
	for i := range inputs {
		if components += len(inputs[i].Items); components > maxComponents {
			return nil, errSyntax
		}
		value := find(values, inputs[i].Key)
		if value == nil {
			return nil, errLabels
		}
		if value.IsList || value.Value.Kind != sfv.Bytes || len(value.Params) > 0 {
			return nil, errValue
		}
		if err := signatures[i].readRFC9421(&inputs[i]); err != nil {
			return nil, err
		}
		signatures[i].Value = value.Value.Text
	}
	return signatures, nil
}

func joinLines(lines []string) string {
	if len(lines) == 1 {
		return lines[0]
	}
	return strings.Join(lines, ", ")
}

func find(members []sfv.Member, key string) *sfv.Member {
	for i := range members {
		if members[i].Key == key {
			return &members[i]
		}
	}
	return nil
}

func (s *Signature) readRFC9421(input *sfv.Member) error {
	if !input.IsList {
		return errSyntax
	}
	s.Dialect, s.components, s.params = RFC9421, input.Items, input.Raw
	for i := range s.components {
		if s.components[i].Value.Kind != sfv.String {
			return errUnknown
		}
	}
	for i := range input.Params {
		if err := s.setParam(&input.Params[i]); err != nil {
			return err
		}
	}
	return nil
}

// setParam takes a signature parameter (RFC 9421, section 2.3). One that is not
// known is signed like the others, and says nothing to us.
func (s *Signature) setParam(p *sfv.Param) error {
	kind := sfv.String
	switch p.Name {
	case "created":
		kind, s.Created, s.HasCreated = sfv.Integer, p.Value.Int, true
	case "expires":
		kind, s.Expires, s.HasExpires = sfv.Integer, p.Value.Int, true
	case "keyid":
		s.KeyID, s.HasKeyID = p.Value.Text, true
	case "alg":
		if s.Algorithm = p.Value.Text; s.Algorithm == "" {
			return errParameter
		}
	case "nonce":
		s.Nonce = p.Value.Text
	case "tag":
	default:
		return nil
	}
	if p.Value.Kind != kind {
		return errParameter
	}
	return nil
}

// Options are what a caller may allow beyond the rules.
type Options struct {
	// DraftQueryParams allows draft-05's "@query-params";name="x", which
	// RFC 9421 does not know: it calls its own, differently encoded, component
	// "@query-param".
	DraftQueryParams bool
}

// AppendBase appends the signature base to dst and fills s.Covered.
func (s *Signature) AppendBase(dst []byte, m *Message, o Options) ([]byte, error) {
	switch s.Dialect {
	case Cavage:
		return s.appendCavage(dst, m)
	case Zntrio:
		return s.appendZntrio(dst, m)
	default:
		return s.appendRFC9421(dst, m, o)
	}
}

// appendRFC9421 is RFC 9421, section 2.5.
func (s *Signature) appendRFC9421(base []byte, m *Message, o Options) ([]byte, error) {
	if len(s.components) == 0 {
		return nil, errNothingCovered
	}
	var err error
	for i := range s.components {
		c := &s.components[i]
		if s.repeats(i) {
			return nil, errRepeated
		}
		base = append(append(base, c.Raw...), ": "...)
		if strings.HasPrefix(c.Value.Text, "@") {
			base, err = s.appendDerived(base, m, c, o)
		} else {
			base, err = s.appendFieldComponent(base, m, c)
		}
		if err != nil {
			return nil, err
		}
		if base = append(base, '\n'); len(base) > maxBase {
			return nil, errFieldValue
		}
	}
	s.Covered.Created = s.HasCreated
	base = append(base, `"@signature-params": `...)
	return append(base, s.params...), nil
}

// repeats reports whether the i-th component is there before already, its
// parameters in any order (RFC 9421, section 2).
func (s *Signature) repeats(i int) bool {
	for j := range i {
		if s.components[j].Equal(&s.components[i]) {
			return true
		}
	}
	return false
}

// appendDerived appends the value of a derived component (RFC 9421, section
// 2.2). None of them has parameters but the single query parameter.
func (s *Signature) appendDerived(dst []byte, m *Message, c *sfv.Item, o Options) ([]byte, error) {
	switch {
	case c.Value.Text == "@query-param":
		return appendQueryParam(dst, m, c, formEncode)
	case c.Value.Text == "@query-params" && o.DraftQueryParams:
		return appendQueryParam(dst, m, c, plain)
	case len(c.Params) > 0:
		return nil, errUnknown
	}
	switch c.Value.Text {
	case "@method":
		s.Covered.Method = true
		return append(dst, m.Method...), nil
	case "@authority":
		return m.appendLine(dst, m.authority())
	case "@scheme":
		return append(dst, m.Scheme...), nil
	case "@target-uri":
		s.Covered.Path, s.Covered.Query = true, true
		dst = append(append(dst, m.Scheme...), "://"...)
		dst, err := m.appendLine(dst, m.authority())
		if err != nil {
			return nil, err
		}
		return m.appendLine(dst, m.Target)
	case "@request-target":
		s.Covered.Path, s.Covered.Query = true, true
		return m.appendLine(dst, m.Target)
	case "@path":
		s.Covered.Path = true
		return m.appendLine(dst, m.path())
	case "@query":
		s.Covered.Query = true
		query, _ := m.query()
		return m.appendLine(append(dst, '?'), query)
	default:
		return nil, errUnknown
	}
}

// appendFieldComponent appends the value of a field (RFC 9421, section 2.1).
func (s *Signature) appendFieldComponent(dst []byte, m *Message, c *sfv.Item) ([]byte, error) {
	name := c.Value.Text
	if !IsFieldName(name) {
		return nil, errUnknown
	}
	if len(c.Params) > 0 {
		return s.appendParamField(dst, m, c)
	}
	dst, err := m.appendField(dst, name)
	if err != nil {
		return nil, err
	}
	if len(dst) > maxBase { // before it is parsed
		return nil, errFieldValue
	}
	if name == "content-digest" {
		if err := s.coverContentDigest(m.Header["Content-Digest"], ""); err != nil {
			return nil, err
		}
	}
	return dst, s.coverField(m, name)
}

// appendParamField appends a field with one of the parameters bs, sf and key
// (RFC 9421, sections 2.1.1 to 2.1.3). sf and key need the field's type, so
// they are known for Content-Digest alone. A date or a length under a
// parameter is not taken for covered: no signer does it.
func (s *Signature) appendParamField(dst []byte, m *Message, c *sfv.Item) ([]byte, error) {
	name := c.Value.Text
	lines := m.Header[fieldKey(name)]
	if len(c.Params) != 1 || len(lines) == 0 {
		return nil, errUnknown
	}
	size := 0
	for _, line := range lines {
		size += len(line)
	}
	if size > maxBase { // before it is parsed
		return nil, errFieldValue
	}
	p := c.Params[0]
	member := ""
	var err error
	switch {
	case p.Name == "bs" && isTrue(p.Value):
		for i, line := range lines {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = append(dst, ':')
			dst = base64.StdEncoding.AppendEncode(dst, []byte(trim(line)))
			dst = append(dst, ':')
		}
	case name == "content-digest" && p.Name == "sf" && isTrue(p.Value):
		dst, err = appendSerialized(dst, lines, "")
	case name == "content-digest" && p.Name == "key" && p.Value.Kind == sfv.String:
		member = p.Value.Text
		dst, err = appendSerialized(dst, lines, member)
	default:
		return nil, errUnknown
	}
	if err != nil {
		return nil, err
	}
	if name == "content-digest" {
		return dst, s.coverContentDigest(lines, member)
	}
	return dst, nil
}

func isTrue(v sfv.Value) bool { return v.Kind == sfv.Boolean && v.Int == 1 }

// appendSerialized appends a dictionary field, or one member of it, in its
// strict serialization.
func appendSerialized(dst []byte, lines []string, member string) ([]byte, error) {
	// httpsfv v1.1.0 reads the types of RFC 9651, too, and panics at one of them.
	if _, err := sfv.ParseDictionary(joinLines(lines), new(sfv.Room)); err != nil {
		return nil, errFieldValue
	}
	dict, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		return nil, errFieldValue
	}
	var value httpsfv.StructuredFieldValue = dict
	if member != "" {
		m, ok := dict.Get(member)
		if !ok {
			return nil, errAbsent
		}
		value = m
	}
	text, err := httpsfv.Marshal(value)
	if err != nil {
		return nil, errFieldValue
	}
	return append(dst, text...), nil
}

// maxQuery bounds the query that one parameter is looked for in, in bytes. It is
// read anew for each that a signature names.
const maxQuery = 16 << 10

// appendQueryParam appends the value of the one query parameter that the
// component names (RFC 9421, section 2.2.8). That protects this parameter and
// no other, so it does not cover the query.
func appendQueryParam(dst []byte, m *Message, c *sfv.Item, encode func(string) string) ([]byte, error) {
	name, ok := c.Param("name")
	if !ok || len(c.Params) != 1 || name.Kind != sfv.String {
		return nil, errUnknown
	}
	query, _ := m.query()
	if len(query) > maxQuery {
		return nil, errQueryParameter
	}
	found := false
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		k, err := url.QueryUnescape(k)
		if err != nil {
			return nil, errQueryParameter
		}
		if pair == "" || encode(k) != name.Text {
			continue
		}
		if v, err = url.QueryUnescape(v); err != nil || found {
			return nil, errQueryParameter
		}
		found = true
		if dst, err = m.appendLine(dst, encode(v)); err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, errQueryParameter
	}
	return dst, nil
}

func plain(s string) string { return s }

// formEncode is the percent-encoding of application/x-www-form-urlencoded as
// RFC 9421 wants it: a space is %20, and only *-._ and alphanumerics stay.
func formEncode(s string) string {
	s = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	s = strings.ReplaceAll(s, "~", "%7E")
	return strings.ReplaceAll(s, "%2A", "*")
}
