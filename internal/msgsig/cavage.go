package msgsig

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/flyext/flyext/internal/sfv"
)

// ParseCavage parses the signature of draft-cavage-http-signatures-12 (section 4).
func ParseCavage(h http.Header) ([]Signature, error) {
	text, err := cavageText(h)
	if err != nil {
		return nil, err
	}
	s := Signature{Dialect: Cavage}
	headers, err := s.readCavageParams(text)
	if err != nil {
		return nil, err
	}
	if len(s.Value) == 0 {
		return nil, errValue
	}
	if !s.HasKeyID { // required (section 2.1.1), but unsigned: an attacker could remove it
		return nil, errParameter
	}
	if headers == "" {
		return nil, errNothingCovered
	}
	// Some signers list the names in the caller's case but sign them in lower case,
	// as the draft requires.
	if err := s.addComponents(strings.ToLower(headers), " "); err != nil {
		return nil, err
	}
	return []Signature{s}, nil
}

// cavageText returns the Signature header, or the credentials in Authorization with the
// scheme Signature. If both are present, they must be equal.
func cavageText(h http.Header) (text string, err error) {
	if len(h["Signature"]) > 1 {
		return "", errTwoHeaders
	}
	text = strings.Join(h["Signature"], "")
	for _, line := range h["Authorization"] {
		scheme, credentials, _ := strings.Cut(line, " ")
		if !strings.EqualFold(scheme, "Signature") {
			continue
		}
		if credentials = trim(credentials); text != "" && text != credentials {
			return "", errTwoHeaders
		}
		text = credentials
	}
	if text == "" {
		return "", ErrNone
	}
	if len(text) > sfv.MaxField {
		return "", errSyntax
	}
	return text, nil
}

// maxCavageParams is the maximum number of parameters. The draft defines six.
const maxCavageParams = 32

// readCavageParams sets the parameters and returns the value of headers.
func (s *Signature) readCavageParams(text string) (headers string, err error) {
	headers = "date" // the default of the draft
	seen := make([]string, 0, 8)
	for rest := text; rest != ""; {
		var name, value string
		if name, value, rest, err = cavageParam(rest); err != nil {
			return "", err
		}
		if slices.Contains(seen, name) {
			return "", errParameter
		}
		if seen = append(seen, name); len(seen) > maxCavageParams {
			return "", errSyntax
		}
		if name == "headers" {
			headers = value
		} else if err := s.setCavageParam(name, value); err != nil {
			return "", err
		}
	}
	return headers, nil
}

func (s *Signature) setCavageParam(name, value string) (err error) {
	switch name {
	case "keyId":
		s.KeyID, s.HasKeyID = value, true
	case "algorithm":
		if s.Algorithm = value; value == "" {
			return errParameter
		}
	case "created":
		s.createdText, s.HasCreated = value, true
		s.Created, err = cavageTime(value)
	case "expires": // only expires may have a fraction
		s.expiresText, s.HasExpires = value, true
		whole, fraction, _ := strings.Cut(value, ".")
		if s.Expires, err = cavageTime(whole); err == nil && fraction != "" {
			_, err = cavageTime(fraction)
		}
	case "signature":
		var ok bool
		if s.Value, ok = sfv.DecodeBase64(value); !ok {
			err = errValue
		}
	}
	return err
}

// addComponents adds the components of a list, which have no parameters.
func (s *Signature) addComponents(list, separator string) error {
	for name := range strings.SplitSeq(list, separator) {
		if name == "" || len(s.components) == maxComponents {
			return errSyntax
		}
		s.components = append(s.components, sfv.Item{Value: sfv.Value{Kind: sfv.String, Text: name}})
	}
	return nil
}

// cavageParam parses name="value" or name=123 and the comma after it.
func cavageParam(s string) (name, value, rest string, err error) {
	name, s, ok := strings.Cut(s, "=")
	if !ok || !isCavageName(name) {
		return "", "", "", errSyntax
	}
	if strings.HasPrefix(s, `"`) {
		if value, s, ok = strings.Cut(s[1:], `"`); !ok || strings.ContainsFunc(value, isForbidden) {
			return "", "", "", errSyntax
		}
	} else {
		end := 0
		for end < len(s) && ('0' <= s[end] && s[end] <= '9' || s[end] == '.') {
			end++
		}
		if end == 0 {
			return "", "", "", errSyntax
		}
		value, s = s[:end], s[end:]
	}
	s = strings.TrimLeft(s, " \t")
	if s == "" {
		return name, value, "", nil
	}
	if s[0] != ',' {
		return "", "", "", errSyntax
	}
	if rest = strings.TrimLeft(s[1:], " \t"); rest == "" {
		return "", "", "", errSyntax
	}
	return name, value, rest, nil
}

// isForbidden reports whether a quoted value must not contain a character: a control
// character (RFC 9110, section 5.6.4), or a backslash, which signers escape differently.
func isForbidden(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f || c == '\\' }

func isCavageName(name string) bool { return name != "" && !strings.ContainsAny(name, " \t\",") }

// cavageTime parses created or expires. Some signers quote them.
func cavageTime(value string) (int64, error) {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || len(value) > 15 {
		return 0, errParameter
	}
	return int64(n), nil
}

// appendCavage appends the signing string of draft-cavage, section 2.3, with the
// pseudo-headers (keyid) and (algorithm) of npm's http-signature.
//
// Late drafts forbid (created) and (expires) with an hmac algorithm. They are
// allowed here because Fly.io's page of 2023-05-31 requires them, and signers send
// them.
func (s *Signature) appendCavage(base []byte, m *Message) ([]byte, error) {
	var err error
	for i := range s.components {
		if s.repeats(i) {
			return nil, errRepeated
		}
		if i > 0 {
			base = append(base, '\n')
		}
		name := s.components[i].Value.Text
		base = append(append(base, name...), ": "...)
		if base, err = s.appendCavageValue(base, m, name); err != nil {
			return nil, err
		}
	}
	return base, nil
}

func (s *Signature) appendCavageValue(base []byte, m *Message, name string) ([]byte, error) {
	switch name {
	case "(request-target)":
		s.Covered.Method, s.Covered.Path, s.Covered.Query = true, true, true
		base, err := m.appendLowerMethod(base)
		if err != nil {
			return nil, err
		}
		return m.appendLine(append(base, ' '), m.Target)
	case "(created)":
		s.Covered.Created = true
		return appendText(base, s.createdText)
	case "(expires)":
		return appendText(base, s.expiresText)
	case "(keyid)":
		return append(base, s.KeyID...), nil
	case "(algorithm)":
		return append(base, s.Algorithm...), nil
	}
	if !isCavageField(name) {
		return nil, errUnknown
	}
	base, err := m.appendField(base, name)
	if err != nil {
		return nil, err
	}
	return base, s.coverField(m, name)
}

func appendText(dst []byte, text string) ([]byte, error) {
	if text == "" {
		return nil, errAbsent
	}
	return append(dst, text...), nil
}

// isCavageField reports whether name is a field name. It excludes unknown
// pseudo-headers and the request-line of the drafts before 03.
func isCavageField(name string) bool { return name != "request-line" && IsFieldName(name) }
