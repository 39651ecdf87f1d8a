package flyext

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext/internal/split"
)

// An object is the body of a request: one JSON object, its members in order,
// as they came.
type object struct {
	body    []byte
	members []member
	next    int             // where to look first: senders keep to an order
	texts   strings.Builder // those that were read, one behind the other
	err     error           // the first field that could not be decoded
	room    [16]member      // for as many members as most have
}

// A member is where its name, without quotation marks, and its value stand in
// the body.
type member struct {
	nameStart, nameEnd   uint32
	valueStart, valueEnd uint32

	escaped bool // the name is
	known   bool // it is one of the protocol's: not an extra
}

// name returns a member's name.
func (o *object) name(m *member) []byte {
	if m.escaped {
		return unquote(o.body[m.nameStart-1 : m.nameEnd+1])
	}
	return o.body[m.nameStart:m.nameEnd]
}

// value returns a member's value. What is appended to it does not reach what
// stands behind it in the body.
func (o *object) value(m *member) jsontext.Value { return o.body[m.valueStart:m.valueEnd:m.valueEnd] }

// parse parses the body, once. Nothing here says yes to what two JSON parsers
// might read differently: duplicate members, invalid UTF-8 and a second value
// behind the first are errors.
func (m *Message) parse() (*object, error) {
	if m.object != nil {
		return m.object, nil
	}
	var o *object
	if m.intake != nil && m == &m.intake.message { // and no copy of it, whose body may be another
		o = &m.intake.object
	} else {
		o = new(object)
	}
	if err := o.parse(m.Body); err != nil {
		return nil, err
	}
	m.object = o
	return o, nil
}

func parseObject(body []byte) (*object, error) {
	o := &object{}
	if err := o.parse(body); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *object) parse(body []byte) error {
	if !jsontext.Value(body).IsValid() || body[split.Start(body)] != '{' {
		return whyNoObject(body)
	}
	if uint64(len(body)) > math.MaxUint32 { // an int may be too small for that number
		return malformed("The body is too large to be decoded.", nil)
	}
	*o = object{body: body}
	o.members = o.room[:0]
	for name, value, ok := split.Member(body, 0); ok; name, value, ok = split.Member(body, value.End) {
		o.members = append(o.members, member{
			nameStart: uint32(name.Start + 1), nameEnd: uint32(name.End - 1),
			valueStart: uint32(value.Start), valueEnd: uint32(value.End),
			escaped: bytes.IndexByte(body[name.Start:name.End], '\\') >= 0,
		})
	}
	return nil
}

// whyNoObject says what keeps a body from being one JSON object.
func whyNoObject(body []byte) error {
	if len(body) == 0 {
		return malformed("The body is empty; a JSON object is expected.", nil)
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(body))
	isObject := dec.PeekKind() == '{'
	_, err := dec.ReadValue()
	switch {
	case isObject && err != nil:
		return malformedJSON(err)
	case isObject:
		return malformed("The body has something behind the JSON object.", nil)
	case err != nil:
		return malformed("The body is not JSON.", nil)
	}
	return malformed("The body is JSON, but not an object.", nil)
}

// unquote returns what a valid string stands for: bytes of the body, where
// nothing in it is escaped.
func unquote(value jsontext.Value) []byte {
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1]
	}
	text, _ := jsontext.AppendUnquote(nil, value)
	return text
}

func malformed(message string, err error) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeMalformedBody, Message: message, Err: err}
}

// malformedJSON tells what is wrong and where, by member.
func malformedJSON(err error) *Error {
	what := "is not JSON"
	if errors.Is(err, jsontext.ErrDuplicateName) {
		what = "names a member twice"
	} else if strings.Contains(err.Error(), "UTF-8") {
		what = "is not UTF-8"
	}
	at := ""
	var cause error
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if s.JSONPointer != "" {
			at = fmt.Sprintf(" (at %q)", strings.TrimPrefix(string(s.JSONPointer), "/"))
		}
		// The error itself quotes the body, which the log must not have.
		cause = fmt.Errorf("the body %s, at byte %d", what, s.ByteOffset)
	}
	return malformed("The body "+what+at+".", cause)
}

// take returns a member and marks it as known.
func (o *object) take(name string) (jsontext.Value, bool) {
	i := o.find(name, o.next, len(o.members))
	if i < 0 {
		i = o.find(name, 0, o.next)
	}
	if i < 0 {
		return nil, false
	}
	m := &o.members[i]
	m.known, o.next = true, i+1
	return o.value(m), true
}

// find returns the first member of that name among some, or -1.
func (o *object) find(name string, from, upto int) int {
	for i := from; i < upto; i++ {
		if m := &o.members[i]; string(o.name(m)) == name {
			return i
		}
	}
	return -1
}

// has says whether there is a member, be it null.
func (o *object) has(name string) bool { return o.find(name, 0, len(o.members)) >= 0 }

// param reads a string that the signature needs; also a number's digits, where
// numeric says so. What is of another type is "": absent.
func (o *object) param(name string, numeric bool) string {
	value, ok := o.take(name)
	switch {
	case !ok:
		return ""
	case numeric && value.Kind() == '0':
		return o.text(value)
	case value.Kind() == '"':
		return o.text(unquote(value))
	}
	return ""
}

