package flyext_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const testEvents = "/flyio/extensions/events"

// listener is a Provisioner that receives events, and keeps those for which
// receive, if there is one, returned nil.
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

// recordedEvent is what protocol.md records: in binary mode, as Fly.io sends it.
const recordedData = `{"machine_id": "5683977ad31768", "status": "failed", "data": {"Error": "image not found", "Transition": "prepareImage"}}`

// binary returns an event in binary mode, with header fields changed by pairs of
// name and value; an empty value takes a field out.
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
func batched(body string) *http.Request    { return asJSON("application/cloudevents-batch+json", body) }

// envelope is an event in structured mode, with more members at its end.
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

// What each mode makes of the same things.
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
		{"nothing but what must be", structured(envelope("e1")), plain(func(*flyext.Event) {})},
		{"nothing but what must be, in fields", binary("", "ce-time", "", "content-type", ""), plain(func(*flyext.Event) {})},
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
		{"fields that nobody escaped", binary("", append(withoutTime, "content-type", "", "ce-subject", "größe")...), plain(func(e *flyext.Event) { e.Subject = "größe" })},
		{
			"a batch of one", batched(" [ " + envelope("e1", `"data":[1, 2]`) + " ] \n"),
			plain(func(e *flyext.Event) { e.Data = []byte(`[1, 2]`) }),
		},
		{
			"the type in other letters", asJSON("Application/CloudEvents+JSON ; charset=UTF-8", envelope("e1")),
			plain(func(*flyext.Event) {}),
		},
		{
			"data as text", structured(envelope("e1", `"datacontenttype":"text/plain"`, `"data":"a\n\"b\""`)),
			plain(func(e *flyext.Event) { e.DataContentType, e.Data = "text/plain", []byte("a\n\"b\"") }),
		},
		{
			"data as text that looks like a machine's", structured(envelope("e1", `"datacontenttype":"text/plain"`, `"data":"{\"machine_id\":\"m1\"}"`)),
			plain(func(e *flyext.Event) { e.DataContentType, e.Data = "text/plain", []byte(`{"machine_id":"m1"}`) }),
		},
		{
			"data of text that is an object", structured(envelope("e1", `"datacontenttype":"text/plain"`, `"data":{"a":1}`)),
			plain(func(e *flyext.Event) { e.DataContentType, e.Data = "text/plain", []byte(`{"a":1}`) }),
		},
		{
			"data as text, in the body", binary("a\n\"b\"", append(withoutTime, "content-type", "text/plain")...),
			plain(func(e *flyext.Event) { e.DataContentType, e.Data = "text/plain", []byte("a\n\"b\"") }),
		},
		{
			"text that looks like a machine's", binary(`{"machine_id":"m1"}`, append(withoutTime, "content-type", "text/plain")...),
			plain(func(e *flyext.Event) { e.DataContentType, e.Data = "text/plain", []byte(`{"machine_id":"m1"}`) }),
		},
		{
			"text that is JSON's", structured(envelope("e1", `"data":"a\u0062"`)),
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
		{"a body that nobody calls JSON", binary("{", append(withoutTime, "content-type", "")...), plain(func(e *flyext.Event) { e.Data = []byte("{") })},
		{
			"a machine whose status is a number", structured(envelope("e1", `"data":{"machine_id":"m1","status":7}`)),
			plain(func(e *flyext.Event) { e.MachineID, e.Data = "m1", []byte(`{"machine_id":"m1","status":7}`) }),
		},
		{
			"a machine that is none", structured(envelope("e1", `"data":{"machine_id":7,"status":null}`)),
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
				t.Fatalf("got %d %s, %d events", w.Code, w.Body, len(got))
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
		{"base64 that is no text", structured(envelope("e1", `"data_base64":7`)), 422, `"data_base64" must be base64.`},
		{"another spelling of base64", structured(envelope("e1", `"data_base64":"AB=="`)), 422, `"data_base64" must be base64.`},
		{"XML", asJSON("application/cloudevents+xml", "<event/>"), 415, "Send events in binary mode, as application/cloudevents+json, or as application/cloudevents-batch+json."},
		{"a batch in XML", asJSON("application/cloudevents-batch+xml", "<event/>"), 415, "Send events in binary mode, as application/cloudevents+json, or as application/cloudevents-batch+json."},
		{"two types", twice(structured(envelope("e1")), "Content-Type", "application/json"), 400, "The request has more than one Content-Type."},
		{"nothing", structured(""), 400, "The body is empty; a JSON object is expected."},
		{"an array as one event", structured("[]"), 400, "The body is JSON, but not an object."},
		{"no JSON", structured(`{"id"`), 400, `The body is not JSON (at "id").`},
		{"more than one", structured(envelope("e1") + envelope("e2")), 400, "The body has text after the JSON object."},
		{"a member twice", structured(envelope("e1", `"id":"e2"`)), 400, `The body names a member twice (at "id").`},
		{"a member of a batch twice", batched("[" + envelope("e1", `"id":"e2"`) + "]"), 400, `The body names a member twice (at "id").`},
		{"bytes that are not UTF-8", structured(envelope("\xff")), 400, `The body is not UTF-8 (at "id").`},
		{"a batch with a character behind", batched("[]7"), 400, "The body has text after the JSON array."},
		{"a batch that is one event", batched(envelope("e1")), 400, "The body is not a JSON array."},
		{"a batch of nothing at all", batched(""), 400, "The body is not a JSON array."},
		{"a batch without an end", batched("[" + envelope("e1")), 400, "The body is not JSON."},
		{"a batch with a comma too many", batched("[" + envelope("e1") + ",]"), 400, "The body is not JSON."},
		{"a batch with a number", batched("[" + envelope("e1") + ",7]"), 400, "The batch has an element that is not an object."},
		{"a batch with something behind", batched("[" + envelope("e1") + "]{}"), 400, "The body has text after the JSON array."},
		{"a batch with one that is none", batched("[" + envelope("e1") + "," + envelope("") + "]"), 422, `Event 2: The attribute "id" must be present and not empty.`},
		{"a batch of very many", batched(many(1001)), 413, "The batch has more than 1000 events."},
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
				t.Errorf("received: %v", calls)
			}
			if !strings.Contains(log.text(), `"route":"/extensions/events"`) {
				t.Errorf("log: %s", log.text())
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
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	}
	got := l.received()
	if len(got) != 1000 || got[0].ID != "0" || got[999].ID != "999" {
		t.Errorf("%d events", len(got))
	}
}

