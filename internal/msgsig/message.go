// Package msgsig reads the HTTP message signatures that a request carries and
// rebuilds the bytes that were signed, in four dialects: RFC 9421 (with what
// draft-ietf-httpbis-message-signatures-05 did otherwise), draft-cavage, and
// zntrio's reading of the draft.
//
// It holds no keys and decides nothing. It says what a signature claims, what
// its signature base is, and what that base protects; whether the MAC is right
// and the coverage enough is its caller's question.
package msgsig

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/flyext/flyext/internal/sfv"
)

// A Message is a received request, as it came over the wire.
type Message struct {
	Method string
	Scheme string // of the public URL: behind a proxy the connection does not say
	Host   string // the Host header or :authority
	Target string // the request target of the request line, origin form
	Header http.Header
	Body   []byte
}

// A Dialect is a way of writing signatures down.
type Dialect uint8

// The dialects.
const (
	RFC9421 Dialect = iota // and draft-05
	Cavage
	Zntrio
)

// A Signature is one signature that a message carries.
type Signature struct {
	Dialect   Dialect
	KeyID     string // "" where the signature names none
	HasKeyID  bool
	Algorithm string // "" where the signature names none
	Value     string // the MAC, as received, decoded
	Nonce     string // "" where there is none

	Created, Expires       int64 // unix seconds
	HasCreated, HasExpires bool

	// Covered is filled by AppendBase.
	Covered Covered

	components []sfv.Item // a name each, with parameters in RFC 9421 alone
	params     string     // the value of @signature-params, as received

	createdText, expiresText string // draft-cavage: as received
	digests                  []digest

	room      *Room
	oneDigest [1]digest // for digests: few signatures cover two
}

// Room is the memory that the signatures of a message are in, and what they
// lead to. They are its own until it is reset. The zero value is ready.
type Room struct {
	fields     sfv.Room
	digests    sfv.Room // of one field at a time, which forgets it by itself
	signatures []Signature
	components []sfv.Item // of a signature that is no structured field
}

// maxKept is of how many signatures the memory is kept for the next message.
const maxKept = 4

// Reset lets the memory be used again, for another message.
func (r *Room) Reset() {
	r.fields.Reset()
	r.components = sfv.Empty(r.components, maxComponents)
	r.signatures = sfv.Empty(r.signatures, maxKept)
}

// make returns n signatures that say nothing yet.
func (r *Room) make(n int) []Signature {
	r.signatures = slices.Grow(r.signatures[:0], n)[:n]
	for i := range r.signatures {
		r.signatures[i] = Signature{room: r}
	}
	r.signatures[0].components = r.components[:0] // where it is the only one
	return r.signatures
}

// Covered says what a signature's base protects.
type Covered struct {
	Method, Path, Query bool
	Digest              bool // a digest of the body; see Signature.CheckDigests
	ContentLength       bool
	Created             bool      // the parameter of that name
	Date                time.Time // the Date field; zero where it is not covered
}

// Covers reports whether the component of that name, in lower case and without
// parameters ("@authority", "authorization"), is covered by the signature, whose
// base was made. The authority is in the target URI, and is the Host field.
func (s *Signature) Covers(name string) bool {
	if name == "@authority" && (s.Covers("@target-uri") || s.Covers("host")) {
		return true
	}
	for i := range s.components {
		if c := &s.components[i]; c.Value.Text == name && len(c.Params) == 0 {
			return true
		}
	}
	return false
}

// What Parse and Base refuse. The texts are fixed: they go to a log, where
// nothing of an unauthenticated message belongs.
var (
	ErrNone           = errors.New("no message signature")
	errSyntax         = errors.New("signature header: syntax error")
	errLabels         = errors.New("Signature and Signature-Input do not carry the same labels")
	errValue          = errors.New("signature value is not a byte sequence")
	errTwoHeaders     = errors.New("Signature and Authorization carry different signatures")
	errParameter      = errors.New("signature parameter is malformed or repeated")
	errNothingCovered = errors.New("signature covers nothing")
	errRepeated       = errors.New("a component is covered twice")
	errUnknown        = errors.New("unknown component or component parameter")
	errAbsent         = errors.New("a covered component is absent from the request")
	errMethodCase     = errors.New("the method has lower-case letters, and is signed without its case")
	errFieldValue     = errors.New("a covered field has a value that cannot be signed")
	errDate           = errors.New("the covered Date is not an HTTP date")
	errContentLength  = errors.New("the covered Content-Length is not the body's length")
	errQueryParameter = errors.New("a covered query parameter is absent or repeated")
)

