package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

var eventFields = []field{
	{Name: "event_type", Label: "Type", List: "event-types", Code: true, Required: true},
	{Name: "event_machine", Label: "Machine id", Code: true},
	{Name: "event_status", Label: "Status", Code: true},
	{Name: "event_data", Label: "Data", Hint: "JSON to send instead of the machine id and status.", Code: true, Rows: 3},
}

// eventTypes are suggestions. Others can be typed.
var eventTypes = strings.Fields("io.fly.machine.starting io.fly.machine.started io.fly.machine.stopping io.fly.machine.stopped io.fly.machine.failed io.fly.machine.destroyed")

var eventModes = []flytest.EventMode{flytest.BinaryMode, flytest.StructuredMode, flytest.BatchedMode}

// An eventForm is a form for an event, with its mode.
type eventForm struct {
	*form
	Mode      string
	ModeError string
}

// Modes returns the modes to choose from.
func (*eventForm) Modes() []string {
	var names []string
	for _, mode := range eventModes {
		names = append(names, mode.String())
	}
	return names
}

// Types returns suggestions.
func (*eventForm) Types() []string { return eventTypes }

func eventFormOf(values url.Values) *eventForm {
	return &eventForm{form: newForm(values, eventFields), Mode: values.Get("event_mode")}
}

// blankEventForm returns the form of a new page: a machine that started.
func blankEventForm() *eventForm {
	return eventFormOf(url.Values{
		"event_type": {"io.fly.machine.started"}, "event_machine": {"5683977ad31768"}, "event_status": {"started"}, "event_mode": {flytest.BinaryMode.String()},
	})
}

// event returns the event of the form. Faults are in f.Errors.
func (f *eventForm) event() (e flyext.Event, mode flytest.EventMode) {
	e = flyext.Event{Type: f.text("event_type"), MachineID: f.text("event_machine"), Status: f.text("event_status")}
	if e.Type == "" {
		f.fail("event_type", "Enter a type: every event has one.")
	}
	if data := f.text("event_data"); data != "" {
		e.Data = []byte(data)
		if !json.Valid(e.Data) {
			f.fail("event_data", "It is not JSON.")
		}
	}
	for _, mode = range eventModes {
		if mode.String() == f.Mode {
			return e, mode
		}
	}
	f.failMode("There is no such mode.")
	return e, 0
}

func (f *eventForm) failMode(text string) {
	f.ModeError = text
	f.Errors = append(f.Errors, formError{Name: "event_mode", Label: "Mode", Text: text})
}

func (c *Console) serveEvent(w http.ResponseWriter, r *http.Request, x *extension) {
	form := eventFormOf(r.PostForm)
	event, mode := form.event()
	ctx, cancel := background(r)
	defer cancel()
	if len(form.Errors) == 0 {
		// Send only an event that can be signed.
		if _, err := c.platform.NewEventRequest(ctx, mode, event); err != nil {
			form.failMode(c.unsigned(mode, err))
		}
	}
	if len(form.Errors) > 0 {
		c.extensionPage(w, http.StatusUnprocessableEntity, x, c.currentForm(x), form)
		return
	}
	done := c.do(actionEvent, func(p *flytest.Platform) (*flyext.Extension, error) { return nil, p.SendEvent(ctx, event, mode) })
	done.about = event.Type

	c.mu.Lock()
	c.take(x, done)
	c.mu.Unlock()
	toExtension(w, r, x.n)
}

// unsigned says why the format cannot sign an event.
func (c *Console) unsigned(mode flytest.EventMode, err error) string {
	if c.format == flytest.FormatXSignature && mode == flytest.BatchedMode {
		return "X-Signature puts a timestamp, a nonce and the URL into a JSON object, and a batch is an array: it cannot be signed. Formats of generation 1 can sign it."
	}
	if c.format == flytest.FormatXSignature && mode == flytest.BinaryMode {
		return "X-Signature puts a timestamp, a nonce and the URL into a JSON object, which in binary mode is the data: " + clip(trimPrefix(err), 200) + ". Choose structured."
	}
	return sentence(fmt.Sprint("it cannot be sent: ", trimPrefix(err)))
}