// What a receiver does to the data of one event must not reach the next one's.
func TestEventDataIsApart(t *testing.T) {
	t.Parallel()
	l := &listener{receive: func(_ context.Context, e *flyext.Event) error {
		_ = append(e.Data, strings.Repeat("x", 20)...)
		return nil
	}}
	if w := do(newProvider(t, l, unsigned), batched("["+envelope("e1", `"data":1`)+`,{"data":[2],`+envelope("e2")[1:]+"]")); w.Code != 200 {
		t.Fatal(w.Body)
	}
	if got := l.received(); string(got[1].Data) != "[2]" {
		t.Errorf("got %s", got[1].Data)
	}
}

// The parameters of X-Signature are no attributes; to who does not sign with it,
// and in a batch, they are attributes like others.
func TestSigningParametersOfEvents(t *testing.T) {
	t.Parallel()
	event := envelope("e1", `"timestamp":1700000000`, `"nonce":"n"`, `"url":"u"`, `"region":"mad"`)
	for _, test := range []struct {
		name       string
		generation flyext.Generation
		request    *http.Request
		want       int
	}{
		{"generation 2", flyext.Generation2, structured(event), 1},
		{"generation 1", flyext.Generation1, structured(event), 4},
		{"a batch", flyext.Generation2, batched("[" + event + "]"), 4},
	} {
		l := &listener{}
		w := do(newProvider(t, l, func(c *flyext.Config) { c.Verifier = admitAll{test.generation} }), test.request)
		if w.Code != 200 || len(l.received()) != 1 || len(l.received()[0].Extensions) != test.want {
			t.Errorf("%s: got %d %s, %+v", test.name, w.Code, w.Body, l.received())
		}
	}
}

// An extension may be called "events", and the route for events is POST alone.
func TestEventsRoute(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, method, target string
		status               int
		allow, call          string
	}{
		{"an event", "POST", testEvents, 200, "", "event e1"},
		{"an event, escaped", "POST", "/flyio/extensions/%65vents", 200, "", "event e1"},
		{"an event with a query", "POST", testEvents + "?a=b", 200, "", "event e1"},
		{"update", "PATCH", testEvents, 200, "", "update events"},
		{"fetch", "GET", testEvents, 200, "", "fetch events"},
		{"deprovision", "DELETE", testEvents, 200, "", "deprovision events"},
		{"another method", "PUT", testEvents, 405, "DELETE, GET, PATCH, POST", ""},
		{"in other letters", "POST", "/flyio/extensions/Events", 405, "DELETE, GET, PATCH", ""},
		{"below it", "POST", testEvents + "/e1", 404, "", ""},
		{"its sign-on", "GET", testEvents + "/sso", 501, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := &listener{}
			r := httptest.NewRequest(test.method, test.target, strings.NewReader("{}"))
			r.Header = binary("").Header
			w := do(newProvider(t, l, unsigned), r)
			if w.Code != test.status || w.Header().Get("Allow") != test.allow || strings.Join(l.recorded(), ",") != test.call {
				t.Errorf("got %d, %q, %v", w.Code, w.Header().Get("Allow"), l.recorded())
			}
		})
	}
}