func (m *Message) path() string {
	path, _, _ := strings.Cut(m.Target, "?")
	return path
}

func (m *Message) query() (query string, ok bool) {
	_, query, ok = strings.Cut(m.Target, "?")
	return query, ok
}

func (m *Message) authority() string { return Authority(m.Scheme, m.Host) }

// Authority returns a host in lower case without the default port of its
// scheme, which is in lower case already (RFC 9421, section 2.2.3; RFC 9110,
// section 4.2.3).
func Authority(scheme, host string) string {
	host = strings.ToLower(host)
	switch scheme {
	case "https":
		return strings.TrimSuffix(host, ":443")
	case "http":
		return strings.TrimSuffix(host, ":80")
	}
	return host
}

// appendLowerMethod appends the method as draft-cavage and zntrio sign it, in
// lower case. That is one signature for POST and pOST, so only the former is
// taken: a handler may tell them apart.
func (m *Message) appendLowerMethod(dst []byte) ([]byte, error) {
	if strings.ToUpper(m.Method) != m.Method {
		return nil, errMethodCase
	}
	return m.appendLine(dst, strings.ToLower(m.Method))
}

// fieldKey returns the key that net/http has a field under. That of a field which
// signatures cover often need not be made.
func fieldKey(name string) string {
	switch name {
	case "authorization":
		return "Authorization"
	case "content-digest":
		return "Content-Digest"
	case "content-length":
		return "Content-Length"
	case "content-type":
		return "Content-Type"
	case "date":
		return "Date"
	case "digest":
		return "Digest"
	}
	return http.CanonicalHeaderKey(name)
}

// appendField appends the value of a field: its lines, trimmed, joined by a
// comma and a space (RFC 9421, section 2.1; draft-cavage, section 2.3).
func (m *Message) appendField(dst []byte, name string) ([]byte, error) {
	if name == "host" {
		return m.appendLine(dst, m.Host)
	}
	lines := m.Header[fieldKey(name)]
	if len(lines) == 0 {
		return nil, errAbsent
	}
	var err error
	for i, line := range lines {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if dst, err = m.appendLine(dst, line); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// appendLine appends one field line. A line break inside it, which net/http
// never delivers, would forge lines of the signature base.
func (m *Message) appendLine(dst []byte, line string) ([]byte, error) {
	line = trim(line)
	for i := 0; i < len(line); i++ {
		if c := line[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return nil, errFieldValue
		}
	}
	return append(dst, line...), nil
}

// trim takes the spaces and tabs around a field's value away (RFC 9110, section
// 5.5).
func trim(s string) string {
	s = trimStart(s)
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

func trimStart(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	return s
}

// coverField notes that a field is covered, and reads the two fields whose values
// mean something to a verifier.
func (s *Signature) coverField(m *Message, name string) error {
	switch name {
	case "date":
		date, err := parseDate(m.Header["Date"])
		if err != nil {
			return err
		}
		s.Covered.Date = date
	case "content-length":
		if !isLength(m.Header["Content-Length"], len(m.Body)) {
			return errContentLength
		}
		s.Covered.ContentLength = true
	case "digest":
		return s.coverDigest(m.Header["Digest"])
	}
	return nil
}

// dateLayouts are the HTTP dates (RFC 9110, section 5.6.7), and what signers
// write for them: days of one digit, numeric zones, UTC.
var dateLayouts = [...]string{
	"Mon, 2 Jan 2006 15:04:05 GMT",
	"Mon, 2 Jan 2006 15:04:05 -0700",
	"Mon, 2 Jan 2006 15:04:05 UTC",
	"Monday, 2-Jan-06 15:04:05 GMT",
	time.ANSIC,
}

func parseDate(lines []string) (time.Time, error) {
	if len(lines) != 1 {
		return time.Time{}, errDate
	}
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, trim(lines[0])); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errDate
}

func isLength(lines []string, n int) bool {
	if len(lines) != 1 {
		return false
	}
	value := trim(lines[0])
	if value == "" || len(value) > 10 {
		return false
	}
	length := 0
	for i := 0; i < len(value); i++ {
		if value[i] < '0' || value[i] > '9' {
			return false
		}
		length = length*10 + int(value[i]-'0')
	}
	return length == n
}

// IsFieldName says whether a name is a field's (RFC 9110, section 5.1) in lower
// case.
func IsFieldName(name string) bool {
	for i := 0; i < len(name); i++ {
		switch c := name[i]; c {
		case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		default:
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
				return false
			}
		}
	}
	return name != ""
}
