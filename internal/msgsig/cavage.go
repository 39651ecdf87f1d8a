package msgsig

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/flyext/flyext/internal/sfv"
)

// ParseCavage reads the signature of draft-cavage-http-signatures-12 (section
// 4) from the Signature header or from Authorization with the scheme Signature.
// A signer that sends both must have sent the same.
func ParseCavage(h http.Header, room *Room) ([]Signature, error) {
	text := ""
	switch lines := h["Signature"]; len(lines) {
	case 0:
	case 1:
		text = lines[0]
	default:
		return nil, errTwoHeaders
	}
	for _, line := range h["Authorization"] {
		scheme, credentials, _ := strings.Cut(line, " ")
		if !strings.EqualFold(scheme, "Signature") {
			continue
		}
		credentials = trim(credentials)
		if text != "" && text != credentials {
			return nil, errTwoHeaders
		}
		text = credentials
	}
	if text == "" {
		return nil, ErrNone
	}
	signatures := room.make(1)
	return signatures, signatures[0].readCavage(text)
}

func decodeValue(text string) (string, error) {
	value, ok := sfv.DecodeBase64(text)
	if !ok {
		return "", errValue
	}
	return value, nil
}

// What a stranger may make us read. The draft has seven parameters.
const (
	maxCavageParams     = 32
	maxCavageComponents = 64
)

func (s *Signature) readCavage(text string) error {
	s.Dialect = Cavage
	headers, hasHeaders := "date", false
	seen := make([]string, 0, 8)
	for rest := text; ; {
		name, value, tail, err := cavageParam(rest)
		if err != nil {
			return err
		}
		for _, n := range seen {
			if n == name {
				return errParameter
			}
		}
		if seen = append(seen, name); len(seen) > maxCavageParams {
			return errSyntax
		}
		switch name {
		case "keyId":
			s.KeyID, s.HasKeyID = value, true
		case "algorithm":
			if s.Algorithm = value; value == "" {
				return errParameter
			}
		case "headers":
			headers, hasHeaders = value, true
		case "created":
			s.createdText, s.HasCreated = value, true
			s.Created, err = cavageTime(value)
		case "expires": // which alone may have a fraction
			s.expiresText, s.HasExpires = value, true
			whole, fraction, _ := strings.Cut(value, ".")
			if s.Expires, err = cavageTime(whole); err == nil && fraction != "" {
				_, err = cavageTime(fraction)
			}
		case "signature":
			s.Value, err = decodeValue(value)
		}
		if err != nil {
			return err
		}
		if tail == "" {
			break
		}
		rest = tail
	}
	if len(s.Value) == 0 {
		return errValue
	}
	if !s.HasKeyID { // required by the draft (section 2.1.1); not signed, so anybody could drop it
		return errParameter
	}
	if hasHeaders && headers == "" {
		return errNothingCovered
	}
	for more := true; more; {
		var name string
		name, headers, more = strings.Cut(headers, " ")
		if name == "" || len(s.components) == maxCavageComponents {
			return errSyntax
		}
		// Some signers write the names in their caller's case and sign them
		// in lower case, as the draft says.
		s.cover(strings.ToLower(name))
	}
	return nil
}

// cover adds a component without parameters. Only a message's one signature may.
func (s *Signature) cover(name string) {
	s.components = append(s.components, sfv.Item{Value: sfv.Value{Kind: sfv.String, Text: name}})
	s.room.components = s.components
}

// cavageParam reads name="value" or name=123 and the comma behind it.
func cavageParam(s string) (name, value, rest string, err error) {
	name, s, ok := strings.Cut(s, "=")
	if !ok || !isCavageName(name) {
		return "", "", "", errSyntax
	}
	if strings.HasPrefix(s, `"`) {
		if value, s, ok = strings.Cut(s[1:], `"`); !ok || hasAny(value, '\\', '\r', '\n') {
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
	s = trimStart(s)
	if s == "" {
		return name, value, "", nil
	}
	if s[0] != ',' {
		return "", "", "", errSyntax
	}
	if rest = trimStart(s[1:]); rest == "" {
		return "", "", "", errSyntax
	}
	return name, value, rest, nil
}

func isCavageName(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case ' ', '\t', '"', ',':
			return false
		}
	}
	return name != ""
}

func hasAny(s string, chars ...byte) bool {
	for _, c := range chars {
		if strings.IndexByte(s, c) >= 0 {
			return true
		}
	}
	return false
}

// cavageTime reads created and expires, which some signers quote.
func cavageTime(value string) (int64, error) {
	if len(value) > 15 || strings.ContainsAny(value, "+-") {
		return 0, errParameter
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, errParameter
	}
	return n, nil
}

// appendCavage is the signing string of draft-cavage, section 2.3, with the
// pseudo-headers (keyid) and (algorithm) that npm's http-signature adds.
//
// Late drafts forbid (created) and (expires) with an hmac algorithm; Fly.io's
// page of 2023-05-31 asks for exactly that, and signers do it.
func (s *Signature) appendCavage(base []byte, m *Message) ([]byte, error) {
	var err error
	for i := range s.components {
		name := s.components[i].Value.Text
		if s.repeats(i) {
			return nil, errRepeated
		}
		if i > 0 {
			base = append(base, '\n')
		}
		base = append(append(base, name...), ": "...)
		switch name {
		case "(request-target)":
			s.Covered.Method, s.Covered.Path, s.Covered.Query = true, true, true
			if base, err = m.appendLowerMethod(base); err == nil {
				base, err = m.appendLine(append(base, ' '), m.Target)
			}
		case "(created)":
			base, err = appendText(base, s.createdText)
			s.Covered.Created = true
		case "(expires)":
			base, err = appendText(base, s.expiresText)
		case "(keyid)":
			base = append(base, s.KeyID...)
		case "(algorithm)":
			base = append(base, s.Algorithm...)
		default:
			if !isCavageField(name) {
				return nil, errUnknown
			}
			if base, err = m.appendField(base, name); err == nil {
				err = s.coverField(m, name)
			}
			if err == nil && name == "content-digest" {
				err = s.coverContentDigest(m.Header["Content-Digest"], "")
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return base, nil
}

func appendText(dst []byte, text string) ([]byte, error) {
	if text == "" {
		return nil, errAbsent
	}
	return append(dst, text...), nil
}

// isCavageField keeps pseudo-headers that we do not know, and the request-line
// of the drafts before 03, from being taken for fields.
func isCavageField(name string) bool { return name != "request-line" && IsFieldName(name) }
