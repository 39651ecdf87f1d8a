package flyext_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

func TestProvisionRequestReachesTheProvisioner(t *testing.T) {
	t.Parallel()
	var got *flyext.ProvisionRequest
	p := &testProvisioner{provision: func(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
		got = r
		return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
	}}
	provider := newProvider(t, p, nil)
	body := `{
		"name": "collider-prod", "id": "30bqn49y2jh", "organization_id": "M03FclA4m",
		"organization_name": "Überflieger \u2708 GmbH", "organization_email": "n1l330mao@customer.fly.io",
		"user_id": "NeBO2G0l0yJ6", "user_email": "u@customer.fly.io", "user_role": "admin",
		"primary_region": "mad", "read_regions": ["mad", "ord"], "ip_address": "fdaa:0:47fb:0:1::1d",
		"website": {"domain_name": "a.b", "n": 1.50}, "public": true}`
	if w := do(provider, xsigned("POST", "/flyio/extensions", body)); w.Code != 200 {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	want := flyext.ProvisionRequest{
		ID: "30bqn49y2jh", Name: "collider-prod", OrganizationID: "M03FclA4m",
		OrganizationName: "Überflieger ✈ GmbH", OrganizationEmail: "n1l330mao@customer.fly.io",
		UserID: "NeBO2G0l0yJ6", UserEmail: "u@customer.fly.io", UserRole: "admin",
		PrimaryRegion: "mad", ReadRegions: []string{"mad", "ord"},
		IPAddress: netip.MustParseAddr("fdaa:0:47fb:0:1::1d"),
		Extra: map[string]json.RawMessage{
			"website": json.RawMessage(`{"domain_name": "a.b", "n": 1.50}`), "public": json.RawMessage("true"),
		},
	}
	if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", *got, want)
	}
}

func TestOrganizationEmailInBothSpellings(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"id":"x","organization_id":"o","organization_email":"a@b"}`:              "a@b",
		`{"id":"x","organization_id":"o","email":"a@b"}`:                           "a@b",
		`{"id":"x","organization_id":"o","organization_email":null,"email":"c@d"}`: "c@d",
		// With both spellings, email is an extra.
		`{"id":"x","organization_id":"o","email":"c@d","organization_email":"a@b"}`: "a@b, extra \"c@d\"",
		`{"id":"x","organization_id":"o","organization_email":"","email":"c@d"}`:    ", extra \"c@d\"",
	} {
		p := &testProvisioner{provision: func(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
			got := r.OrganizationEmail
			if extra, ok := r.Extra["email"]; ok {
				got += ", extra " + string(extra)
			}
			if got != want {
				t.Errorf("%s: got %s, want %s", body, got, want)
			}
			return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
		}}
		if w := do(newProvider(t, p, unsigned), httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(body))); w.Code != 200 {
			t.Errorf("%s: got %d %s, want 200", body, w.Code, w.Body)
		}
	}
}

func TestUpdateRequestReachesTheProvisioner(t *testing.T) {
	t.Parallel()
	var got *flyext.UpdateRequest
	p := &testProvisioner{update: func(_ context.Context, _ string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
		got = r
		return &flyext.Extension{}, nil
	}}
	body := `{"plan": "big", "ip_address": "fdaa::3", "read_regions": ["ord"], "primary_region": "mad", "user_role": "member",
		"user_email": "u@fly.io", "user_id": "u1", "organization_email": "o@fly.io", "organization_name": "Org", "organization_id": "o1", "name": "n1"}`
	if w := do(newProvider(t, p, nil), xsigned("PATCH", "/flyio/extensions/x1", body)); w.Code != 200 {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	want := &flyext.UpdateRequest{
		Name: flyext.OptionalOf("n1"), OrganizationID: flyext.OptionalOf("o1"), OrganizationName: flyext.OptionalOf("Org"),
		OrganizationEmail: flyext.OptionalOf("o@fly.io"), UserID: flyext.OptionalOf("u1"), UserEmail: flyext.OptionalOf("u@fly.io"),
		UserRole: flyext.OptionalOf("member"), PrimaryRegion: flyext.OptionalOf("mad"), ReadRegions: flyext.OptionalOf([]string{"ord"}),
		IPAddress: flyext.OptionalOf(netip.MustParseAddr("fdaa::3")), Extra: map[string]json.RawMessage{"plan": json.RawMessage(`"big"`)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestUpdatesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"name":5}`, `{"organization_id":[]}`, `{"read_regions":"mad"}`, `{"ip_address":"x"}`, `{"read_regions":["mad",null]}`,
		`{"read_regions":["a\u0000"]}`, `{"ip_address":"fdaa::1%eth0"}`, `{"email":true}`,
	} {
		p := &testProvisioner{}
		w := do(newProvider(t, p, nil), xsigned("PATCH", "/flyio/extensions/x1", body))
		if a := readAnswer(t, w); w.Code != 422 || a.Error != "invalid_field" || len(p.recorded()) != 0 {
			t.Errorf("%s: got %d %+v and the calls %v, want 422 invalid_field and no call", body, w.Code, a, p.recorded())
		}
	}
}

