package flytest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
)

// A bodyWriter writes one JSON object.
type bodyWriter struct {
	buf bytes.Buffer
	enc *jsontext.Encoder
	err error
}

func newBodyWriter() *bodyWriter {
	w := &bodyWriter{}
	w.enc = jsontext.NewEncoder(&w.buf, jsontext.PreserveRawStrings(true))
	w.err = w.enc.WriteToken(jsontext.BeginObject)
	return w
}

func (w *bodyWriter) member(name string, value any) {
	if w.err == nil {
		w.err = w.enc.WriteToken(jsontext.String(name))
	}
	if w.err == nil {
		w.err = jsonv2.MarshalEncode(w.enc, value)
	}
}

// close writes the extra members and ends the object. An extra member with the name
// of a field is an error, because the encoder refuses duplicates.
func (w *bodyWriter) close(extra map[string]json.RawMessage) ([]byte, error) {
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		w.member(name, jsontext.Value(extra[name]))
	}
	if w.err == nil {
		w.err = w.enc.WriteToken(jsontext.EndObject)
	}
	if w.err != nil {
		return nil, fmt.Errorf("flytest: encoding the request: %w", w.err)
	}
	return bytes.TrimSuffix(w.buf.Bytes(), []byte("\n")), nil
}

func encodeProvision(req flyext.ProvisionRequest) ([]byte, error) {
	w := newBodyWriter()
	w.member("name", req.Name)
	w.member("id", req.ID)
	w.member("organization_id", req.OrganizationID)
	for _, m := range [...]struct{ name, value string }{
		{"organization_name", req.OrganizationName},
		{"organization_email", req.OrganizationEmail},
		{"user_id", req.UserID}, {"user_name", req.UserName},
		{"user_email", req.UserEmail},
		{"user_role", req.UserRole},
		{"primary_region", req.PrimaryRegion},
	} {
		if m.value != "" {
			w.member(m.name, m.value)
		}
	}
	if req.ReadRegions != nil {
		w.member("read_regions", req.ReadRegions)
	}
	if req.IPAddress.IsValid() {
		w.member("ip_address", req.IPAddress.String())
	}
	return w.close(req.Extra)
}

func encodeUpdate(req flyext.UpdateRequest) ([]byte, error) {
	w := newBodyWriter()
	optional(w, "name", req.Name)
	optional(w, "organization_id", req.OrganizationID)
	optional(w, "organization_name", req.OrganizationName)
	optional(w, "organization_email", req.OrganizationEmail)
	optional(w, "user_id", req.UserID)
	optional(w, "user_name", req.UserName)
	optional(w, "user_email", req.UserEmail)
	optional(w, "user_role", req.UserRole)
	optional(w, "primary_region", req.PrimaryRegion)
	optional(w, "read_regions", req.ReadRegions)
	optional(w, "ip_address", req.IPAddress)
	return w.close(req.Extra)
}

func optional[T any](w *bodyWriter, name string, o flyext.Optional[T]) {
	switch value, ok := o.Get(); {
	case ok:
		w.member(name, value)
	case o.Present:
		w.member(name, nil)
	}
}

// decodeExtension reads an answer of either generation. A flat object of secrets
// has no id, so the extension gets the given one.
func decodeExtension(body []byte, id string) (*flyext.Extension, error) {
	members, err := decodeObject(body)
	if err != nil {
		return nil, fmt.Errorf("flytest: the answer is not a JSON object: %w", err)
	}
	if !isEnvelope(members) {
		secrets, err := decodeSecrets(members)
		return &flyext.Extension{ID: id, Secrets: secrets}, err
	}
	x := &flyext.Extension{}
	if x.Secrets, err = decodeConfig(members); err != nil {
		return nil, err
	}
	if err := decodeStrings(x, members); err != nil {
		return nil, err
	}
	x.Extra = extraMembers(members)
	if x.ID == "" {
		return nil, errors.New(`flytest: the answer's "id" is missing or empty`)
	}
	return x, nil
}

