package flyext_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/flyext/flyext"
)

// FuzzEvent sends admitted events in every mode. The answer is either a 200 after every
// event was received with its required attributes, or a 4xx error before any call. The
// attributes of a structured event are those that encoding/json reads.
func FuzzEvent(f *testing.F) {
	const data = `{"machine_id":"5683977ad31768","status":"failed","data":{"Error":"image not found"}}`
	for _, seed := range []struct{ contentType, id, subject, body string }{
		{"application/json", "e1", "m%20%e2%82%ac", data},
		{"application/json", `"a \"b\""`, "100%", `{"status":"a","status":"b"}`},
		{"text/plain; charset=utf-8", "%ff", "\xff", "a\x00b"},
		{"", "e1", "a\nb", "{"},
		{"application/cloudevents+json", "", "", envelope("e1", `"data":`+data, `"a":true`, `"b":-1.5e3`)},
		{"application/cloudevents+json", "", "", envelope("e1", `"data_base64":"AP8="`, `"time":"2024-04-01T12:30:00Z"`)},
		{"application/cloudevents+json", "", "", envelope("e1", `"datacontenttype":"text/plain"`, `"data":"\ud83d\ude00"`)},
		{"Application/CloudEvents+JSON;a=b", "e2", "", envelope("e1", `"timestamp":1,"nonce":"n","url":"u"`)},
		{"application/cloudevents-batch+json", "", "", "[" + envelope("e1") + "," + envelope("e2", `"data":[1,{"a":null}]`) + "]"},
		{"application/cloudevents-batch+json", "", "", " [ ] "},
		{"application/cloudevents+xml", "", "", "<event/>"},
	} {
		f.Add(seed.contentType, seed.id, seed.subject, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, contentType, id, subject string, body []byte) {
		l := &listener{receive: func(_ context.Context, e *flyext.Event) error {
			if e.ID == "" || e.Source == "" || e.Type == "" || e.SpecVersion != "1.0" {
				t.Errorf("the event lacks a required attribute: %+v", e)
			}
			texts := []string{e.ID, e.Source, e.Type, e.Subject, e.DataContentType, e.DataSchema, e.MachineID, e.Status}
			for name, value := range e.Extensions {
				texts = append(texts, name, value)
			}
			for i, text := range texts {
				isMachine := i == 6 || i == 7 // these come from the data
				if !utf8.ValidString(text) || !isMachine && strings.ContainsFunc(text, unicode.IsControl) {
					t.Errorf("text %d of the event is %q, from the body %q", i, text, body)
				}
			}
			return nil
		}}
		r := httptest.NewRequest("POST", testEvents, bytes.NewReader(body))
		r.Header = http.Header{
			"Content-Type": {contentType}, "Ce-Id": {id}, "Ce-Subject": {subject}, "Ce-Source": {"s"}, "Ce-Type": {"t"}, "Ce-Specversion": {"1.0"},
		}
		w := do(newProvider(t, l, unsigned), r)
		calls := len(l.recorded())
		switch {
		case w.Code/100 == 4 && calls == 0:
			readAnswer(t, w)
			return
		case w.Code != 200:
			t.Fatalf("got %d after %d calls: %s", w.Code, calls, w.Body)
		}
		media, _, _ := strings.Cut(contentType, ";")
		switch strings.ToLower(strings.Trim(media, " \t")) {
		case "application/cloudevents+json":
			var want struct{ ID, Source, Type string }
			if err := json.Unmarshal(body, &want); err != nil {
				t.Fatalf("%q is not JSON, but was received", body)
			}
			if calls != 1 {
				t.Errorf("%d calls, want 1", calls)
			}
			// encoding/json ignores the case of names, so it may read another member.
			if e := l.received()[0]; len(e.Extensions) == 0 && e.ID != want.ID {
				t.Errorf("got %q, want %q", e.ID, want.ID)
			}
		case "application/cloudevents-batch+json":
			var all []json.RawMessage
			if err := json.Unmarshal(body, &all); err != nil || calls > len(all) {
				t.Errorf("%d calls for the batch %q: %v", calls, body, err)
			}
		default:
			if e := l.received()[0]; calls != 1 || !bytes.Equal(e.Data, body) {
				t.Errorf("%d calls with the data %q, want 1 with %q", calls, e.Data, body)
			}
		}
	})
}