func TestUpdateTellsAbsentNullEmptyAndSetApart(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		want       flyext.Optional[[]string]
	}{
		{"absent", `{}`, flyext.Optional[[]string]{}},
		{"null", `{"read_regions":null}`, flyext.OptionalNull[[]string]()},
		{"empty", `{"read_regions":[]}`, flyext.OptionalOf([]string{})},
		{"set", `{"read_regions":["mad"]}`, flyext.OptionalOf([]string{"mad"})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{update: func(_ context.Context, id string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
				if fmt.Sprintf("%#v", r.ReadRegions) != fmt.Sprintf("%#v", tt.want) {
					t.Errorf("got %#v, want %#v", r.ReadRegions, tt.want)
				}
				if r.Name.Present {
					t.Error("Name is present, although the body has no name")
				}
				if got := slices.Collect(maps.Keys(r.Extra)); !slices.Equal(got, []string{"plan"}) {
					t.Errorf("the extras are %v, want only plan", got)
				}
				return &flyext.Extension{}, nil
			}}
			body := strings.TrimSuffix(tt.body, "}")
			if body != "{" {
				body += ","
			}
			if w := do(newProvider(t, p, nil), xsigned("PATCH", "/flyio/extensions/x1", body+`"plan":"big"}`)); w.Code != 200 {
				t.Errorf("got %d %s, want 200", w.Code, w.Body)
			}
			if len(p.recorded()) != 1 {
				t.Error("Update was not called")
			}
		})
	}
}

func TestBodiesThatAreRefused(t *testing.T) {
	t.Parallel()
	with := func(member string) string { return `{"id":"x","organization_id":"o",` + member + `}` }
	tests := []struct {
		name, body string
		status     int
		code, says string
	}{
		{"no body", ``, 400, "malformed_body", "empty"},
		{"white space", ` `, 400, "malformed_body", "JSON"},
		{"no JSON", `hello`, 400, "malformed_body", "not JSON"},
		{"an array", `[]`, 400, "malformed_body", "not an object"},
		{"null", `null`, 400, "malformed_body", "not an object"},
		{"a malformed array", `[{"a":1,"a":2}]`, 400, "malformed_body", "not JSON"},
		{"a truncated object", `{"id":"x"`, 400, "malformed_body", "not JSON"},
		{"a truncated string", `{"id":"x`, 400, "malformed_body", "not JSON"},
		{"a trailing comma", `{"id":"x",}`, 400, "malformed_body", "not JSON"},
		{"a second value", minimal + `{}`, 400, "malformed_body", "after"},
		{"garbage after the object", minimal + ` x`, 400, "malformed_body", "after"},
		{"invalid UTF-8", with("\"name\":\"\xff\""), 400, "malformed_body", "name"},
		{"a duplicate member in a member", with(`"env":{"canary":1,"canary":2}`), 400, "malformed_body", "env"},
		{"a value without quotes", with(`"name":canary`), 400, "malformed_body", "name"},
		{"a word", `canary`, 400, "malformed_body", "not JSON"},
		{"a duplicate member", with(`"name":"a","name":"b"`), 400, "malformed_body", "name"},
		{"a duplicate id", with(`"id":"y"`), 400, "malformed_body", "id"},
		{"a duplicate member deep inside", with(`"website":{"a":1,"a":2}`), 400, "malformed_body", "website"},
		{"a duplicate member, escaped", with(`"n\u0061me":"a","name":"b"`), 400, "malformed_body", "name"},
		{"missing id", `{"organization_id":"o"}`, 422, "invalid_field", `"id"`},
		{"empty id", `{"id":"","organization_id":"o"}`, 422, "invalid_field", `"id"`},
		{"null id", `{"id":null,"organization_id":"o"}`, 422, "invalid_field", `"id"`},
		{"numeric id", `{"id":5,"organization_id":"o"}`, 422, "invalid_field", `"id"`},
		{"an id of other case is another member", `{"ID":"x","organization_id":"o"}`, 422, "invalid_field", `"id"`},
		{"missing organization_id", `{"id":"x"}`, 422, "invalid_field", `"organization_id"`},
		{"empty organization_id", `{"id":"x","organization_id":""}`, 422, "invalid_field", `"organization_id"`},
		{"name of another type", with(`"name":{}`), 422, "invalid_field", `"name"`},
		{"read_regions of another type", with(`"read_regions":"mad"`), 422, "invalid_field", `"read_regions"`},
		{"read_regions as an object", with(`"read_regions":{"a":"mad"}`), 422, "invalid_field", `"read_regions"`},
		{"read_regions as a number", with(`"read_regions":12`), 422, "invalid_field", `"read_regions"`},
		{"two mistakes", `{"organization_id":"","id":5,"name":5}`, 422, "invalid_field", `"id"`},
		{"read_regions with a null", with(`"read_regions":["mad",null]`), 422, "invalid_field", `"read_regions"`},
		{"ip_address with a zone", with(`"ip_address":"fdaa::1%eth0"`), 422, "invalid_field", `"ip_address"`},
		{"read_regions of numbers", with(`"read_regions":[1]`), 422, "invalid_field", `"read_regions"`},
		{"email of another type", with(`"email":true`), 422, "invalid_field", `"email"`},
		{"ip_address of another type", with(`"ip_address":6`), 422, "invalid_field", `"ip_address"`},
		{"unparsable ip_address", with(`"ip_address":"fdaa::1::"`), 422, "invalid_field", `"ip_address"`},
		{"user_role of another type", with(`"user_role":[]`), 422, "invalid_field", `"user_role"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{}
			log := &logBuffer{}
			w := do(newProvider(t, p, func(c *flyext.Config) { unsigned(c); c.Logger = log.logger() }),
				httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(tt.body)))
			a := readAnswer(t, w)
			if strings.Contains(log.text(), "canary") {
				t.Errorf("the log has a part of the payload: %s", log.text())
			}
			if w.Code != tt.status || a.Error != tt.code || !strings.Contains(a.Message, tt.says) {
				t.Errorf("got %d %+v, want %d %s with %q", w.Code, a, tt.status, tt.code, tt.says)
			}
			if calls := p.recorded(); len(calls) != 0 {
				t.Errorf("the Provisioner was called: %v", calls)
			}
		})
	}
}

func TestBodiesThatAreAccepted(t *testing.T) {
	t.Parallel()
	// Fields of the protocol and parameters of the signature are not extras.
	known := []string{"id", "organization_id", "name", "read_regions", "ip_address", "email", "timestamp", "nonce", "url"}
	for name, body := range map[string]string{
		"blank name":              `{"id":"x","organization_id":"o","name":""}`,
		"null everywhere":         `{"id":"x","organization_id":"o","name":null,"read_regions":null,"ip_address":null,"email":null}`,
		"empty ip_address":        `{"id":"x","organization_id":"o","ip_address":""}`,
		"white space around":      " \r\n\t{ \"id\" : \"x\" , \"organization_id\":\"o\" }\r\n",
		"signing parameters":      `{"id":"x","organization_id":"o","timestamp":"5","nonce":7,"url":null}`,
		"a value of one byte":     `{"id":"x","organization_id":"o","other":1}`,
		"unknown members":         `{"id":"x","organization_id":"o","website":{"a":[1,2,{"b":null}]},"public":false}`,
		"a number that is large":  `{"id":"x","organization_id":"o","big":123456789012345678901234567890}`,
		"an escaped member name":  `{"\u0069d":"x","organization_id":"o"}`,
		"an id with a line break": `{"id":"x\ny","organization_id":"o"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{provision: func(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
				var extras map[string]json.RawMessage
				if err := json.Unmarshal([]byte(body), &extras); err != nil {
					t.Error(err)
				}
				maps.DeleteFunc(extras, func(name string, _ json.RawMessage) bool { return slices.Contains(known, name) })
				if len(extras) == 0 {
					extras = nil
				}
				if !reflect.DeepEqual(r.Extra, extras) {
					t.Errorf("the extras are %q, want %q", r.Extra, extras)
				}
				return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
			}}
			if w := do(newProvider(t, p, unsigned), httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(body))); w.Code != 200 {
				t.Errorf("got %d %s, want 200", w.Code, w.Body)
			}
			if len(p.recorded()) != 1 {
				t.Error("the Provisioner was not called")
			}
		})
	}
}

