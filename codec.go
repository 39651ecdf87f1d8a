package flyext

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext/internal/split"
)

// An object is the body of a request: one JSON object, its members in order,
// as they came.
type object struct {
	members []member
	next    int   // where to look first: senders keep to an order
	err     error // the first field that could not be decoded
}

type member struct {
	name  []byte // unquoted
	value jsontext.Value
	known bool // one of the protocol's: not an extra
}

// parse parses the body, once. Nothing here says yes to what two JSON parsers
// might read differently: duplicate members, invalid UTF-8 and a second value
// behind the first are errors.
func (m *Message) parse() (*object, error) {
	if m.object == nil {
		o, err := parseObject(m.Body)
		if err != nil {
			return nil, err
		}
		m.object = o
	}
	return m.object, nil
}

func parseObject(body []byte) (*object, error) {
	if !jsontext.Value(body).IsValid() || body[split.Start(body)] != '{' {
		return nil, whyNoObject(body)
	}
	o := &object{members: make([]member, 0, 16)}
	for i := 0; ; {
		name, value, next := split.Member(body, i)
		if name == nil {
			return o, nil
		}
		o.members = append(o.members, member{name: unquote(name), value: value})
		i = next
	}
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
	for i := range o.members {
		if i += o.next; i >= len(o.members) {
			i -= len(o.members)
		}
		if m := &o.members[i]; string(m.name) == name {
			m.known, o.next = true, i+1
			return m.value, true
		}
	}
	return nil, false
}

// has says whether there is a member, be it null.
func (o *object) has(name string) bool {
	return slices.ContainsFunc(o.members, func(m member) bool { return string(m.name) == name })
}

// text reads a string that the signature needs; also a number's digits, where
// numeric says so. What is of another type is "": absent.
func (o *object) text(name string, numeric bool) string {
	value, ok := o.take(name)
	switch {
	case !ok:
		return ""
	case numeric && value.Kind() == '0':
		return string(value)
	case value.Kind() == '"':
		return string(unquote(value))
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
	var extra map[string]json.RawMessage
	for _, m := range o.members {
		if m.known {
			continue
		}
		if extra == nil {
			extra = make(map[string]json.RawMessage)
		}
		extra[string(m.name)] = json.RawMessage(m.value)
	}
	return extra
}

// A reader decodes the value of a member that is there and not null. Its error
// says what the value must be.
type reader[T any] func(value jsontext.Value) (T, error)

var (
	errNoText  = errors.New("a string")
	errNoTexts = errors.New("an array of strings")
	errNoAddr  = errors.New("an IP address")
)

func readText(value jsontext.Value) (string, error) {
	if value.Kind() != '"' {
		return "", errNoText
	}
	return string(unquote(value)), nil
}

func readTexts(value jsontext.Value) ([]string, error) {
	if value.Kind() != '[' {
		return nil, errNoTexts
	}
	texts := []string{}
	for i := 0; ; {
		element, next := split.Element(value, i)
		if element == nil {
			return texts, nil
		}
		text, err := readText(element)
		if err != nil {
			return nil, errNoTexts
		}
		texts = append(texts, text)
		i = next
	}
}

func readAddr(value jsontext.Value) (netip.Addr, error) {
	text, err := readText(value)
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
			opt = Null[T]()
		default:
			v, err := read(value)
			if err != nil {
				o.invalid(name, err.Error())
			}
			return Set(v)
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

// An envelope is generation 2's answer, and the resource that GET answers in
// both generations: the first one's flat object has no place for a status. A
// webhook carries that resource too. No published page names the member for an
// error's message; ours is a guess.
type envelope struct {
	ID             string                    `json:"id"`
	Config         *map[string]string        `json:"config,omitzero"`
	Name           string                    `json:"name,omitempty"`
	FlyAppName     string                    `json:"fly_app_name,omitempty"`
	Status         Status                    `json:"status,omitempty"`
	Message        string                    `json:"error_message,omitempty"`
	OrganizationID string                    `json:"organization_id,omitempty"`
	UserID         string                    `json:"user_id,omitempty"`
	Extra          map[string]jsontext.Value `json:",embed"`
}

// envelopeMembers are the names that no extra member may have. That of the
// secrets is the one that matters: what is left out must not come in by the
// other door.
var envelopeMembers = []string{
	"id", "config", "name", "fly_app_name", "status", "error_message", "organization_id", "user_id",
}

var errExtraName = errors.New("flyext: Extension.Extra has a member that the protocol names")

// extend adds the extra members.
func (e *envelope) extend(extra map[string]json.RawMessage) error {
	for name, value := range extra {
		if slices.Contains(envelopeMembers, name) {
			return fmt.Errorf("%w: %q", errExtraName, name)
		}
		if e.Extra == nil {
			e.Extra = make(map[string]jsontext.Value, len(extra))
		}
		e.Extra[name] = jsontext.Value(value)
	}
	return nil
}

// encodeSecrets is the answer to POST and PATCH.
func encodeSecrets(g Generation, id string, x *Extension) ([]byte, error) {
	if err := x.Secrets.check(); err != nil {
		return nil, err
	}
	config := map[string]string(x.Secrets) // marshalled as {} where it is nil
	if g == Generation1 {
		return marshal(config)
	}
	return marshal(resource(id, x, &config))
}

// encodeResource is the answer to GET. It carries the secrets only where the
// Fetcher chose to return them.
func encodeResource(id string, x *Extension) ([]byte, error) {
	if err := x.Secrets.check(); err != nil {
		return nil, err
	}
	var config *map[string]string
	if x.Secrets != nil {
		c := map[string]string(x.Secrets)
		config = &c
	}
	e := resource(id, x, config)
	if e.Status == "" {
		e.Status = Ready
	}
	if err := e.extend(x.Extra); err != nil {
		return nil, err
	}
	return marshal(e)
}

func resource(id string, x *Extension, config *map[string]string) envelope {
	e := envelope{ID: id, Config: config, Name: x.Name, FlyAppName: x.FlyAppName, Status: x.Status}
	if x.ID != "" {
		e.ID = x.ID
	}
	if x.Status == Failed {
		e.Message = oneLine(x.Message)
	}
	return e
}

func marshal(v any) ([]byte, error) { return jsonv2.Marshal(v, jsonv2.Deterministic(true)) }

// writeJSON answers. What an answer holds is nobody's to keep.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	// One allocation for all of the values, which are the handlers' around this
	// one to change.
	values := []string{"application/json", "no-store", "nosniff"}
	h := w.Header()
	h["Content-Type"] = values[0:1:1]
	h["Cache-Control"] = values[1:2:2]
	h["X-Content-Type-Options"] = values[2:3:3]
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever left before the answer cannot be told so
}

// writeError answers with the one shape that errors have.
func writeError(w http.ResponseWriter, e *Error) {
	body, errCode := jsontext.AppendQuote(append(make([]byte, 0, 96), `{"error":`...), e.Code)
	body, errMessage := jsontext.AppendQuote(append(body, `,"message":`...), e.Message)
	body = append(body, '}')
	if errCode != nil || errMessage != nil { // a code or a message that is not UTF-8
		body = []byte(`{"error":"internal","message":"Internal Server Error"}`)
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Signature")
	}
	writeJSON(w, e.Status, body)
}

// isEnvName says whether a shell can have a variable of that name
// (POSIX.1-2017, section 8.1).
func isEnvName(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

func isEnvValue(value string) bool {
	return utf8.ValidString(value) && strings.IndexByte(value, 0) < 0
}
