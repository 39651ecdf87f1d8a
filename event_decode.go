package flyext

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// What tells the modes apart (CloudEvents HTTP Protocol Binding 1.0, section 3).
const (
	ceFieldPrefix  = "Ce-" // as net/http writes it
	ceTypePrefix   = "application/cloudevents"
	structuredType = "application/cloudevents+json"
	batchType      = "application/cloudevents-batch+json"
	ceSpecVersion  = "1.0"
)

// eventFields returns the names of the header fields that say what an event is.
// Beside attributes the type of the body is one, whichever it is.
func eventFields(h http.Header) []string {
	var names []string
	for name := range h {
		if strings.HasPrefix(name, ceFieldPrefix) {
			names = append(names, name)
		}
	}
	isEvent := func(value string) bool { return strings.HasPrefix(mediaType(value), ceTypePrefix) }
	if types := h["Content-Type"]; len(types) > 0 && (len(names) > 0 || slices.ContainsFunc(types, isEvent)) {
		names = append(names, "Content-Type")
	}
	return names
}

// mediaType returns a media type without its parameters, in lower case.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.Trim(media, " \t"))
}

// isJSONType says whether data of that media type is JSON (CloudEvents JSON
// Event Format 1.0, section 3.1).
func isJSONType(media string) bool {
	_, subtype, _ := strings.Cut(media, "/")
	return subtype == "json" || strings.HasSuffix(subtype, "+json")
}

var (
	errContentTypes  = &Error{Status: http.StatusBadRequest, Code: CodeMalformedBody, Message: "There is more than one Content-Type."}
	errBatchNotArray = malformed("The body is no JSON array.", nil)
	errEventInEvent  = malformed("The body is an event in structured mode, and its Content-Type is of no such.", nil)
	errBatchSize     = &Error{
		Status: http.StatusRequestEntityTooLarge, Code: CodeBodyTooLarge,
		Message: fmt.Sprintf("The batch has more than %d events.", maxBatch),
	}
)

// decodeEvents reads the events of a request, in the mode that it is in. One
// that is wrong makes the whole request wrong.
func decodeEvents(m *Message, g Generation) ([]*Event, error) {
	types := m.Header["Content-Type"]
	if len(types) > 1 {
		return nil, errContentTypes
	}
	contentType := strings.Join(types, "")
	switch media := mediaType(contentType); {
	case media == structuredType:
		o, err := m.parse()
		if err != nil {
			return nil, err
		}
		e, err := decodeStructured(o, g)
		return []*Event{e}, err
	case media == batchType:
		return decodeBatch(m.Body)
	case strings.HasPrefix(media, ceTypePrefix):
		return nil, &Error{
			Status: http.StatusUnsupportedMediaType, Code: CodeUnsupportedType,
			Message: "Events are read in binary mode, as " + structuredType + ", or as " + batchType + ".",
		}
	}
	if g != Generation1 {
		// X-Signature covers no Content-Type, and so no mode: an event in
		// structured mode would be the data of one that a stranger makes up.
		if o, err := m.parse(); err == nil && o.has("specversion") {
			return nil, errEventInEvent
		}
	}
	e, err := decodeBinary(m, contentType)
	return []*Event{e}, err
}

// decodeBatch reads an array of events, each an object as in structured mode.
func decodeBatch(body []byte) ([]*Event, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(body))
	if dec.PeekKind() != '[' {
		return nil, errBatchNotArray
	}
	_, err := dec.ReadToken()
	events := []*Event{}
	for err == nil && dec.PeekKind() == '{' {
		if len(events) == maxBatch {
			return nil, errBatchSize
		}
		var value jsontext.Value
		if value, err = readValue(dec, body); err != nil {
			break
		}
		o, errObject := parseObject(value)
		if errObject != nil {
			return nil, errObject
		}
		// Nothing of a batch is a parameter of X-Signature, which cannot sign one.
		e, errEvent := decodeStructured(o, Generation1)
		if errEvent != nil {
			return nil, inBatch(errEvent, len(events))
		}
		events = append(events, e)
	}
	if err == nil {
		var end jsontext.Token
		if end, err = dec.ReadToken(); err == nil && end.Kind() != ']' {
			return nil, malformed("The batch has an element that is no object.", nil)
		}
	}
	if err != nil {
		return nil, malformedJSON(err)
	}
	if rest := bytes.TrimLeft(body[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, malformed("The body has something behind the JSON array.", nil)
	}
	return events, nil
}

