package console_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// seen is a provider that records the requests, without the parameters of the
// signature.
func seen(method string, body *map[string]any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == method {
			text, _ := io.ReadAll(r.Body)
			_ = json.Unmarshal(text, body)
			for _, name := range []string{"timestamp", "nonce", "url"} {
				delete(*body, name)
			}
		}
		answering(200, `{"id":"x","config":{}}`).ServeHTTP(w, r)
	})
}

func TestProvisionSends(t *testing.T) {
	t.Parallel()
	collider := map[string]any{
		"id": "ext1", "name": "", "organization_id": "g1lx9my4pzemqwk7", "organization_name": "Collider",
		"organization_email": "g1lx9my4pzemqwk7@customer.fly.io", "user_id": "k9d01lp82rky6vo2",
		"user_email": "k9d01lp82rky6vo2@customer.fly.io", "user_role": "admin",
	}
	with := func(members map[string]any) map[string]any {
		all := make(map[string]any)
		for _, from := range []map[string]any{collider, members} {
			for name, value := range from {
				all[name] = value
			}
		}
		return all
	}
	for _, test := range []struct {
		name string
		form url.Values
		want map[string]any
	}{
		{"a customer", url.Values{"id": {"ext1"}, "customer": {nathan}}, collider},
		{"everything", url.Values{
			"id": {" ext1 "}, "name": {"collider-prod"}, "customer": {nathan}, "primary_region": {"mad"}, "read_regions": {"fra, syd  ams"},
			"ip_address": {"fdaa:0:1::3"}, "extra": {`{"plan": "scaler", "website": {"public": true}, "n": 12345678901234567890}`},
		}, with(map[string]any{
			"name": "collider-prod", "primary_region": "mad", "read_regions": []any{"fra", "syd", "ams"}, "ip_address": "fdaa:0:1::3",
			"plan": "scaler", "website": map[string]any{"public": true}, "n": 12345678901234567890.0,
		})},
		{"other values than the customer's", url.Values{"id": {"ext1"}, "customer": {nathan}, "organization_id": {"other"}, "user_role": {"auditor"}},
			with(map[string]any{"organization_id": "other", "user_role": "auditor"})},
		{"no customer", url.Values{"id": {"ext1"}}, map[string]any{"id": "ext1", "name": "", "organization_id": ""}},
		{"a member of a wrong type", url.Values{"id": {"ext1"}, "extra": {`{"user_id": 5}`}}, map[string]any{"id": "ext1", "name": "", "organization_id": "", "user_id": 5.0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := make(map[string]any)
			w := newWorld(t, seen(http.MethodPost, &got))
			w.post("/extensions", test.form)
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %v\nwant %v", got, test.want)
			}
		})
	}
}

// Absent, empty and null differ.
func TestUpdateSends(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		form url.Values
		want map[string]any
	}{
		{"nothing", nil, map[string]any{}},
		{"filled-in fields", url.Values{"name": {"new"}, "primary_region": {""}, "mode_primary_region": {""}}, map[string]any{"name": "new"}},
		{"even if empty", url.Values{"mode_name": {"set"}, "mode_read_regions": {"set"}, "mode_ip_address": {"set"}},
			map[string]any{"name": "", "read_regions": []any{}, "ip_address": ""}},
		{"as null", url.Values{"name": {"ignored"}, "mode_name": {"null"}, "mode_read_regions": {"null"}, "mode_ip_address": {"null"}},
			map[string]any{"name": nil, "read_regions": nil, "ip_address": nil}},
		{"lists and more", url.Values{"read_regions": {"fra syd"}, "ip_address": {"fdaa::3"}, "user_role": {"member"}, "organization_id": {"other"}, "extra": {`{"plan":null}`}},
			map[string]any{"read_regions": []any{"fra", "syd"}, "ip_address": "fdaa::3", "user_role": "member", "organization_id": "other", "plan": nil}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := make(map[string]any)
			w := newWorld(t, seen(http.MethodPatch, &got))
			w.post(w.provision("ext1")+"/update", test.form)
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %v\nwant %v", got, test.want)
			}
		})
	}
}

// A form with faults comes back as it was filled in.
func TestFormErrors(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 501)
	for _, test := range []struct {
		name   string
		form   url.Values
		update bool // also of an update
		want   []string
	}{
		{"no id", url.Values{"name": {"kept"}, "id": {" "}}, false, []string{`value="kept"`, "Enter an id: each extension needs one."}},
		{"no address", url.Values{"id": {"a"}, "ip_address": {"localhost"}}, true, []string{`value="localhost"`, "It is not an IP address", `ip_address-error" aria-invalid="true"`}},
		{"address with a zone", url.Values{"id": {"a"}, "ip_address": {"fe80::1%eth0"}}, true, []string{"It is not an IP address"}},
		{"no JSON", url.Values{"id": {"a"}, "extra": {`{"a": </textarea>`}}, true, []string{"It is not JSON: ", `{&#34;a&#34;: &lt;/textarea&gt;`}},
		{"no object", url.Values{"id": {"a"}, "extra": {`[1]`}}, true, []string{"It is JSON, but not an object"}},
		{"null", url.Values{"id": {"a"}, "extra": {`null`}}, true, []string{"It is JSON, but not an object"}},
		{"a member twice", url.Values{"id": {"a"}, "name": {"n"}, "extra": {`{"name":"m"}`}}, true, []string{"&#34;name&#34; has a field of its own"}},
		{"a removed customer", url.Values{"id": {"a"}, "customer": {"user=gone"}}, false, []string{"The chosen customer was removed."}},
		{"too long", url.Values{"id": {"a"}, "name": {long}}, true, []string{"It is longer than 500 characters."}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, newLogjam().handler(t, providerBase, ""))
			paths := []string{"/extensions"}
			if test.update {
				paths = append(paths, w.provision("ext1")+"/update")
			}
			for _, path := range paths {
				rec := w.do(formRequest(path, test.form))
				if rec.Code != http.StatusUnprocessableEntity {
					t.Errorf("%s: got %d", path, rec.Code)
				}
				w.wantAll(rec.Body.String(), append(test.want, "The request was not sent", `role="alert"`)...)
			}
		})
	}
}
