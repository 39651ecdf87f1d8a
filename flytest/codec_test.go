package flytest_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

var address = netip.MustParseAddr("fdaa:0:47fb:0:1::1d")

// whole sets every field, so that the tests detect a new field that is not encoded.
var whole = flyext.ProvisionRequest{
	ID: "30bqn49y2jh", Name: "collider-prod", OrganizationID: "M03FclA4m", OrganizationName: "Überflieger ✈ <&>",
	OrganizationEmail: "n1l330mao@customer.fly.io", UserID: "NeBO2G0l0yJ6", UserName: "n", UserEmail: "v9WvKokd@customer.fly.io",
	UserRole: "admin", PrimaryRegion: "mad", ReadRegions: []string{"mad", "ord"}, IPAddress: address,
	Extra: map[string]json.RawMessage{"website": json.RawMessage(`{"n":1.50,"url":"\u0061"}`), "public": json.RawMessage(`null`)},
}

var wholeUpdate = flyext.UpdateRequest{
	Name: flyext.OptionalOf("a"), OrganizationID: flyext.OptionalOf("b"), OrganizationName: flyext.OptionalOf("c"), OrganizationEmail: flyext.OptionalOf("d"),
	UserID: flyext.OptionalOf("e"), UserName: flyext.OptionalOf("e2"), UserEmail: flyext.OptionalOf("f"), UserRole: flyext.OptionalOf("g"), PrimaryRegion: flyext.OptionalOf("h"),
	ReadRegions: flyext.OptionalOf([]string{"i"}), IPAddress: flyext.OptionalOf(address), Extra: map[string]json.RawMessage{"plan": json.RawMessage(`"j"`)},
}

func TestWholeRequestsHaveEveryField(t *testing.T) {
	t.Parallel()
	for _, v := range []reflect.Value{reflect.ValueOf(whole), reflect.ValueOf(wholeUpdate)} {
		for field, value := range v.Fields() {
			if value.IsZero() {
				t.Errorf("%s.%s is zero", v.Type(), field.Name)
			}
		}
	}
}

func TestProvisionArrives(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		req  flyext.ProvisionRequest
		sent string
	}{
		{
			name: "whole", req: whole,
			sent: `{"name":"collider-prod","id":"30bqn49y2jh","organization_id":"M03FclA4m","organization_name":"Überflieger ✈ <&>",` +
				`"organization_email":"n1l330mao@customer.fly.io","user_id":"NeBO2G0l0yJ6","user_name":"n","user_email":"v9WvKokd@customer.fly.io",` +
				`"user_role":"admin","primary_region":"mad","read_regions":["mad","ord"],"ip_address":"fdaa:0:47fb:0:1::1d",` +
				`"public":null,"website":{"n":1.50,"url":"\u0061"}}`,
		},
		{
			name: "smallest", req: flyext.ProvisionRequest{ID: "a", OrganizationID: "b"},
			sent: `{"name":"","id":"a","organization_id":"b"}`,
		},
		{
			name: "empty list", req: flyext.ProvisionRequest{ID: "a", OrganizationID: "b", ReadRegions: []string{}},
			sent: `{"name":"","id":"a","organization_id":"b","read_regions":[]}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newService()
			fly := start(t, s, flytest.RFC9421(key), flyext.MessageSignature(key))
			var sent string
			fly.Observe = func(e flytest.Exchange) { sent = string(e.RequestBody) }
			if _, err := fly.Provision(t.Context(), c.req); err != nil {
				t.Fatal(err)
			}
			if sent != c.sent {
				t.Errorf("sent %s\nwant %s", sent, c.sent)
			}
			if len(s.provisions) != 1 || !reflect.DeepEqual(s.provisions[0], c.req) {
				t.Errorf("the provider received %+v\nwant %+v", s.provisions, c.req)
			}
		})
	}
}

func TestUpdateArrives(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		req  flyext.UpdateRequest
		sent string
	}{
		{
			name: "whole", req: wholeUpdate,
			sent: `{"name":"a","organization_id":"b","organization_name":"c","organization_email":"d","user_id":"e","user_name":"e2","user_email":"f",` +
				`"user_role":"g","primary_region":"h","read_regions":["i"],"ip_address":"fdaa:0:47fb:0:1::1d","plan":"j"}`,
		},
		{name: "absent", sent: `{}`},
		{
			name: "null",
			req: flyext.UpdateRequest{
				Name: flyext.OptionalNull[string](), ReadRegions: flyext.OptionalNull[[]string](), IPAddress: flyext.OptionalNull[netip.Addr](),
			},
			sent: `{"name":null,"read_regions":null,"ip_address":null}`,
		},
		{
			name: "empty",
			req: flyext.UpdateRequest{
				Name: flyext.OptionalOf(""), ReadRegions: flyext.OptionalOf([]string{}), IPAddress: flyext.OptionalOf(netip.Addr{}),
			},
			sent: `{"name":"","read_regions":[],"ip_address":""}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newService("mine")
			fly := start(t, s, flytest.RFC9421(key), flyext.MessageSignature(key))
			var sent string
			fly.Observe = func(e flytest.Exchange) { sent = string(e.RequestBody) }
			if _, err := fly.Update(t.Context(), "mine", c.req); err != nil {
				t.Fatal(err)
			}
			if sent != c.sent {
				t.Errorf("sent %s\nwant %s", sent, c.sent)
			}
			if len(s.updates) != 1 || !reflect.DeepEqual(s.updates[0], c.req) {
				t.Errorf("the provider received %+v\nwant %+v", s.updates, c.req)
			}
		})
	}
}

