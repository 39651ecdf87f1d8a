package msgsig

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/flyext/flyext/internal/sfv"
)

// ParseRFC9421 parses Signature-Input and Signature (RFC 9421, section 4). Both
// must have the same unique labels. If a single signature is malformed,
// ParseRFC9421 sets its Err and still returns the others.
func ParseRFC9421(h http.Header) ([]Signature, error) {
	if len(h["Signature-Input"]) == 0 || len(h["Signature"]) == 0 {
		return nil, ErrNone
	}
	inputs, err := sfv.ParseDictionary(h["Signature-Input"]...)
	if err != nil {
		return nil, errSyntax
	}
	values, err := sfv.ParseDictionary(h["Signature"]...)
	if err != nil {
		return nil, errSyntax
	}
	if len(inputs) == 0 || len(inputs) != len(values) {
		return nil, errLabels
	}
	signatures := make([]Signature, len(inputs))
	components := 0
	for i := range inputs {
		if components += len(inputs[i].Items); components > maxComponents {
			return nil, errSyntax
		}
		at := slices.IndexFunc(values, func(v sfv.Member) bool { return v.Key == inputs[i].Key })
		if at < 0 {
			return nil, errLabels
		}
		signatures[i].Err = signatures[i].readRFC9421(&inputs[i], &values[at])
	}
	return signatures, nil
}

func (s *Signature) readRFC9421(input, value *sfv.Member) error {
	if value.IsList || value.Value.Kind != sfv.Bytes || len(value.Params) > 0 {
		return errValue
	}
	if !input.IsList {
		return errSyntax
	}
	s.Dialect, s.Value, s.components, s.params = RFC9421, value.Value.Text, input.Items, input.Raw
	for i := range s.components {
		if s.components[i].Value.Kind != sfv.String {
			return errUnknown
		}
	}
	return s.setParams(input.Params)
}

// setParams stores the signature parameters (RFC 9421, section 2.3). Unknown parameters
// are signed but have no effect.
func (s *Signature) setParams(params []sfv.Param) error {
	for _, p := range params {
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
			continue
		}
		if p.Value.Kind != kind {
			return errParameter
		}
	}
	return nil
}

// AppendBase appends the signature base to dst and sets s.Covered. Once the message's
// signatures have covered too many bytes, it reads nothing.
func (s *Signature) AppendBase(dst []byte, m *Message) ([]byte, error) {
	if err := m.spend(0); err != nil {
		return nil, err
	}
	switch s.Dialect {
	case Cavage:
		return s.appendCavage(dst, m)
	case Zntrio:
		return s.appendZntrio(dst, m)
	default:
		return s.appendRFC9421(dst, m)
	}
}

// appendRFC9421 implements RFC 9421, section 2.5.
func (s *Signature) appendRFC9421(base []byte, m *Message) ([]byte, error) {
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
			base, err = s.appendDerived(base, m, c)
		} else {
			base, err = s.appendFieldComponent(base, m, c)
		}
		if err != nil {
			return nil, err
		}
		base = append(base, '\n')
	}
	s.Covered.Created = s.HasCreated
	base = append(base, `"@signature-params": `...)
	return append(base, s.params...), nil
}

// repeats reports whether component i repeats an earlier one. The order of
// parameters does not matter (RFC 9421, section 2).
func (s *Signature) repeats(i int) bool {
	for j := range i {
		if s.components[j].Equal(&s.components[i]) {
			return true
		}
	}
	return false
}

