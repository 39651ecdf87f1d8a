// Package msgsig reads the HTTP message signatures of a request and rebuilds the
// signed bytes, in four dialects: RFC 9421, draft-ietf-httpbis-message-signatures-05,
// draft-cavage, and zntrio's reading of the draft.
//
// It holds no keys and decides nothing. It returns the claims of a signature, its
// signature base, and what that base protects. The caller checks the MAC and
// decides whether the coverage is enough.
package msgsig

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/flyext/flyext/internal/sfv"
)

// A Message is a received request, byte for byte as it was sent. It caches what its
// signatures have in common, so it is for one goroutine.
type Message struct {
	Method string
	Scheme string // of the public URL: behind a proxy the connection does not tell
	Host   string // the Host header or :authority
	Target string // the request target of the request line, origin form
	Header http.Header
	Body   []byte

	read          int // bytes of components, see spend
	contentDigest *bodyDigests
	digest        *bodyDigests
}

// A stranger chooses the signatures of a message. These bounds hold for all of them
// together, because a message may have many.
const (
	// maxRead is the most bytes of components that go into signature bases.
	maxRead = 128 << 10
	// maxComponents is the most components.
	maxComponents = 64
)

// spend counts n bytes of a component before they are looked at.
func (m *Message) spend(n int) error {
	if m.read += n; m.read > maxRead {
		return errTooLarge
	}
	return nil
}

// A Dialect is a way of writing signatures down.
type Dialect uint8

// The dialects.
const (
	RFC9421 Dialect = iota // and draft-05
	Cavage
	Zntrio
)

// A Signature is one signature of a message.
type Signature struct {
	Dialect   Dialect
	KeyID     string // "" if the signature names none
	HasKeyID  bool
	Algorithm string // "" if the signature names none
	Value     string // the decoded MAC
	Nonce     string // "" if there is none

	Created, Expires       int64 // unix seconds
	HasCreated, HasExpires bool

	// Err is the reason why this signature cannot be verified. Another signature of
	// the message may be right.
	Err error

	// Covered is filled by AppendBase.
	Covered Covered

	components []sfv.Item // a name each, with parameters in RFC 9421 alone
	params     string     // the value of @signature-params, as received

	createdText, expiresText string // draft-cavage: as received
	digests                  []digest
}

// Covered is the part of the message that a signature's base protects.
type Covered struct {
	Method, Path, Query bool
	Authority           bool // by @authority, @target-uri or the Host field
	Digest              bool // a digest of the body; see Signature.CheckDigests
	ContentLength       bool
	Created             bool      // the parameter of that name
	Date                time.Time // the Date field; zero if it is not covered
}

// Covers reports whether the signature covers a component, named in lower case and
// without parameters ("@authority", "authorization").
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

// The reasons of the parsers and of AppendBase. The texts are fixed, because the log
// must have no part of an unauthenticated message.
var (
	ErrNone           = errors.New("no message signature")
	errSyntax         = errors.New("signature header: syntax error")
	errLabels         = errors.New("Signature and Signature-Input do not carry the same labels")
	errValue          = errors.New("signature value is not a byte sequence")
	errTooLarge       = errors.New("the signatures cover more than is read of a message")
	errTwoHeaders     = errors.New("Signature and Authorization carry different signatures")
	errParameter      = errors.New("signature parameter is malformed or repeated")
	errNothingCovered = errors.New("signature covers nothing")
	errRepeated       = errors.New("a component is covered twice")
	errUnknown        = errors.New("unknown component or component parameter")
	errAbsent         = errors.New("a covered component is absent from the request")
	errMethodCase     = errors.New("the method has lower-case letters, which this format does not sign")
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

// Authority returns the authority that the request was sent to.
func (m *Message) Authority() string { return Authority(m.Scheme, m.Host) }

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

// appendLowerMethod appends the method as draft-cavage and zntrio sign it, in lower
// case. POST and pOST would have the same signature, and a handler may tell them
// apart, so only a method in upper case is accepted.
func (m *Message) appendLowerMethod(dst []byte) ([]byte, error) {
	if strings.ToUpper(m.Method) != m.Method {
		return nil, errMethodCase
	}
	return m.appendLine(dst, strings.ToLower(m.Method))
}

// appendField appends the value of a field: its lines, trimmed, joined by a comma
// and a space (RFC 9421, section 2.1; draft-cavage, section 2.3).
func (m *Message) appendField(dst []byte, name string) ([]byte, error) {
	if name == "host" {
		return m.appendLine(dst, m.Host)
	}
	lines := m.Header[http.CanonicalHeaderKey(name)]
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

// appendLine appends one field line. A line break inside it, which net/http never
// delivers, would forge lines of the signature base.
func (m *Message) appendLine(dst []byte, line string) ([]byte, error) {
	if err := m.spend(len(line) + 1); err != nil {
		return nil, err
	}
	line = trim(line)
	for i := 0; i < len(line); i++ {
		if c := line[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return nil, errFieldValue
		}
	}
	return append(dst, line...), nil
}

// trim removes the spaces and tabs around a field's value (RFC 9110, section 5.5).
func trim(s string) string { return strings.Trim(s, " \t") }

// coverField notes that a field is covered, and reads the fields that mean something
// to a verifier.
func (s *Signature) coverField(m *Message, name string) (err error) {
	switch name {
	case "host":
		s.Covered.Authority = true
	case "date":
		s.Covered.Date, err = parseDate(m.Header["Date"])
	case "content-length":
		if !isLength(m.Header["Content-Length"], len(m.Body)) {
			return errContentLength
		}
		s.Covered.ContentLength = true
	case "digest":
		err = s.coverDigest(m)
	case "content-digest":
		err = s.coverContentDigest(m, "")
	}
	return err
}

// dateLayouts are the HTTP dates (RFC 9110, section 5.6.7), and the variants that
// signers write: days of one digit, numeric zones, UTC.
var dateLayouts = [...]string{
	"Mon, 2 Jan 2006 15:04:05 GMT",
	"Mon, 2 Jan 2006 15:04:05 -0700",
	"Mon, 2 Jan 2006 15:04:05 UTC",
	"Monday, 2-Jan-06 15:04:05 GMT",
	time.ANSIC,
}

const maxDate = 64 // bytes

func parseDate(lines []string) (time.Time, error) {
	if len(lines) != 1 || len(lines[0]) > maxDate {
		return time.Time{}, errDate
	}
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, trim(lines[0])); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errDate
}

// isLength reports whether a Content-Length is n, in digits alone.
func isLength(lines []string, n int) bool {
	if len(lines) != 1 {
		return false
	}
	value := trim(lines[0])
	length, err := strconv.ParseUint(value, 10, 32)
	return err == nil && len(value) <= 10 && int(length) == n
}

// IsFieldName reports whether a name is the name of a field in lower case (RFC 9110,
// section 5.1).
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