// readValue returns the next value as it stands in the body: what the decoder
// returns is gone with its next read.
func readValue(dec *jsontext.Decoder, body []byte) (jsontext.Value, error) {
	value, err := dec.ReadValue()
	end := int(dec.InputOffset())
	return body[end-len(value) : end], err
}

// inBatch says which event of a batch an error is about.
func inBatch(err error, i int) error {
	if e, ok := errors.AsType[*Error](err); ok {
		at := *e
		at.Message = fmt.Sprintf("Event %d: %s", i+1, e.Message)
		return &at
	}
	return err
}

// attributes collects the context attributes of an event, by name, as text.
// Both modes fill it, so that both are held to the same rules.
type attributes struct {
	values map[string]string
	err    *Error // the first one that is wrong
}

func (a *attributes) invalid(name, must string) {
	if a.err == nil {
		a.err = &Error{
			Status: http.StatusUnprocessableEntity, Code: CodeInvalidField,
			Message: fmt.Sprintf("The attribute %q must be %s.", name, must),
		}
	}
}

// set adds an attribute. Control characters are no text of CloudEvents, and
// bytes that are not UTF-8 are no text at all (CloudEvents 1.0, section "Type
// System").
func (a *attributes) set(name, value string) {
	switch {
	case name == "" || strings.ContainsFunc(name, unicode.IsControl):
		a.invalid(name, "named")
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		a.invalid(name, "UTF-8 without control characters")
	default:
		a.values[name] = value
	}
}

func (a *attributes) take(name string) string {
	value := a.values[name]
	delete(a.values, name)
	return value
}

func (a *attributes) required(name string) string {
	value := a.take(name)
	if value == "" {
		a.invalid(name, "there, and not empty")
	}
	return value
}

// event makes an event of the attributes, which what is left of them extends.
func (a *attributes) event() (*Event, error) {
	if a.values["specversion"] != ceSpecVersion { // first: another version has other attributes
		a.invalid("specversion", `"`+ceSpecVersion+`"`)
	}
	e := &Event{
		SpecVersion: a.take("specversion"), ID: a.required("id"), Source: a.required("source"), Type: a.required("type"),
		Subject: a.take("subject"), DataContentType: a.take("datacontenttype"), DataSchema: a.take("dataschema"),
	}
	if text := a.take("time"); text != "" {
		at, err := time.Parse(time.RFC3339, strings.ToUpper(text))
		if err != nil {
			a.invalid("time", "a timestamp of RFC 3339")
		}
		e.Time = at
	}
	if len(a.values) > 0 {
		e.Extensions = a.values
	}
	if a.err != nil {
		return nil, a.err
	}
	return e, nil
}

// decodeBinary reads an event whose attributes are header fields and whose data
// is the body.
func decodeBinary(m *Message, contentType string) (*Event, error) {
	a := &attributes{values: make(map[string]string)}
	for field, values := range m.Header {
		name, ok := strings.CutPrefix(field, ceFieldPrefix)
		if !ok {
			continue
		}
		name = strings.ToLower(name)
		if name == "datacontenttype" || name == "data" { // Content-Type and the body are these
			a.invalid(name, "no header field of its own")
			continue
		}
		if len(values) != 1 {
			a.invalid(name, "there once")
			continue
		}
		a.set(name, decodeFieldValue(values[0]))
	}
	a.set("datacontenttype", contentType)
	e, err := a.event()
	if err != nil || len(m.Body) == 0 {
		return e, err
	}
	e.Data = slices.Clip(m.Body)
	media := mediaType(contentType)
	if media != "" && !isJSONType(media) {
		return e, nil
	}
	if o, err := m.parse(); err == nil {
		e.readMachine(o)
		return e, nil
	}
	if media == "" { // nobody said that it is JSON
		return e, nil
	}
	return e, checkJSON(m.Body)
}