// appendDerived appends the value of a derived component (RFC 9421, section 2.2).
// Only @query-param and @query-params take parameters.
func (s *Signature) appendDerived(dst []byte, m *Message, c *sfv.Item) ([]byte, error) {
	switch {
	case c.Value.Text == "@query-param":
		return appendQueryParam(dst, m, c, formEncode)
	case c.Value.Text == "@query-params" && m.DraftQueryParams:
		return appendQueryParam(dst, m, c, plain)
	case len(c.Params) > 0:
		return nil, errUnknown
	}
	path, query, _ := strings.Cut(m.Target, "?")
	switch c.Value.Text {
	case "@method":
		s.Covered.Method = true
		return m.appendLine(dst, m.Method)
	case "@authority":
		s.Covered.Authority = true
		return m.appendLine(dst, m.Authority())
	case "@scheme":
		return append(dst, m.Scheme...), nil
	case "@target-uri":
		s.Covered.Path, s.Covered.Query, s.Covered.Authority = true, true, true
		dst = append(append(dst, m.Scheme...), "://"...)
		dst, err := m.appendLine(dst, m.Authority())
		if err != nil {
			return nil, err
		}
		return m.appendLine(dst, m.Target)
	case "@request-target":
		s.Covered.Path, s.Covered.Query = true, true
		return m.appendLine(dst, m.Target)
	case "@path":
		s.Covered.Path = true
		return m.appendLine(dst, path)
	case "@query":
		s.Covered.Query = true
		return m.appendLine(append(dst, '?'), query)
	}
	return nil, errUnknown
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
	return dst, s.coverField(m, name)
}

// appendParamField appends a field with one of the parameters bs, sf and key (RFC
// 9421, sections 2.1.1 to 2.1.3). Only Content-Digest supports sf and key, which
// depend on the type of the field. A date or length with a parameter does not count
// as covered.
func (s *Signature) appendParamField(dst []byte, m *Message, c *sfv.Item) ([]byte, error) {
	name := c.Value.Text
	lines := m.Header[http.CanonicalHeaderKey(name)]
	if len(c.Params) != 1 || len(lines) == 0 {
		return nil, errUnknown
	}
	p := c.Params[0]
	member := ""
	var err error
	switch {
	case p.Name == "bs" && isTrue(p.Value):
		dst, err = m.appendBytes(dst, lines)
	case name == "content-digest" && p.Name == "sf" && isTrue(p.Value):
		dst, err = m.appendSerialized(dst, "")
	case name == "content-digest" && p.Name == "key" && p.Value.Kind == sfv.String:
		member = p.Value.Text
		dst, err = m.appendSerialized(dst, member)
	default:
		return nil, errUnknown
	}
	if err != nil || name != "content-digest" {
		return dst, err
	}
	return dst, s.cover(m.contentDigests(), member)
}

// appendBytes appends each line of a field as a byte sequence.
func (m *Message) appendBytes(dst []byte, lines []string) ([]byte, error) {
	if err := m.spend(2*size(lines) + 4*len(lines)); err != nil { // an empty line becomes "::, "
		return nil, err
	}
	for i, line := range lines {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(dst, ':')
		dst = base64.StdEncoding.AppendEncode(dst, []byte(trim(line)))
		dst = append(dst, ':')
	}
	return dst, nil
}

func isTrue(v sfv.Value) bool { return v.Kind == sfv.Boolean && v.Int == 1 }

// maxQuery is the maximum length of a query to search for a parameter, in bytes.
const maxQuery = 4 << 10

// appendQueryParam appends the value of the query parameter that the component
// names (RFC 9421, section 2.2.8). This protects only that parameter, so it does
// not count as covering the query.
func appendQueryParam(dst []byte, m *Message, c *sfv.Item, encode func(string) string) ([]byte, error) {
	name, ok := c.Param("name")
	if !ok || len(c.Params) != 1 || name.Kind != sfv.String {
		return nil, errUnknown
	}
	_, query, _ := strings.Cut(m.Target, "?")
	if len(query) > maxQuery {
		return nil, errQueryParameter
	}
	if err := m.spend(len(query)); err != nil {
		return nil, err
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

// formEncode is the percent-encoding that RFC 9421 requires:
// application/x-www-form-urlencoded with %20 for a space. Only alphanumerics and
// *-._ are not encoded.
func formEncode(s string) string {
	s = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	s = strings.ReplaceAll(s, "~", "%7E")
	return strings.ReplaceAll(s, "%2A", "*")
}
