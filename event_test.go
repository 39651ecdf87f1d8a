package flyext_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

const testEvents = "/flyio/extensions/events"

// listener is a Provisioner that receives events. It keeps an event if receive is nil
// or returns nil.
type listener struct {
	testProvisioner
	receive func(context.Context, *flyext.Event) error

	events []*flyext.Event // under testProvisioner.mu
}

func (l *listener) ReceiveEvent(ctx context.Context, e *flyext.Event) error {
	l.record("event " + e.ID)
	if l.receive != nil {
		if err := l.receive(ctx, e); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	return nil
}

func (l *listener) received() []*flyext.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// recordedData is the data of the event on Fly.io's page, sent in binary mode.
const recordedData = `{"machine_id": "5683977ad31768", "status": "failed", "data": {"Error": "image not found", "Transition": "prepareImage"}}`

// binary returns an event in binary mode. fields are pairs of a header field's name and
// value; an empty value removes the field.
func binary(body string, fields ...string) *http.Request {
	r := httptest.NewRequest("POST", testEvents, strings.NewReader(body))
	r.Host = "logjam.test"
	all := append([]string{
		"ce-id", "e1", "ce-source", "https://api.fly.io/v1", "ce-type", "io.fly.machine.starting",
		"ce-time", "2024-04-01T12:30:00.5Z", "ce-specversion", "1.0", "content-type", "application/json",
	}, fields...)
	for i := 0; i < len(all); i += 2 {
		if r.Header.Set(all[i], all[i+1]); all[i+1] == "" {
			r.Header.Del(all[i])
		}
	}
	return r
}

func asJSON(contentType, body string) *http.Request {
	r := httptest.NewRequest("POST", testEvents, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return r
}

func structured(body string) *http.Request { return asJSON("application/cloudevents+json", body) }

func batched(body string) *http.Request { return asJSON("application/cloudevents-batch+json", body) }

// envelope returns the JSON of an event in structured mode, with more members at its
// end.
func envelope(id string, more ...string) string {
	return strings.Join(append([]string{`{"specversion":"1.0","id":"` + id + `","source":"https://api.fly.io/v1","type":"io.fly.machine.starting"`}, more...), ",") + "}"
}

func TestEventAsRecorded(t *testing.T) {
	t.Parallel()
	l := &listener{}
	w := do(newProvider(t, l, unsigned), binary(recordedData))
	if w.Code != 200 || w.Body.String() != "{}" {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	want := &flyext.Event{
		ID: "e1", Source: "https://api.fly.io/v1", Type: "io.fly.machine.starting", SpecVersion: "1.0",
		Time: time.Date(2024, 4, 1, 12, 30, 0, 500e6, time.UTC), DataContentType: "application/json",
		MachineID: "5683977ad31768", Status: "failed", Data: []byte(recordedData),
	}
	if got := l.received(); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The modes decode the same attributes and data alike.
func TestEventModes(t *testing.T) {
	t.Parallel()
	plain := func(change func(*flyext.Event)) *flyext.Event {
		e := &flyext.Event{ID: "e1", Source: "https://api.fly.io/v1", Type: "io.fly.machine.starting", SpecVersion: "1.0"}
		change(e)
		return e
	}
	withoutTime := []string{"ce-time", ""}
	for _, test := range []struct {
		name    string
		request *http.Request
		want    *flyext.Event
	}{
		{"required attributes only", structured(envelope("e1")), plain(func(*flyext.Event) {})},
		{"required attributes only, in fields", binary("", "ce-time", "", "content-type", ""), plain(func(*flyext.Event) {})},
		{
			"everything", structured(envelope("e1", `"subject":"m\u0031"`, `"time":"2024-04-01t12:30:00+02:00"`, `"dataschema":"https://fly.io/s"`,
				`"datacontenttype":"application/vnd.fly+json; charset=utf-8"`, `"region":"mad"`, `"attempt":3`, `"last":false`, `"first":true`, `"gone":null`,
				`"data":{"machine_id":"m1", "status":"failed"}`)),
			plain(func(e *flyext.Event) {
				e.Subject, e.Time, e.DataSchema = "m1", time.Date(2024, 4, 1, 12, 30, 0, 0, time.FixedZone("", 7200)), "https://fly.io/s"
				e.DataContentType, e.MachineID, e.Status = "application/vnd.fly+json; charset=utf-8", "m1", "failed"
				e.Extensions = map[string]string{"region": "mad", "attempt": "3", "last": "false", "first": "true"}
				e.Data = []byte(`{"machine_id":"m1", "status":"failed"}`)
			}),
		},
		{
			"everything, in fields", binary(`{"machine_id":"m1", "status":"failed"}`, "ce-subject", "m1", "ce-time", "2024-04-01T12:30:00+02:00",
				"ce-dataschema", "https://fly.io/s", "content-type", "application/vnd.fly+json; charset=utf-8",
				"ce-region", "mad", "CE-Attempt", "3", "ce-last", "false"),
			plain(func(e *flyext.Event) {
				e.Subject, e.Time, e.DataSchema = "m1", time.Date(2024, 4, 1, 12, 30, 0, 0, time.FixedZone("", 7200)), "https://fly.io/s"
				e.DataContentType, e.MachineID, e.Status = "application/vnd.fly+json; charset=utf-8", "m1", "failed"
				e.Extensions = map[string]string{"region": "mad", "attempt": "3", "last": "false"}
				e.Data = []byte(`{"machine_id":"m1", "status":"failed"}`)
			}),
		},
		{
			"escaped fields", binary("", append(withoutTime, "content-type", "", "ce-subject", "Euro%20%E2%82%AC%20%f0%9f%98%80", "ce-quoted", `"a \"b\" \\ c%21"`,
				"ce-twice", "%2525", "ce-percent", "100%", "ce-off", "50% off", "ce-quote", `"`, "ce-empty", `""`,
				"ce-opened", `"a`, "ce-closed", `a"`, "ce-cut", "%4", "ce-behind", `"a\"`, "ce-last", `"a\b"`)...),
			plain(func(e *flyext.Event) {
				e.Subject = "Euro € 😀"
				e.Extensions = map[string]string{
					"quoted": `a "b" \ c!`, "twice": "%25", "percent": "100%", "off": "50% off", "quote": `"`, "empty": "",
					"opened": `"a`, "closed": `a"`, "cut": "%4", "behind": `a\`, "last": "ab",
				}
			}),
		},
		{"fields without escapes", binary("", append(withoutTime, "content-type", "", "ce-subject", "größe")...), plain(func(e *flyext.Event) { e.Subject = "größe" })},
		{
			"a batch of one", batched(" [ " + envelope("e1", `"data":[1, 2]`) + " ] \n"),
			plain(func(e *flyext.Event) { e.Data = []byte(`[1, 2]`) }),
		},
		{
			"the media type in another case", asJSON("Application/CloudEvents+JSON ; charset=UTF-8", envelope("e1")),
			plain(func(*flyext.Event) {}),
		},
		{
			"text/plain data", structured(envelope("e1", `"datacontenttype":"text/plain"`, `"data":"a\n\"b\""`)),
			plain(func(e *flyext.Event) { e.DataContentType, e.Data = "text/plain", []byte("a\n\"b\"") }),
		},
		{
			"text/plain data that looks like a machine's", structured(envelope("e1", `"datacontenttype":"text/plain"`, `"data":"{\"machine_id\":\"m1\"}"`)),
			plain(func(e *flyext.Event) { e.DataContentType, e.Data = "text/plain", []byte(`{"machine_id":"m1"}`) }),
		},
		{
			"text/plain data that is an object", structured(envelope("e1", `"datacontenttype":"text/plain"`, `"data":{"a":1}`)),
			plain(func(e *flyext.Event) { e.DataContentType, e.Data = "text/plain", []byte(`{"a":1}`) }),
		},
		{
			"text/plain data in the body", binary("a\n\"b\"", append(withoutTime, "content-type", "text/plain")...),
			plain(func(e *flyext.Event) { e.DataContentType, e.Data = "text/plain", []byte("a\n\"b\"") }),
		},
		{
			"text/plain data in the body that looks like a machine's", binary(`{"machine_id":"m1"}`, append(withoutTime, "content-type", "text/plain")...),
			plain(func(e *flyext.Event) { e.DataContentType, e.Data = "text/plain", []byte(`{"machine_id":"m1"}`) }),
		},
		{
			"JSON text", structured(envelope("e1", `"data":"a\u0062"`)),
			plain(func(e *flyext.Event) { e.Data = []byte(`"a\u0062"`) }),
		},
		{
			"bytes", structured(envelope("e1", `"datacontenttype":"application/octet-stream"`, `"data_base64":"AP8="`)),
			plain(func(e *flyext.Event) {
				e.DataContentType, e.Data = "application/octet-stream", []byte{0, 255}
			}),
		},
		{
			"bytes, in the body", binary("\x00\xff", append(withoutTime, "content-type", "application/octet-stream")...),
			plain(func(e *flyext.Event) {
				e.DataContentType, e.Data = "application/octet-stream", []byte{0, 255}
			}),
		},
		{
			"a machine in base64", structured(envelope("e1", `"data_base64":"`+base64.StdEncoding.EncodeToString([]byte(`{"machine_id":"m1"}`))+`"`)),
			plain(func(e *flyext.Event) { e.MachineID, e.Data = "m1", []byte(`{"machine_id":"m1"}`) }),
		},
		{"no data", structured(envelope("e1", `"data":null`, `"data_base64":null`)), plain(func(*flyext.Event) {})},
		{"a body without a Content-Type", binary("{", append(withoutTime, "content-type", "")...), plain(func(e *flyext.Event) { e.Data = []byte("{") })},
		{
			"a machine whose status is a number", structured(envelope("e1", `"data":{"machine_id":"m1","status":7}`)),
			plain(func(e *flyext.Event) { e.MachineID, e.Data = "m1", []byte(`{"machine_id":"m1","status":7}`) }),
		},
		{
			"a machine id that is a number", structured(envelope("e1", `"data":{"machine_id":7,"status":null}`)),
			plain(func(e *flyext.Event) { e.Data = []byte(`{"machine_id":7,"status":null}`) }),
		},
		{
			"JSON that is no object", binary("[1]", withoutTime...),
			plain(func(e *flyext.Event) { e.DataContentType, e.Data = "application/json", []byte("[1]") }),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := &listener{}
			w := do(newProvider(t, l, unsigned), test.request)
			got := l.received()
			if w.Code != 200 || len(got) != 1 {
				t.Fatalf("got %d %s and %d events, want 200 and one event", w.Code, w.Body, len(got))
			}
			if got[0].Time.Equal(test.want.Time) {
				got[0].Time = test.want.Time
			}
			if !reflect.DeepEqual(got[0], test.want) {
				t.Errorf("got  %+v\nwant %+v", got[0], test.want)
			}
		})
	}
}

func TestEventsThatAreNone(t *testing.T) {
	t.Parallel()
	twice := func(r *http.Request, name, value string) *http.Request {
		r.Header.Add(name, value)
		return r
	}
	many := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = envelope(fmt.Sprint(i))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	for _, test := range []struct {
		name    string
		request *http.Request
		status  int
		message string
	}{
		{"no fields", httptest.NewRequest("POST", testEvents, strings.NewReader(recordedData)), 422, `The attribute "specversion" must be "1.0".`},
		{"version 0.3", binary("{}", "ce-specversion", "0.3"), 422, `The attribute "specversion" must be "1.0".`},
		{"version 1.0.1", structured(strings.Replace(envelope("e1"), "1.0", "1.0.1", 1)), 422, `The attribute "specversion" must be "1.0".`},
		{"version as a number", structured(strings.Replace(envelope("e1"), `"1.0"`, "1.0", 1)), 422, `The attribute "specversion" must be a string.`},
		{"no id", binary("{}", "ce-id", ""), 422, `The attribute "id" must be present and not empty.`},
		{"an empty id", structured(envelope("")), 422, `The attribute "id" must be present and not empty.`},
		{"an id that is a number", structured(strings.Replace(envelope("e1"), `"e1"`, "1", 1)), 422, `The attribute "id" must be a string.`},
		{"no source", binary("{}", "ce-source", ""), 422, `The attribute "source" must be present and not empty.`},
		{"no type", binary("{}", "ce-type", ""), 422, `The attribute "type" must be present and not empty.`},
		{"a source that is a number", structured(strings.Replace(envelope("e1"), `"https://api.fly.io/v1"`, "1", 1)), 422, `The attribute "source" must be a string.`},
		{"a type that is a number", structured(strings.Replace(envelope("e1"), `"io.fly.machine.starting"`, "1", 1)), 422, `The attribute "type" must be a string.`},
		{"two ids", twice(binary("{}"), "ce-id", "e2"), 422, `The attribute "id" must be present once.`},
		{"an id that breaks the line", binary("{}", "ce-id", "a%0Ab"), 422, `The attribute "id" must be UTF-8 without control characters.`},
		{"an id that breaks the line, in JSON", structured(envelope(`a\nb`)), 422, `The attribute "id" must be UTF-8 without control characters.`},
		{"an id that is not UTF-8", binary("{}", "ce-id", "%ff"), 422, `The attribute "id" must be UTF-8 without control characters.`},
		{"data twice", structured(envelope("e1", `"data":1`, `"data_base64":"AA=="`)), 422, `"data_base64" must be absent if there is data.`},
		{"no base64", structured(envelope("e1", `"data_base64":"A"`)), 422, `"data_base64" must be base64.`},
		{"base64 that is a number", structured(envelope("e1", `"data_base64":7`)), 422, `"data_base64" must be base64.`},
		{"another spelling of base64", structured(envelope("e1", `"data_base64":"AB=="`)), 422, `"data_base64" must be base64.`},
		{"XML", asJSON("application/cloudevents+xml", "<event/>"), 415, "Send events in binary mode, as application/cloudevents+json, or as application/cloudevents-batch+json."},
		{"a batch in XML", asJSON("application/cloudevents-batch+xml", "<event/>"), 415, "Send events in binary mode, as application/cloudevents+json, or as application/cloudevents-batch+json."},
		{"two types", twice(structured(envelope("e1")), "Content-Type", "application/json"), 400, "The request has more than one Content-Type."},
		{"an empty body", structured(""), 400, "The body is empty; a JSON object is expected."},
		{"an array as one event", structured("[]"), 400, "The body is JSON, but not an object."},
		{"no JSON", structured(`{"id"`), 400, `The body is not JSON (at "id").`},
		{"two events", structured(envelope("e1") + envelope("e2")), 400, "The body has text after the JSON object."},
		{"a duplicate member", structured(envelope("e1", `"id":"e2"`)), 400, `The body names a member twice (at "id").`},
		{"a duplicate member in a batch", batched("[" + envelope("e1", `"id":"e2"`) + "]"), 400, `The body names a member twice (at "id").`},
		{"bytes that are not UTF-8", structured(envelope("\xff")), 400, `The body is not UTF-8 (at "id").`},
		{"a batch with a character after it", batched("[]7"), 400, "The body has text after the JSON array."},
		{"a batch that is one event", batched(envelope("e1")), 400, "The body is not a JSON array."},
		{"an empty body as a batch", batched(""), 400, "The body is not a JSON array."},
		{"a batch without an end", batched("[" + envelope("e1")), 400, "The body is not JSON."},
		{"a batch with a comma too many", batched("[" + envelope("e1") + ",]"), 400, "The body is not JSON."},
		{"a batch with a number", batched("[" + envelope("e1") + ",7]"), 400, "The batch has an element that is not an object."},
		{"a batch with an object after it", batched("[" + envelope("e1") + "]{}"), 400, "The body has text after the JSON array."},
		{"a batch with an invalid event", batched("[" + envelope("e1") + "," + envelope("") + "]"), 422, `Event 2: The attribute "id" must be present and not empty.`},
		{"a batch of too many events", batched(many(1001)), 413, "The batch has more than 1000 events."},
		{"a body that is too large", binary(`"` + strings.Repeat("a", 1<<20) + `"`), 413, "The body is larger than 1048576 bytes."},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l, log := &listener{}, &logBuffer{}
			w := do(newProvider(t, l, func(c *flyext.Config) { unsigned(c); c.Logger = log.logger() }), test.request)
			code := map[int]string{400: "malformed_body", 413: "body_too_large", 415: "unsupported_type", 422: "invalid_field"}[test.status]
			if w.Code != test.status || readAnswer(t, w) != (answer{code, test.message}) {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if calls := l.recorded(); len(calls) != 0 {
				t.Errorf("the receiver was called: %v", calls)
			}
			if !strings.Contains(log.text(), `"route":"/extensions/events"`) {
				t.Errorf("the log lacks the route: %s", log.text())
			}
		})
	}
}

func TestFullAndEmptyBatch(t *testing.T) {
	t.Parallel()
	l := &listener{}
	provider := newProvider(t, l, unsigned)
	all := make([]string, 1000)
	for i := range all {
		all[i] = envelope(fmt.Sprint(i))
	}
	for _, body := range []string{"[" + strings.Join(all, ",") + "]", "[]"} {
		if w := do(provider, batched(body)); w.Code != 200 {
			t.Errorf("got %d %s, want 200", w.Code, w.Body)
		}
	}
	got := l.received()
	if len(got) != 1000 || got[0].ID != "0" || got[999].ID != "999" {
		t.Errorf("%d events were received, want 1000 in their order", len(got))
	}
}

// A receiver that appends to the data of one event must not change the next one's.
func TestEventDataIsApart(t *testing.T) {
	t.Parallel()
	l := &listener{receive: func(_ context.Context, e *flyext.Event) error {
		_ = append(e.Data, strings.Repeat("x", 20)...)
		return nil
	}}
	if w := do(newProvider(t, l, unsigned), batched("["+envelope("e1", `"data":1`)+`,{"data":[2],`+envelope("e2")[1:]+"]")); w.Code != 200 {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	if got := l.received(); string(got[1].Data) != "[2]" {
		t.Errorf("got %s", got[1].Data)
	}
}
