package flyext

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// attributes collects the context attributes of an event, by name, as text.
// Both modes fill it, so that both are held to the same rules: a required
// attribute that cannot be read refuses the event, and an optional one never does.
type attributes struct {
	values   map[string]string
	unread   map[string]string // the texts of those that could not be read
	unnamed  bool              // there was an attribute without a usable name
	required *Error            // the first required attribute that is wrong
}

func newAttributes() *attributes {
	return &attributes{values: make(map[string]string), unread: make(map[string]string)}
}

// contextAttributes are the attributes that CloudEvents 1.0 defines.
var contextAttributes = []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"}

func isRequired(name string) bool { return slices.Contains(contextAttributes[:4], name) }

// invalid notes an attribute that is not as it must be.
func (a *attributes) invalid(name, value, must string) {
	if !isRequired(name) {
		a.unread[name] = value
		return
	}
	if a.required == nil {
		a.required = &Error{
			Status: http.StatusUnprocessableEntity, Code: CodeInvalidField,
			Message: fmt.Sprintf("The attribute %q must be %s.", name, must),
		}
	}
}

// set adds an attribute. Control characters are not allowed in a text of
// CloudEvents (CloudEvents 1.0, section "Type System").
func (a *attributes) set(name, value string) {
	if name == "" || strings.ContainsFunc(name, unicode.IsControl) {
		a.unnamed = true
		return
	}
	if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		a.invalid(name, oneLine(strings.ToValidUTF8(value, "\ufffd")), "UTF-8 without control characters")
		return
	}
	a.values[name] = value
}

func (a *attributes) take(name string) string {
	value := a.values[name]
	delete(a.values, name)
	if value == "" && isRequired(name) {
		a.invalid(name, "", "present and not empty")
	}
	return value
}

// event makes an event of the attributes. Those that CloudEvents does not define
// are its extensions.
func (a *attributes) event() (*Event, error) {
	if a.values["specversion"] != ceSpecVersion { // first: another version has other attributes
		a.invalid("specversion", "", `"`+ceSpecVersion+`"`)
	}
	e := &Event{
		SpecVersion: a.take("specversion"), ID: a.take("id"), Source: a.take("source"), Type: a.take("type"),
		Subject: a.take("subject"), DataContentType: a.take("datacontenttype"), DataSchema: a.take("dataschema"),
	}
	if text := a.take("time"); text != "" {
		at, err := time.Parse(time.RFC3339, strings.ToUpper(text))
		if err != nil {
			a.invalid("time", text, "a timestamp of RFC 3339")
		}
		e.Time = at
	}
	if a.required != nil {
		return nil, a.required
	}
	for name, value := range a.unread {
		a.values[name] = value
		e.notRead(name)
	}
	if a.unnamed {
		e.notRead("")
	}
	if len(a.values) > 0 {
		e.Extensions = a.values
	}
	return e, nil
}

// notRead notes a part of the event for the log, which must not have the sender's
// names.
func (e *Event) notRead(name string) {
	if name != "data" && !slices.Contains(contextAttributes, name) {
		name = "an extension"
	}
	if !slices.Contains(e.unread, name) {
		e.unread = append(e.unread, name)
		slices.Sort(e.unread)
	}
}
