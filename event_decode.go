package flyext

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The media types and header fields of the modes (CloudEvents HTTP Protocol Binding
// 1.0, section 3).
const (
	ceFieldPrefix  = "Ce-" // in the canonical form of net/http
	ceTypePrefix   = "application/cloudevents"
	structuredType = "application/cloudevents+json"
	batchType      = "application/cloudevents-batch+json"
	ceSpecVersion  = "1.0"
)

// eventFields returns the names of the header fields that are part of an event. The
// Content-Type is one if there is an attribute or if it is a type of CloudEvents.
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

// isJSONType reports whether a media type is JSON (CloudEvents JSON Event Format 1.0,
// section 3.1).
func isJSONType(media string) bool {
	_, subtype, _ := strings.Cut(media, "/")
	return subtype == "json" || strings.HasSuffix(subtype, "+json")
}

var (
	errContentTypes  = &Error{Status: http.StatusBadRequest, Code: CodeMalformedBody, Message: "The request has more than one Content-Type."}
	errBatchNotArray = malformed("The body is not a JSON array.", nil)
	errEventInEvent  = malformed("The body is an event in structured mode, but its Content-Type says otherwise.", nil)
	errBatchSize     = &Error{
		Status: http.StatusRequestEntityTooLarge, Code: CodeBodyTooLarge,
		Message: fmt.Sprintf("The batch has more than %d events.", maxBatch),
	}
)

// decodeEvents reads the events of a request in any mode. One malformed event refuses
// the whole request.
func decodeEvents(m *Message, g Generation) ([]*Event, error) {
	types := m.Header["Content-Type"]
	if len(types) > 1 {
		return nil, errContentTypes
	}
	contentType := strings.Join(types, "")
	switch media := mediaType(contentType); {
	case media == structuredType:
		body, err := m.decode()
		if err != nil {
			return nil, err
		}
		e, err := decodeStructured(body.(*eventBody), g)
		return []*Event{e}, err
	case media == batchType:
		return decodeBatch(m.Body)
	case strings.HasPrefix(media, ceTypePrefix):
		return nil, &Error{
			Status: http.StatusUnsupportedMediaType, Code: CodeUnsupportedType,
			Message: "Send events in binary mode, as " + structuredType + ", or as " + batchType + ".",
		}
	}
	e, err := decodeBinary(m, contentType, g)
	return []*Event{e}, err
}

// decodeBatch reads an array of events, each an object as in structured mode.
func decodeBatch(body []byte) ([]*Event, error) {
	if jsontext.Value(body).Kind() != '[' {
		return nil, errBatchNotArray
	}
	values, err := elements(body)
	switch {
	case err != nil && lenientDecoder(body).SkipValue() == nil:
		return nil, malformed("The body has text after the JSON array.", nil)
	case err != nil:
		return nil, malformedJSON(err)
	case len(values) > maxBatch:
		return nil, errBatchSize
	}
	events := make([]*Event, len(values))
	for i, value := range values {
		if value.Kind() != '{' {
			return nil, malformed("The batch has an element that is not an object.", nil)
		}
		b := &eventBody{}
		if err := b.read(value); err != nil {
			return nil, err
		}
		// Generation1, because X-Signature cannot sign a batch: no member is a parameter.
		if events[i], err = decodeStructured(b, Generation1); err != nil {
			return nil, inBatch(err, i)
		}
	}
	return events, nil
}

// inBatch adds the number of the event to an error.
func inBatch(err error, i int) error {
	if e, ok := errors.AsType[*Error](err); ok {
		at := *e
		at.Message = fmt.Sprintf("Event %d: %s", i+1, e.Message)
		return &at
	}
	return err
}

// decodeBinary reads an event with the attributes in header fields and the data in the
// body.
func decodeBinary(m *Message, contentType string, g Generation) (*Event, error) {
	a := newAttributes()
	for field, values := range m.Header {
		name, ok := strings.CutPrefix(field, ceFieldPrefix)
		name = strings.ToLower(name)
		if !ok {
			continue
		}
		// The Content-Type and the body stand for these two attributes.
		if len(values) != 1 || name == "datacontenttype" || name == "data" {
			a.invalid(name, oneLine(strings.Join(values, ", ")), "present once")
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
	body, err := m.decode()
	if err != nil {
		if isJSONType(mediaType(contentType)) && !isOneValue(m.Body) {
			e.notRead("data")
		}
		return e, nil
	}
	b := body.(*eventBody)
	if _, ok := b.members["specversion"]; ok && g != Generation1 {
		// X-Signature does not cover the Content-Type, which selects the mode: an
		// attacker could deliver an event in structured mode as the data of another.
		return nil, errEventInEvent
	}
	if media := mediaType(contentType); media == "" || isJSONType(media) {
		e.readMachine(b)
	}
	return e, nil
}

// decodeFieldValue decodes an attribute's value (CloudEvents HTTP Protocol Binding 1.0,
// section 3.1.3.2): quotes, which older senders write, then one round of
// percent-decoding. A percent sign without two hexadecimal digits is literal, because
// some senders do not escape it.
func decodeFieldValue(value string) string {
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = quotedPair.ReplaceAllString(value[1:n-1], "$1")
	}
	return percentEscape.ReplaceAllStringFunc(value, func(escape string) string {
		decoded, _ := url.PathUnescape(escape) // never fails
		return decoded
	})
}

// quotedPair is an escape in a quoted string (RFC 9110, section 5.6.4).
var quotedPair = regexp.MustCompile(`(?s)\\(.)`)

// decodeStructured reads an event in structured mode (CloudEvents JSON Event Format 1.0,
// section 3).
func decodeStructured(b *eventBody, g Generation) (*Event, error) {
	a := newAttributes()
	for name, value := range b.members {
		switch {
		case name == "data" || name == "data_base64":
		case g != Generation1 && b.complete() && (name == "timestamp" || name == "nonce" || name == "url"):
		case value.Kind() == 'n': // null means absent
		case value.Kind() == '"':
			a.set(name, textOf(value))
		case value.Kind() == '{' || value.Kind() == '[' || slices.Contains(contextAttributes, name):
			a.invalid(name, oneLine(string(value)), "a string")
		default:
			a.set(name, string(value))
		}
	}
	e, err := a.event()
	if err != nil {
		return nil, err
	}
	if e.Data, err = structuredData(b, e.DataContentType); err != nil {
		return nil, err
	}
	if isJSON := e.DataContentType == "" || isJSONType(mediaType(e.DataContentType)); isJSON {
		data := &eventBody{}
		if data.read(e.Data) == nil {
			e.readMachine(data)
		}
	}
	return e, nil
}

// structuredData returns the data of an event in structured mode.
func structuredData(b *eventBody, contentType string) ([]byte, error) {
	data, encoded := b.members["data"], b.members["data_base64"]
	hasData, hasEncoded := data != nil && data.Kind() != 'n', encoded != nil && encoded.Kind() != 'n'
	switch {
	case hasData && hasEncoded:
		return nil, invalidField("data_base64", "absent if there is data")
	case hasEncoded:
		decoded, err := base64.StdEncoding.Strict().DecodeString(textOf(encoded))
		if err != nil || encoded.Kind() != '"' {
			return nil, invalidField("data_base64", "base64")
		}
		return decoded, nil
	case hasData && data.Kind() == '"' && contentType != "" && !isJSONType(mediaType(contentType)):
		return []byte(textOf(data)), nil // data that is not JSON
	case !hasData:
		return nil, nil
	}
	return slices.Clip([]byte(data)), nil
}

// readMachine reads the members of Fly.io's machine events. Other events may have
// values of any type under these names.
func (e *Event) readMachine(b *eventBody) {
	e.MachineID, e.Status = textOf(b.members["machine_id"]), textOf(b.members["status"])
}
