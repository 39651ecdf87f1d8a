package flyext_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// The parameters of X-Signature are not attributes of the event. In generation 1 and in
// a batch, members with those names are attributes.
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

// An extension may have the id "events": the route for events has only the method POST.
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
		{"in another case", "POST", "/flyio/extensions/Events", 405, "DELETE, GET, PATCH", ""},
		{"below it", "POST", testEvents + "/e1", 404, "", ""},
		{"the sign-on of an extension", "GET", testEvents + "/sso", 501, "", ""},
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
	if w := do(provider, binary("{}")); w.Code != 401 { // an unsigned request does not learn that
		t.Errorf("got %d, want 401", w.Code)
	}
}

// handlerTransport passes requests to a handler without a network.
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

// Events arrive unchanged in each format and in each mode that the format can sign.
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
					t.Fatalf("%d events were received, want 1", len(got))
				}
				want := sent
				if mode == flytest.BinaryMode && format.name == "X-Signature" {
					// The data is the whole body, which includes the parameters.
					if !strings.HasPrefix(string(got[0].Data), strings.TrimSuffix(recordedData, "}")+`,"timestamp":`) {
						t.Errorf("the data %s lacks the parameters of the signature", got[0].Data)
					}
					want.Data = got[0].Data
				}
				if mode != flytest.BinaryMode { // these modes send the data without spaces
					want.Data = []byte(strings.NewReplacer(`: `, `:`, `, `, `,`).Replace(recordedData))
				}
				if !reflect.DeepEqual(*got[0], want) {
					t.Errorf("got  %+v\nwant %+v", *got[0], want)
				}
			})
		}
	}
}