// isEnvelope reports whether an answer is the envelope of generation 2. Otherwise it is
// generation 1's flat object of secrets.
func isEnvelope(members map[string]jsontext.Value) bool {
	for _, name := range [...]string{"id", "config", "status"} {
		if _, ok := members[name]; ok {
			return true
		}
	}
	return false
}

// decodeConfig returns the secrets in an envelope. They are nil if the envelope has no
// "config".
func decodeConfig(members map[string]jsontext.Value) (flyext.Secrets, error) {
	config, ok := members["config"]
	if !ok {
		return nil, nil
	}
	secrets, err := decodeObject(config)
	if err != nil {
		return nil, errors.New(`flytest: the answer's "config" is not a JSON object`)
	}
	return decodeSecrets(secrets)
}

// decodeStrings sets the fields of x that are strings in an envelope. A field without a
// member, or with null, stays empty.
func decodeStrings(x *flyext.Extension, members map[string]jsontext.Value) error {
	var status string
	for name, to := range map[string]*string{
		"id": &x.ID, "name": &x.Name, "fly_app_name": &x.FlyAppName, "status": &status, "error_message": &x.Message,
	} {
		value, ok := members[name]
		if !ok || value.Kind() == 'n' {
			continue
		}
		if err := jsonv2.Unmarshal(value, to); err != nil {
			return fmt.Errorf("flytest: the answer's %q is %s, not a string", name, kind(value))
		}
	}
	x.Status = flyext.Status(status)
	return nil
}

// extensionMembers are the members that are not extras.
var extensionMembers = []string{"id", "config", "name", "fly_app_name", "status", "error_message"}

// extraMembers returns the extras of an envelope. The map is nil without extras.
func extraMembers(members map[string]jsontext.Value) map[string]json.RawMessage {
	var extra map[string]json.RawMessage
	for name, value := range members {
		if slices.Contains(extensionMembers, name) {
			continue
		}
		if extra == nil {
			extra = make(map[string]json.RawMessage)
		}
		extra[name] = json.RawMessage(value)
	}
	return extra
}

func decodeObject(text []byte) (map[string]jsontext.Value, error) {
	var members map[string]jsontext.Value
	if err := jsonv2.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	if members == nil {
		return nil, errors.New("it is null")
	}
	return members, nil
}

func decodeSecrets(members map[string]jsontext.Value) (flyext.Secrets, error) {
	secrets := make(flyext.Secrets, len(members))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := members[name]
		var text string
		if value.Kind() != '"' || jsonv2.Unmarshal(value, &text) != nil {
			return nil, fmt.Errorf("flytest: the secret %q is %s; flyctl requires a string", name, kind(value))
		}
		secrets[name] = text
	}
	return secrets, nil
}

// kind names the type of a value without revealing the value.
func kind(value jsontext.Value) string {
	switch value.Kind() {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '0':
		return "a number"
	case '[':
		return "an array"
	case '{':
		return "an object"
	}
	return "a string"
}

// maxQuoted is the number of bytes of an answer that an error quotes at most.
const maxQuoted = 200

// decodeError reads an error answer. If its shape is not flyext's, the cause of the
// error quotes its beginning.
func decodeError(status int, body []byte) *flyext.Error {
	var answer struct {
		Code    string `json:"error"`
		Message string `json:"message"`
	}
	if err := jsonv2.Unmarshal(body, &answer); err != nil || answer.Message == "" {
		return &flyext.Error{
			Status: status, Code: answer.Code, Message: cmp.Or(http.StatusText(status), "unknown status"),
			Err: fmt.Errorf("the answer is not a JSON error with a message: %q", body[:min(len(body), maxQuoted)]),
		}
	}
	return &flyext.Error{Status: status, Code: answer.Code, Message: answer.Message}
}