// checkJSON says what is wrong with a text that should be JSON, object or not.
func checkJSON(text []byte) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(text))
	if _, err := dec.ReadValue(); err != nil {
		return malformedJSON(err)
	}
	if rest := bytes.TrimLeft(text[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return malformed("The body has something behind the JSON value.", nil)
	}
	return nil
}

// decodeFieldValue undoes the encoding of an attribute's value (section
// 3.1.3.2): quotes, which older senders write, then one round of percent-decoding.
// A percent sign before anything but two hexadecimal digits stands for itself,
// because there are senders that escape nothing.
func decodeFieldValue(value string) string {
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = unquoteField(value[1 : n-1])
	}
	if strings.IndexByte(value, '%') >= 0 {
		decoded := make([]byte, 0, len(value))
		for i := 0; i < len(value); i++ {
			if value[i] == '%' && i+2 < len(value) {
				if b, err := strconv.ParseUint(value[i+1:i+3], 16, 8); err == nil {
					decoded = append(decoded, byte(b))
					i += 2
					continue
				}
			}
			decoded = append(decoded, value[i])
		}
		value = string(decoded)
	}
	return value
}

// unquoteField undoes the backslashes of a quoted string (RFC 9110, section
// 5.6.4), without its quotes.
func unquoteField(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' && i+1 < len(value) {
			i++
		}
		b.WriteByte(value[i])
	}
	return b.String()
}

// decodeStructured reads an event that is one JSON object (CloudEvents JSON
// Event Format 1.0, section 3).
func decodeStructured(o *object, g Generation) (*Event, error) {
	if g != Generation1 { // the signature's, as in every other body
		for _, name := range signatureParams {
			o.take(name)
		}
	}
	data, hasData := o.take("data")
	encoded, hasEncoded := o.take("data_base64")
	hasData, hasEncoded = hasData && data.Kind() != 'n', hasEncoded && encoded.Kind() != 'n'

	a := &attributes{values: make(map[string]string)}
	for i := range o.members {
		m := &o.members[i]
		if m.known {
			continue
		}
		name, value := string(o.name(m)), o.value(m)
		switch value.Kind() {
		case 'n': // which is absent
		case '"':
			a.set(name, string(unquote(value)))
		case '0', 't', 'f':
			if isContextAttribute(name) {
				a.invalid(name, "a string")
			}
			a.set(name, string(value))
		default:
			a.invalid(name, "a string, a number or a boolean")
		}
	}
	if hasData && hasEncoded {
		a.invalid("data_base64", "absent where there is data")
	}
	var decoded []byte
	if hasEncoded {
		text, errText := readText(o, encoded)
		var err error
		if decoded, err = base64.StdEncoding.Strict().DecodeString(text); err != nil || errText != nil {
			a.invalid("data_base64", "base64")
		}
	}
	e, err := a.event()
	if err != nil {
		return nil, err
	}
	isJSON := e.DataContentType == "" || isJSONType(mediaType(e.DataContentType))
	switch {
	case hasEncoded:
		e.Data = decoded
	case hasData && !isJSON && data.Kind() == '"': // the text itself, and not JSON
		e.Data = slices.Clip(unquote(data))
	case hasData:
		e.Data = slices.Clip([]byte(data))
	}
	if machine, err := parseObject(e.Data); err == nil && isJSON {
		e.readMachine(machine)
	}
	return e, nil
}

// isContextAttribute says whether CloudEvents defines an attribute; all of those
// are strings in JSON.
func isContextAttribute(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema":
		return true
	}
	return false
}

// readMachine reads what Fly.io's events have in their data. Those of other
// types may have anything under these names.
func (e *Event) readMachine(o *object) {
	e.MachineID, e.Status = o.param("machine_id", false), o.param("status", false)
}