func TestUnencodableRequests(t *testing.T) {
	t.Parallel()
	fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.XSignature(secret), Client: unreachable(t)}
	for _, c := range []struct {
		name  string
		extra map[string]json.RawMessage
		text  string
	}{
		{name: "extra member that is a field", extra: map[string]json.RawMessage{"name": json.RawMessage(`"b"`)}},
		{name: "extra member that is not JSON", extra: map[string]json.RawMessage{"plan": json.RawMessage(`{`)}},
		{name: "no UTF-8", text: "\xff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "a", Name: c.text, Extra: c.extra})
			if err == nil || !strings.HasPrefix(err.Error(), "flytest: encoding the request: ") {
				t.Errorf("Provision: %v", err)
			}
			_, err = fly.Update(t.Context(), "a", flyext.UpdateRequest{Name: flyext.OptionalOf(c.text), Extra: c.extra})
			if err == nil || !strings.HasPrefix(err.Error(), "flytest: encoding the request: ") {
				t.Errorf("Update: %v", err)
			}
		})
	}
}

// unreachable returns a client that fails the test if it is used.
func unreachable(t *testing.T) *http.Client {
	return &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		t.Errorf("%s %s was sent", r.Method, r.URL)
		return nil, errors.New("unreachable")
	})}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering returns a client that gets the same answer to every request.
func answering(status int, body string) *http.Client {
	return answersAlike(status, "", []byte(body))
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		want       flyext.Extension
	}{
		{
			name: "generation 1", body: `{"LOGJAM_URL":"https://user:password@test.logjam.org","B":""}`,
			want: flyext.Extension{ID: "mine", Secrets: flyext.Secrets{"LOGJAM_URL": "https://user:password@test.logjam.org", "B": ""}},
		},
		{name: "generation 1 without secrets", body: ` {} `, want: flyext.Extension{ID: "mine", Secrets: flyext.Secrets{}}},
		{
			name: "generation 2",
			body: `{"id":"432cb1c9","config":{"LOGJAM_URL":"\u0061"},"name":"logjam-1bd03ba","fly_app_name":"logjam-production",` +
				`"status":"provisioning","plan":{"members":["unknown","to","flytest"]}}`,
			want: flyext.Extension{
				ID: "432cb1c9", Secrets: flyext.Secrets{"LOGJAM_URL": "a"}, Name: "logjam-1bd03ba",
				FlyAppName: "logjam-production", Status: flyext.Provisioning,
				Extra: map[string]json.RawMessage{"plan": json.RawMessage(`{"members":["unknown","to","flytest"]}`)},
			},
		},
		{
			name: "generation 2 without secrets", body: `{"id":"432cb1c9","config":{},"name":null}`,
			want: flyext.Extension{ID: "432cb1c9", Secrets: flyext.Secrets{}},
		},
		{
			name: "failed", body: `{"id":"432cb1c9","config":{},"status":"error","error_message":"No room in mad."}`,
			want: flyext.Extension{ID: "432cb1c9", Secrets: flyext.Secrets{}, Status: flyext.Failed, Message: "No room in mad."},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.RFC9421(key), Client: answering(http.StatusCreated, c.body)}
			provisioned, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "mine"})
			if err != nil || !reflect.DeepEqual(*provisioned, c.want) {
				t.Errorf("Provision: %+v, %v", provisioned, err)
			}
			updated, err := fly.Update(t.Context(), "mine", flyext.UpdateRequest{})
			if err != nil || !reflect.DeepEqual(*updated, c.want) {
				t.Errorf("Update: %+v, %v", updated, err)
			}
			fetched, err := fly.Fetch(t.Context(), "mine")
			if err != nil || !reflect.DeepEqual(*fetched, c.want) {
				t.Errorf("Fetch: %+v, %v", fetched, err)
			}
		})
	}
}

func TestAnswersWithoutConfig(t *testing.T) {
	t.Parallel()
	fly := &flytest.Platform{
		BaseURL: baseURL, Signer: flytest.RFC9421(key), Client: answering(http.StatusOK, `{"id":"432cb1c9","status":"ready"}`),
	}
	want := flyext.Extension{ID: "432cb1c9", Status: flyext.Ready}
	if x, err := fly.Fetch(t.Context(), "mine"); err != nil || !reflect.DeepEqual(*x, want) {
		t.Errorf("Fetch: %+v, %v", x, err)
	}
	if x, err := fly.Update(t.Context(), "mine", flyext.UpdateRequest{}); err != nil || !reflect.DeepEqual(*x, want) {
		t.Errorf("Update: %+v, %v", x, err)
	}
	// flyctl keeps the secrets of the first answer and never asks for them again.
	if x, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "mine"}); err == nil || !strings.Contains(err.Error(), `no "config"`) {
		t.Errorf("Provision: %+v, %v", x, err)
	}
}

func TestUnusableAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, body, want string }{
		{"number", `{"PORT":5432}`, `the secret "PORT" is a number; flyctl requires a string`},
		{"boolean", `{"TLS":true}`, `the secret "TLS" is a boolean; flyctl requires a string`},
		{"null", `{"URL":null}`, `the secret "URL" is null; flyctl requires a string`},
		{"array", `{"URL":["hunter2"]}`, `the secret "URL" is an array; flyctl requires a string`},
		{"object", `{"URL":{"a":"hunter2"}}`, `the secret "URL" is an object; flyctl requires a string`},
		{"number in the envelope", `{"id":"a","config":{"PORT":5432}}`, `the secret "PORT" is a number; flyctl requires a string`},
		{"config is a text", `{"id":"a","config":"hunter2"}`, `the answer's "config" is not a JSON object`},
		{"config is null", `{"id":"a","config":null}`, `the answer's "config" is not a JSON object`},
		{"no id", `{"config":{}}`, `the answer's "id" is missing or empty`},
		{"empty id", `{"id":"","config":{}}`, `the answer's "id" is missing or empty`},
		{"id is a number", `{"id":7,"config":{}}`, `the answer's "id" is a number, not a string`},
		{"name is an object", `{"id":"a","config":{},"name":{"x":"hunter2"}}`, `the answer's "name" is an object, not a string`},
		{"nothing", ``, `the answer is not a JSON object`},
		{"null alone", `null`, `the answer is not a JSON object`},
		{"text", `"hunter2"`, `the answer is not a JSON object`},
		{"HTML", `<html>`, `the answer is not a JSON object`},
		{"two values", `{} {}`, `the answer is not a JSON object`},
		{"secret twice", `{"URL":"a","URL":"b"}`, `the answer is not a JSON object`},
		{"secret twice in the envelope", `{"id":"a","config":{"URL":"a","URL":"b"}}`, `the answer is not a JSON object`},
		{"no UTF-8", "{\"URL\":\"\xff\"}", `the answer is not a JSON object`},
		{"too large", `{"URL":"` + strings.Repeat("a", 1<<20) + `"}`, `the answer is larger than 1048576 bytes`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.RFC9421(key), Client: answering(http.StatusOK, c.body)}
			_, provisioned := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "mine"})
			_, updated := fly.Update(t.Context(), "mine", flyext.UpdateRequest{})
			_, fetched := fly.Fetch(t.Context(), "mine")
			for i, err := range []error{provisioned, updated, fetched} {
				if err == nil || !strings.HasPrefix(err.Error(), "flytest: "+c.want) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("call %d: %v, want %s", i, err, c.want)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   flyext.Error
		cause  string
	}{
		{
			name: "of flyext", status: http.StatusConflict, body: `{"error":"conflict","message":"The name is taken."}`,
			want: flyext.Error{Status: 409, Code: "conflict", Message: "The name is taken."},
		},
		{
			name: "without a code", status: http.StatusGone, body: `{"message":"Gone for good.","trace":[1]}`,
			want: flyext.Error{Status: 410, Message: "Gone for good."},
		},
		{
			name: "without a message", status: http.StatusUnprocessableEntity, body: `{"error":"invalid"}`,
			want: flyext.Error{Status: 422, Code: "invalid", Message: "Unprocessable Entity"}, cause: `"{\"error\":\"invalid\"}"`,
		},
		{
			name: "HTML", status: http.StatusBadGateway, body: "<html>" + strings.Repeat("a", 500),
			want: flyext.Error{Status: 502, Message: "Bad Gateway"}, cause: `"<html>` + strings.Repeat("a", 194) + `"`,
		},
		{name: "nothing", status: 599, want: flyext.Error{Status: 599, Message: "unknown status"}, cause: `""`},
		{name: "redirect", status: http.StatusFound, want: flyext.Error{Status: 302, Message: "Found"}, cause: `""`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.RFC9421(key), Client: answering(c.status, c.body)}
			_, provisioned := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "mine"})
			_, updated := fly.Update(t.Context(), "mine", flyext.UpdateRequest{})
			_, fetched := fly.Fetch(t.Context(), "mine")
			deprovisioned := fly.Deprovision(t.Context(), "mine")
			for i, err := range []error{provisioned, updated, fetched, deprovisioned} {
				got, ok := errors.AsType[*flyext.Error](err)
				if !ok {
					t.Fatalf("call %d: %v", i, err)
				}
				cause := ""
				if got.Err != nil {
					cause = got.Err.Error()
				}
				if got.Status != c.want.Status || got.Code != c.want.Code || got.Message != c.want.Message || !strings.HasSuffix(cause, c.cause) {
					t.Errorf("call %d: %v, want %v", i, got, &c.want)
				}
			}
		})
	}
}