// In generation 1, nonce and url are not parameters of a signature, so they are extras.
func TestExtrasOfGeneration1(t *testing.T) {
	t.Parallel()
	for generation, want := range map[flyext.Generation]string{
		flyext.Generation1: `{"nonce":1,"url":"https://customer.example"}`, flyext.Generation2: `{}`,
	} {
		p := &testProvisioner{provision: func(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
			got, err := json.Marshal(r.Extra)
			if r.Extra == nil {
				got = []byte("{}")
			}
			if err != nil || string(got) != want {
				t.Errorf("generation %d: the extras are %s, want %s; error %v", generation, got, want, err)
			}
			return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
		}}
		body := `{"id":"x","organization_id":"o","nonce":1,"url":"https://customer.example"}`
		provider := newProvider(t, p, func(c *flyext.Config) { c.Verifier = admitAll{generation} })
		if w := do(provider, httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(body))); w.Code != 200 {
			t.Errorf("got %d %s, want 200", w.Code, w.Body)
		}
	}
}

// A provider that appends to one extra must not change the next one.
func TestExtrasAreApart(t *testing.T) {
	t.Parallel()
	p := &testProvisioner{provision: func(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
		_ = append(r.Extra["a"], strings.Repeat("x", 20)...)
		if got := string(r.Extra["b"]); got != "[2]" {
			t.Errorf("got %s", got)
		}
		return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
	}}
	body := `{"a":1,"b":[2],"id":"x","organization_id":"o"}`
	if w := do(newProvider(t, p, unsigned), httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(body))); w.Code != 200 {
		t.Errorf("got %d %s, want 200", w.Code, w.Body)
	}
}