func TestNoEventReceiver(t *testing.T) {
	t.Parallel()
	provider := newProvider(t, &testProvisioner{}, nil)
	fly := &flytest.Platform{BaseURL: testBase, Signer: flytest.XSignature(testSecret), Client: &http.Client{Transport: handlerTransport{provider}}}
	err := fly.SendEvent(t.Context(), flyext.Event{}, flytest.BinaryMode)
	if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Status != 501 || e.Code != "unsupported" {
		t.Errorf("got %v", err)
	}
	if w := do(provider, binary("{}")); w.Code != 401 { // a stranger is not told
		t.Errorf("got %d", w.Code)
	}
}

// handlerTransport brings requests to a handler without a network between.
type handlerTransport struct{ h http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	in.Host = r.URL.Host
	in.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10)) // as a server sees it
	t.h.ServeHTTP(w, in)
	answer := w.Result()
	answer.Request = r
	return answer, nil
}

// In every mode that a format can sign, what is sent is what is received.
func TestEventsAsSigned(t *testing.T) {
	t.Parallel()
	key := flyext.Key{ID: "flyio-signing-secret", Secret: testSecret}
	sent := flyext.Event{
		ID: "é 1%", Source: "https://api.fly.io/v1?a=b", Type: "io.fly.machine.starting", SpecVersion: "1.0", Subject: `"50%"`,
		Time: time.Date(2024, 4, 1, 12, 30, 0, 5, time.UTC), DataContentType: "application/json", DataSchema: "https://fly.io/s",
		Extensions: map[string]string{"region": "mad"}, MachineID: "5683977ad31768", Status: "failed", Data: []byte(recordedData),
	}
	for _, format := range []struct {
		name   string
		signer flytest.Signer
		modes  []flytest.EventMode
	}{
		{"X-Signature", flytest.XSignature(testSecret), []flytest.EventMode{flytest.BinaryMode, flytest.StructuredMode}},
		{"RFC 9421", flytest.RFC9421(key), []flytest.EventMode{flytest.BinaryMode, flytest.StructuredMode, flytest.BatchedMode}},
		{"draft-05", flytest.Draft05(key), []flytest.EventMode{flytest.BinaryMode, flytest.StructuredMode, flytest.BatchedMode}},
		{"draft-cavage", flytest.CavageOptions{CoverDigest: true}.Cavage(key), []flytest.EventMode{flytest.BinaryMode, flytest.StructuredMode, flytest.BatchedMode}},
		{"zntrio", flytest.Zntrio(key), []flytest.EventMode{flytest.BinaryMode, flytest.StructuredMode, flytest.BatchedMode}},
	} {
		for _, mode := range format.modes {
			t.Run(format.name+" "+mode.String(), func(t *testing.T) {
				t.Parallel()
				l := &listener{}
				provider := newProvider(t, l, func(c *flyext.Config) {
					c.Verifier = flyext.AnyOf(flyext.XSignature(testSecret), flyext.Policy{ZntrioDialect: true}.MessageSignature(key))
				})
				fly := &flytest.Platform{BaseURL: testBase, Signer: format.signer, Client: &http.Client{Transport: handlerTransport{provider}}}
				if err := fly.SendEvent(t.Context(), sent, mode); err != nil {
					t.Fatal(err)
				}
				got := l.received()
				if len(got) != 1 {
					t.Fatalf("%d events", len(got))
				}
				want := sent
				if mode == flytest.BinaryMode && format.name == "X-Signature" {
					// The data is the body, and the body has the parameters in it.
					if !strings.HasPrefix(string(got[0].Data), strings.TrimSuffix(recordedData, "}")+`,"timestamp":`) {
						t.Errorf("data %s", got[0].Data)
					}
					want.Data = got[0].Data
				}
				if mode != flytest.BinaryMode { // which sends JSON without its spaces
					want.Data = []byte(strings.NewReplacer(`: `, `:`, `, `, `,`).Replace(recordedData))
				}
				if !reflect.DeepEqual(*got[0], want) {
					t.Errorf("got  %+v\nwant %+v", *got[0], want)
				}
			})
		}
	}
}

