package msgsig

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/flyext/flyext/internal/sfv"
)

// ParseZntrio reads a signature as github.com/zntrio/httpsig writes it:
//
//	Signature-Input: sig1=(@request-target, host, date); alg="hmac-sha256"; keyid="k"; created=1685641159
//	Signature: sig1=:base64:
//
// That is no structured field: the names are not quoted and stand between
// commas. Only the one spelling that the library emits is read, and only one
// signature: a comma is ambiguous already.
func ParseZntrio(h http.Header, room *Room) ([]Signature, error) {
	if len(h["Signature-Input"]) != 1 || len(h["Signature"]) != 1 {
		return nil, ErrNone
	}
	label, input, ok := strings.Cut(h["Signature-Input"][0], "=")
	valueLabel, value, okValue := strings.Cut(h["Signature"][0], "=")
	if !ok || !okValue || label == "" || label != valueLabel {
		return nil, errLabels
	}
	signatures := room.make(1)
	s := &signatures[0]
	s.Dialect, s.params = Zntrio, input
	var err error
	value, opened := strings.CutPrefix(value, ":")
	value, closed := strings.CutSuffix(value, ":")
	if s.Value, err = decodeValue(value); err != nil || !opened || !closed {
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
	for name := range strings.SplitSeq(list, ", ") {
		if len(s.components) == 64 || name == "" || strings.ContainsAny(name, " \t\",;=()") || strings.ToLower(name) != name {
			return nil, errSyntax
		}
		s.cover(name)
	}
	// Behind the list stand ordinary parameters, with a space before each.
	members, err := sfv.ParseDictionary("x=()"+params, &room.fields)
	if err != nil || len(members) != 1 {
		return nil, errParameter
	}
	for i := range members[0].Params {
		if err := s.setParam(&members[0].Params[i]); err != nil {
			return nil, err
		}
	}
	return signatures, nil
}

// appendZntrio is that library's signing string: every line ends in a newline,
// the last one too, and the path is signed decoded, so that /a%2Fb and /a/b
// have one signature.
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
			base, err = appendTime(base, s.Created, s.HasCreated)
		case "@expires":
			base, err = appendTime(base, s.Expires, s.HasExpires)
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
	path, err := url.PathUnescape(m.path())
	if err != nil || strings.Contains(path, "?") { // where would the path end?
		return nil, errFieldValue
	}
	s.Covered.Method, s.Covered.Path, s.Covered.Query = true, true, true
	if dst, err = m.appendLowerMethod(dst); err != nil {
		return nil, err
	}
	if dst, err = m.appendLine(append(dst, ' '), path); err != nil {
		return nil, err
	}
	if query, ok := m.query(); ok {
		return m.appendLine(append(dst, '?'), query)
	}
	return dst, nil
}

func appendTime(dst []byte, unix int64, ok bool) ([]byte, error) {
	if !ok {
		return nil, errAbsent
	}
	return strconv.AppendInt(dst, unix, 10), nil
}
