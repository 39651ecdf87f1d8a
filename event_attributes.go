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

// attributes collects the context attributes of an event, as text by name. Both modes
// use it, so that the same rule applies to both: only a malformed required attribute
// refuses the event.
type attributes struct {
	values   map[string]string
	unread   map[string]string // the texts of malformed attributes
	unnamed  bool              // an attribute has an unusable name
	required *Error            // the first malformed required attribute
}

func newAttributes() *attributes {
	return &attributes{values: make(map[string]string), unread: make(map[string]string)}
}

// contextAttributes are the attributes that CloudEvents 1.0 defines.
var contextAttributes = []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"}

func isRequired(name string) bool { return slices.Contains(contextAttributes[:4], name) }

// invalid records a malformed attribute.
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

// set adds an attribute. CloudEvents 1.0, section "Type System", forbids control
// characters in texts.
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

// event returns the event with these attributes.
func (a *attributes) event() (*Event, error) {
	if a.values["specversion"] != ceSpecVersion { // comes first, because other versions have other attributes
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

// notRead records a malformed part for the log, without a name that the sender chose.
func (e *Event) notRead(name string) {
	if name != "data" && !slices.Contains(contextAttributes, name) {
		name = "an extension"
	}
	if !slices.Contains(e.unread, name) {
		e.unread = append(e.unread, name)
		slices.Sort(e.unread)
	}
}