func (o *object) invalid(name, must string) {
	if o.err == nil {
		o.err = &Error{
			Status: http.StatusUnprocessableEntity, Code: CodeInvalidField,
			Message: fmt.Sprintf("%q must be %s.", name, must),
		}
	}
}

// signatureParams are the members that X-Signature adds to a body.
var signatureParams = []string{"timestamp", "nonce", "url"}

// extra returns the members that nobody took. The parameters of X-Signature are
// none; in generation 1, which has no such parameters, they would be.
func (o *object) extra(g Generation) map[string]json.RawMessage {
	if g != Generation1 {
		for _, name := range signatureParams {
			o.take(name)
		}
	}
	size := 0
	for i := range o.members {
		if m := &o.members[i]; !m.known {
			size += len(o.value(m))
		}
	}
	if size == 0 {
		return nil
	}
	extra, values := make(map[string]json.RawMessage), make([]byte, 0, size)
	for i := range o.members {
		if m := &o.members[i]; !m.known {
			start := len(values)
			values = append(values, o.value(m)...)
			extra[o.text(o.name(m))] = slices.Clip(values[start:])
		}
	}
	return extra
}

// maxShared is how long a text may be to share its memory with others, in bytes.
const maxShared = 256

// text keeps a text that was read. The short ones of an object share one
// allocation, so that who holds on to one of them holds on to those beside it, and
// never to the body.
func (o *object) text(text []byte) string {
	if len(text) > maxShared {
		return string(text)
	}
	if o.texts.Cap() == 0 {
		o.texts.Grow(maxShared)
	}
	start := o.texts.Len()
	o.texts.Write(text)
	return o.texts.String()[start:]
}

// A reader decodes the value of a member of o that is there and not null. Its
// error says what the value must be.
type reader[T any] func(o *object, value jsontext.Value) (T, error)

var (
	errNoText  = errors.New("a string")
	errNoTexts = errors.New("an array of strings")
	errNoAddr  = errors.New("an IP address")
)

func readText(o *object, value jsontext.Value) (string, error) {
	if value.Kind() != '"' {
		return "", errNoText
	}
	return o.text(unquote(value)), nil
}

func readTexts(o *object, value jsontext.Value) ([]string, error) {
	if value.Kind() != '[' {
		return nil, errNoTexts
	}
	texts := make([]string, 0, 4)
	for e, ok := split.Element(value, 0); ok; e, ok = split.Element(value, e.End) {
		text, err := readText(o, value[e.Start:e.End])
		if err != nil {
			return nil, errNoTexts
		}
		texts = append(texts, text)
	}
	return texts, nil
}

func readAddr(o *object, value jsontext.Value) (netip.Addr, error) {
	text, err := readText(o, value)
	if err == nil && text == "" {
		return netip.Addr{}, nil
	}
	addr, errAddr := netip.ParseAddr(text)
	if err != nil || errAddr != nil || addr.Zone() != "" {
		return netip.Addr{}, errNoAddr
	}
	return addr, nil
}

// optional reads the member of the first name that is there and not null. It
// leaves the names behind that one to the extras.
func optional[T any](o *object, read reader[T], names ...string) (opt Optional[T]) {
	for _, name := range names {
		value, ok := o.take(name)
		switch {
		case !ok:
		case value.Kind() == 'n':
			opt = OptionalNull[T]()
		default:
			v, err := read(o, value)
			if err != nil {
				o.invalid(name, err.Error())
			}
			return OptionalOf(v)
		}
	}
	return opt
}

// required reads a text that must be there and not be empty.
func required(o *object, name string) string {
	text := optional(o, readText, name).Value
	if text == "" {
		o.invalid(name, "a string that is not empty")
	}
	return text
}

// Fly.io's page calls it organization_email and sends email.
var organizationEmail = []string{"organization_email", "email"}

func decodeProvision(o *object, g Generation) (*ProvisionRequest, error) {
	r := &ProvisionRequest{
		ID:                required(o, "id"),
		OrganizationID:    required(o, "organization_id"),
		Name:              optional(o, readText, "name").Value,
		OrganizationName:  optional(o, readText, "organization_name").Value,
		OrganizationEmail: optional(o, readText, organizationEmail...).Value,
		UserID:            optional(o, readText, "user_id").Value,
		UserEmail:         optional(o, readText, "user_email").Value,
		UserRole:          optional(o, readText, "user_role").Value,
		PrimaryRegion:     optional(o, readText, "primary_region").Value,
		ReadRegions:       optional(o, readTexts, "read_regions").Value,
		IPAddress:         optional(o, readAddr, "ip_address").Value,
	}
	r.Extra = o.extra(g)
	return r, o.err
}

func decodeUpdate(o *object, g Generation) (*UpdateRequest, error) {
	r := &UpdateRequest{
		Name:              optional(o, readText, "name"),
		OrganizationID:    optional(o, readText, "organization_id"),
		OrganizationName:  optional(o, readText, "organization_name"),
		OrganizationEmail: optional(o, readText, organizationEmail...),
		UserID:            optional(o, readText, "user_id"),
		UserEmail:         optional(o, readText, "user_email"),
		UserRole:          optional(o, readText, "user_role"),
		PrimaryRegion:     optional(o, readText, "primary_region"),
		ReadRegions:       optional(o, readTexts, "read_regions"),
		IPAddress:         optional(o, readAddr, "ip_address"),
	}
	r.Extra = o.extra(g)
	return r, o.err
}
