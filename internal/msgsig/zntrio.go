package msgsig

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/flyext/flyext/internal/sfv"
)

// ParseZntrio parses a signature as github.com/zntrio/httpsig writes it:
//
//	Signature-Input: sig1=(@request-target, host, date); alg="hmac-sha256"; keyid="k"; created=1685641159
//	Signature: sig1=:base64:
//
// This is not a structured field: the names are unquoted and separated by commas.
// ParseZntrio accepts only the library's own spelling. It accepts only one
// signature, because a comma is ambiguous.
func ParseZntrio(h http.Header) ([]Signature, error) {
	if len(h["Signature-Input"]) != 1 || len(h["Signature"]) != 1 {
		return nil, ErrNone
	}
	if len(h["Signature-Input"][0]) > sfv.MaxField || len(h["Signature"][0]) > sfv.MaxField {
		return nil, errSyntax
	}
	label, input, ok := strings.Cut(h["Signature-Input"][0], "=")
	valueLabel, value, okValue := strings.Cut(h["Signature"][0], "=")
	if !ok || !okValue || label == "" || label != valueLabel {
		return nil, errLabels
	}
	s := Signature{Dialect: Zntrio, params: input}
	value, opened := strings.CutPrefix(value, ":")
	value, closed := strings.CutSuffix(value, ":")
	if s.Value, okValue = sfv.DecodeBase64(value); !okValue || !opened || !closed {
		return nil, errValue
	}
	list, params, ok := strings.Cut(input, ")")
	list, opened = strings.CutPrefix(list, "(")
	if !ok || !opened {
		return nil, errSyntax
	}
	if list == "" {
		return nil, errNothingCovered
	}
	if strings.ContainsAny(strings.ReplaceAll(list, ", ", ""), " \t\",;=()") || strings.ToLower(list) != list {
		return nil, errSyntax
	}
	if err := s.addComponents(list, ", "); err != nil {
		return nil, err
	}
	// The parameters after the list are those of a structured field.
	members, err := sfv.ParseDictionary("x=()" + params)
	if err != nil || len(members) != 1 {
		return nil, errParameter
	}
	err = s.setParams(members[0].Params)
	return []Signature{s}, err
}

// appendZntrio appends the library's signing string. Each line ends in a newline,
// including the last one. The path is signed decoded, so /a%2Fb and /a/b have the
// same signature.
func (s *Signature) appendZntrio(base []byte, m *Message) ([]byte, error) {
	var err error
	for i := range s.components {
		name := s.components[i].Value.Text
		if s.repeats(i) {
			return nil, errRepeated
		}
		base = append(append(base, name...), ": "...)
		switch name {
		case "@request-target":
			base, err = s.appendDecodedTarget(base, m)
		case "@created":
			base, err = appendText(base, unixText(s.Created, s.HasCreated))
		case "@expires":
			base, err = appendText(base, unixText(s.Expires, s.HasExpires))
		default:
			if !isCavageField(name) {
				return nil, errUnknown
			}
			if base, err = m.appendField(base, name); err == nil {
				err = s.coverField(m, name)
			}
		}
		if err != nil {
			return nil, err
		}
		base = append(base, '\n')
	}
	s.Covered.Created = s.HasCreated
	base = append(base, "@signature-params: "...)
	base = append(base, s.params...)
	return append(base, '\n'), nil
}

func (s *Signature) appendDecodedTarget(dst []byte, m *Message) ([]byte, error) {
	path, query, hasQuery := strings.Cut(m.Target, "?")
	path, err := url.PathUnescape(path)
	if err != nil || strings.Contains(path, "?") { // the end of the path would be ambiguous
		return nil, errFieldValue
	}
	s.Covered.Method, s.Covered.Path, s.Covered.Query = true, true, true
	if dst, err = m.appendLowerMethod(dst); err != nil {
		return nil, err
	}
	if dst, err = m.appendLine(append(dst, ' '), path); err != nil {
		return nil, err
	}
	if hasQuery {
		return m.appendLine(append(dst, '?'), query)
	}
	return dst, nil
}

func unixText(seconds int64, ok bool) string {
	if !ok {
		return ""
	}
	return strconv.FormatInt(seconds, 10)
}