// The sender of an event gets an optional part of it wrong, or writes JSON that only
// lenient parsers read. The event is delivered, with the text in Extensions, the
// data as it came, and one record in the log.
func TestOptionalPartsNeverLoseAnEvent(t *testing.T) {
	t.Parallel()
	twice := func(r *http.Request, name, value string) *http.Request {
		r.Header.Add(name, value)
		return r
	}
	for _, test := range []struct {
		name    string
		request *http.Request
		text    string // in Extensions, under the attribute's name
		unread  string // in the log
		data    string
	}{
		{"a time with a leap second", binary("{}", "ce-time", "2016-12-31T23:59:60Z"), "time=2016-12-31T23:59:60Z", "time", "{}"},
		{"a time without seconds", binary("{}", "ce-time", "2024-04-01T12:30Z"), "time=2024-04-01T12:30Z", "time", "{}"},
		{"a time without a zone", binary("{}", "ce-time", "2024-04-01T12:30:00"), "time=2024-04-01T12:30:00", "time", "{}"},
		{"a time with a space", binary("{}", "ce-time", "2024-04-01 12:30:00Z"), "time=2024-04-01 12:30:00Z", "time", "{}"},
		{"a time that is a number", structured(envelope("e1", `"time":1711974600`)), "time=1711974600", "time", ""},
		{"a subject that is a number", structured(envelope("e1", `"subject":1`)), "subject=1", "subject", ""},
		{"a data type that is a number", structured(envelope("e1", `"datacontenttype":1`)), "datacontenttype=1", "datacontenttype", ""},
		{"a schema that is a boolean", structured(envelope("e1", `"dataschema":true`)), "dataschema=true", "dataschema", ""},
		{"a subject that breaks the line", binary("{}", "ce-subject", "a%0Ab"), "subject=a b", "subject", "{}"},
		{"two subjects", twice(binary("{}", "ce-subject", "a"), "ce-subject", "b"), "subject=a, b", "subject", "{}"},
		{"an attribute that is an object", structured(envelope("e1", `"a":{}`)), "a={}", "an extension", ""},
		{"an attribute that is not UTF-8", binary("{}", "ce-region", "%ff"), "region=\ufffd", "an extension", "{}"},
		{"an attribute without a name", structured(envelope("e1", `"":"a"`)), "", "an extension", ""},
		{"an attribute whose name breaks the line", structured(envelope("e1", `"a\nb":"a"`)), "", "an extension", ""},
		{"the data's type twice", binary("{}", "ce-datacontenttype", "text/plain"), "datacontenttype=text/plain", "datacontenttype", "{}"},
		{"data in a field", binary("{}", "ce-data", "{}"), "data={}", "data", "{}"},
		{"a lone surrogate deep inside", binary(`{"data":{"Error":"exec \ud83d"}}`), "", "", `{"data":{"Error":"exec \ud83d"}}`},
		{"a lone surrogate in structured mode", structured(envelope("e1", `"data":{"a":"\ud83d"}`)), "", "", `{"a":"\ud83d"}`},
		{"a member twice deep inside", binary(`{"data":{"a":1,"a":2}}`), "", "", `{"data":{"a":1,"a":2}}`},
		{"a member of the data twice", structured(envelope("e1", `"data":{"a":"b","a":"c"}`)), "", "", `{"a":"b","a":"c"}`},
		{"a large number deep inside", binary(`{"data":[1e999,123456789012345678901234567890]}`), "", "", `{"data":[1e999,123456789012345678901234567890]}`},
		{"a member of the body twice", binary(`{"a":"b","a":"c"}`), "", "data", `{"a":"b","a":"c"}`},
		{"data that is not UTF-8", binary("{\"a\":\"\xff\"}"), "", "data", "{\"a\":\"\xff\"}"},
		{"data that is not JSON", binary("{"), "", "data", "{"},
		{"data with something behind", binary("{} {}"), "", "data", "{} {}"},
		{"data that is an array", binary("[7]"), "", "", "[7]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l, log := &listener{}, &logBuffer{}
			w := do(newProvider(t, l, func(c *flyext.Config) { unsigned(c); c.Logger = log.logger() }), test.request)
			events := l.received()
			if w.Code != 200 || len(events) != 1 {
				t.Fatalf("got %d %s, events %v", w.Code, w.Body, events)
			}
			e := events[0]
			text := ""
			for name, value := range e.Extensions {
				text += name + "=" + value
			}
			if text != test.text || string(e.Data) != test.data || test.unread == "time" && !e.Time.IsZero() || e.Subject != "" || e.DataSchema != "" {
				t.Errorf("extensions %q, data %s, event %+v", text, e.Data, e)
			}
			records := strings.Count(log.text(), "event has malformed parts")
			if want := min(len(test.unread), 1); records != want || !strings.Contains(log.text(), test.unread) {
				t.Errorf("%d records: %s", records, log.text())
			}
		})
	}
}
