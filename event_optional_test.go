package flyext_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

// An event with a malformed optional part, or with JSON that only lenient parsers read,
// is delivered. Extensions has the text of the malformed attribute, the data is
// unchanged, and the log has one record.
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
		{"Content-Type and ce-datacontenttype", binary("{}", "ce-datacontenttype", "text/plain"), "datacontenttype=text/plain", "datacontenttype", "{}"},
		{"data in a field", binary("{}", "ce-data", "{}"), "data={}", "data", "{}"},
		{"a lone surrogate deep inside", binary(`{"data":{"Error":"exec \ud83d"}}`), "", "", `{"data":{"Error":"exec \ud83d"}}`},
		{"a lone surrogate in structured mode", structured(envelope("e1", `"data":{"a":"\ud83d"}`)), "", "", `{"a":"\ud83d"}`},
		{"a member twice deep inside", binary(`{"data":{"a":1,"a":2}}`), "", "", `{"data":{"a":1,"a":2}}`},
		{"a member of the data twice", structured(envelope("e1", `"data":{"a":"b","a":"c"}`)), "", "", `{"a":"b","a":"c"}`},
		{"a large number deep inside", binary(`{"data":[1e999,123456789012345678901234567890]}`), "", "", `{"data":[1e999,123456789012345678901234567890]}`},
		{"a member of the body twice", binary(`{"a":"b","a":"c"}`), "", "data", `{"a":"b","a":"c"}`},
		{"data that is not UTF-8", binary("{\"a\":\"\xff\"}"), "", "data", "{\"a\":\"\xff\"}"},
		{"data that is not JSON", binary("{"), "", "data", "{"},
		{"data with text after it", binary("{} {}"), "", "data", "{} {}"},
		{"data that is an array", binary("[7]"), "", "", "[7]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l, log := &listener{}, &logBuffer{}
			w := do(newProvider(t, l, func(c *flyext.Config) { unsigned(c); c.Logger = log.logger() }), test.request)
			events := l.received()
			if w.Code != 200 || len(events) != 1 {
				t.Fatalf("got %d %s and the events %v, want 200 and one event", w.Code, w.Body, events)
			}
			e := events[0]
			text := ""
			for name, value := range e.Extensions {
				text += name + "=" + value
			}
			if text != test.text || string(e.Data) != test.data || test.unread == "time" && !e.Time.IsZero() || e.Subject != "" || e.DataSchema != "" {
				t.Errorf("extensions %q, want %q; data %s, want %s; event %+v", text, test.text, e.Data, test.data, e)
			}
			records := strings.Count(log.text(), "event has malformed parts")
			if want := min(len(test.unread), 1); records != want || !strings.Contains(log.text(), test.unread) {
				t.Errorf("%d records of unreadable parts, want %d with %q: %s", records, want, test.unread, log.text())
			}
		})
	}
}
