// Package msgsig parses the HTTP message signatures of a request and rebuilds the
// signed bytes. It supports four dialects: RFC 9421,
// draft-ietf-httpbis-message-signatures-05, draft-cavage, and the draft as
// github.com/zntrio/httpsig implements it.
//
// It holds no keys and makes no decision. It returns the parameters of a signature,
// its signature base, and what the base covers. The caller checks the MAC and
// decides whether the coverage is enough.
package msgsig

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flyext/flyext/internal/sfv"
)

// A Message is a received request, byte for byte as it was sent. It caches digests
// that its signatures share, so it is not safe for concurrent use.
type Message struct {
	Method string
	Scheme string // of the public URL; it may differ from the connection's behind a proxy
	Host   string // the Host header or :authority
	Target string // the request target of the request line, origin form
	Header http.Header
	Body   []byte

	// DraftQueryParams enables the component "@query-params" of draft-05. RFC 9421
	// replaced it with "@query-param", which has a different encoding.
	DraftQueryParams bool

	read          int // bytes of components so far; see spend
	contentDigest *bodyDigests
	digest        *bodyDigests
}

// Limits for all signatures of a message together. The signatures are not
// authenticated yet, and a message may have many.
const (
	maxRead       = 128 << 10 // bytes of components in signature bases
	maxComponents = 64
)

// spend counts n bytes of a component before they are read.
func (m *Message) spend(n int) error {
	if m.read += n; m.read > maxRead {
		return errTooLarge
	}
	return nil
}

// A Dialect is a signature format.
type Dialect uint8

const (
	RFC9421 Dialect = iota // and draft-05
	Cavage
	Zntrio
)

// A Signature is one signature of a message.
type Signature struct {
	Dialect   Dialect
	KeyID     string // "" if absent
	HasKeyID  bool
	Algorithm string // "" if absent
	Value     string // the decoded MAC
	Nonce     string // "" if absent

	Created, Expires       int64 // unix seconds
	HasCreated, HasExpires bool

	// Err is the reason why this signature cannot be verified. Another signature of
	// the message may still be valid.
	Err error

	// Covered is set by AppendBase.
	Covered Covered

	components []sfv.Item // names; only RFC9421 has parameters
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

// Covers reports whether the signature covers a component without parameters. The
// name is in lower case, such as "@authority" or "authorization".
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

// Errors of the parsers and of AppendBase. Their texts are fixed so that no part of
// an unauthenticated message gets into the log.
var (
	ErrNone           = errors.New("no message signature")
	errSyntax         = errors.New("signature header: syntax error")
	errLabels         = errors.New("Signature and Signature-Input have different labels")
	errValue          = errors.New("signature value is not a byte sequence")
	errTooLarge       = errors.New("the signatures cover too many bytes")
	errTwoHeaders     = errors.New("Signature and Authorization carry different signatures")
	errParameter      = errors.New("signature parameter is malformed or repeated")
	errNothingCovered = errors.New("signature covers nothing")
	errRepeated       = errors.New("a component is covered twice")
	errUnknown        = errors.New("unknown component or component parameter")
	errAbsent         = errors.New("a covered component is absent from the request")
	errMethodCase     = errors.New("the method has lower-case letters; this format signs only upper-case methods")
	errFieldValue     = errors.New("a covered field has a value that cannot be signed")
	errDate           = errors.New("the covered Date is not an HTTP date")
	errContentLength  = errors.New("the covered Content-Length is not the body's length")
	errQueryParameter = errors.New("a covered query parameter is absent or repeated")
)

// Authority returns the authority of the request's URL.
func (m *Message) Authority() string { return Authority(m.Scheme, m.Host) }

// Authority returns host in lower case without the default port of scheme (RFC 9421,
// section 2.2.3; RFC 9110, section 4.2.3). The scheme must be in lower case.
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

// SamePath compares the decoded elements of escaped paths: %2f equals %2F and differs
// from a slash.
func SamePath(a, b string) bool {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	return slices.EqualFunc(as, bs, func(a, b string) bool {
		x, errX := url.PathUnescape(a)
		y, errY := url.PathUnescape(b)
		return a == b || errX == nil && errY == nil && x == y
	})
}

// appendLowerMethod appends the method in lower case, as draft-cavage and zntrio
// sign it. It accepts only an upper-case method: POST and pOST would have the same
// signature, but a handler may distinguish them.
func (m *Message) appendLowerMethod(dst []byte) ([]byte, error) {
	if strings.ToUpper(m.Method) != m.Method {
		return nil, errMethodCase
	}
	return m.appendLine(dst, strings.ToLower(m.Method))
}

// appendField appends the value of a field: its lines, trimmed and joined by ", "
// (RFC 9421, section 2.1; draft-cavage, section 2.3).
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

// appendLine appends one trimmed field line. It refuses line breaks, which net/http
// never delivers, because they would forge lines of the signature base.
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

// coverField records that a field is covered. It checks the fields that verifiers
// use.
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
		err = s.cover(m.wantDigests(), "")
	case "content-digest":
		err = s.cover(m.contentDigests(), "")
	}
	return err
}

// dateLayouts are the HTTP dates (RFC 9110, section 5.6.7) and variants that
// signers send: one-digit days, numeric zones and UTC.
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

// isLength reports whether Content-Length is n, written only in digits.
func isLength(lines []string, n int) bool {
	if len(lines) != 1 {
		return false
	}
	value := trim(lines[0])
	length, err := strconv.ParseUint(value, 10, 32)
	return err == nil && len(value) <= 10 && int(length) == n
}

// IsFieldName reports whether name is a field name in lower case (RFC 9110, section
// 5.1).
func IsFieldName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}
