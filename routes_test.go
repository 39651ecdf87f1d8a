package flyext_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

// eligibility is the handler of a route that the service adds.
func eligibility(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"generation":%d,"bytes":%d}`, flyext.VerificationOf(r.Context()).Generation, len(body))
}

// A service adds signed routes next to the provider. They share the provider's replay
// store.
func TestSignedRoutesOfTheService(t *testing.T) {
	t.Parallel()
	p := &testProvisioner{}
	provider := newProvider(t, p, nil)
	own := provider.Authenticator().Handler(http.HandlerFunc(eligibility))
	mux := http.NewServeMux()
	mux.Handle("/flyio/", provider)
	mux.Handle("POST /flyio/extensions/eligibility", own)
	mux.Handle("PUT /flyio/organizations/{id}/subscription", own)
	for _, c := range []struct {
		name    string
		request *http.Request
		status  int
	}{
		{"POST", xsigned("POST", "/flyio/extensions/eligibility", `{"organization_id":"o1"}`), 201},
		{"PUT", xsigned("PUT", "/flyio/organizations/o1/subscription", `{"plan":"pro"}`), 201},
		{"unsigned", httptest.NewRequest("PUT", "/flyio/organizations/o1/subscription", strings.NewReader(`{"plan":"pro"}`)), 401},
		{"a route of the provider", xsigned("POST", "/flyio/extensions", minimal), 200},
	} {
		if w := do(mux, c.request); w.Code != c.status {
			t.Errorf("%s: got %d %s, want %d", c.name, w.Code, w.Body, c.status)
		}
	}
	first := xsigned("PUT", "/flyio/organizations/o1/subscription", `{"plan":"pro"}`)
	body, err := io.ReadAll(first.Body)
	if err != nil {
		t.Fatal(err)
	}
	again := func(method string) *http.Request {
		r := httptest.NewRequest(method, "/flyio/organizations/o1/subscription", strings.NewReader(string(body)))
		r.Header = first.Header.Clone()
		return r
	}
	if w := do(mux, again("PUT")); w.Code != 201 {
		t.Errorf("got %d %s, want 201", w.Code, w.Body)
	}
	if w := do(mux, again("PUT")); w.Code != 401 {
		t.Errorf("a replay: got %d %s, want 401", w.Code, w.Body)
	}
	if w := do(provider, again("PUT")); w.Code != 404 {
		t.Errorf("the provider without the route: got %d %s, want 404", w.Code, w.Body)
	}
}

// A lister lists the same extensions for every organization but "lost", for which it
// fails.
type lister struct {
	testProvisioner
	all []*flyext.Extension
}

func (l *lister) List(_ context.Context, organization string) ([]*flyext.Extension, error) {
	l.record("list " + organization)
	if organization == "lost" {
		return nil, errors.New("lost")
	}
	return l.all, nil
}

func TestLister(t *testing.T) {
	t.Parallel()
	two := []*flyext.Extension{
		{ID: "x1", Name: "a", Extra: map[string]json.RawMessage{"plan": json.RawMessage(`"pro"`)}},
		{ID: "x2", Status: flyext.Provisioning},
	}
	for _, c := range []struct {
		name, target string
		all          []*flyext.Extension
		status       int
		body, calls  string
	}{
		{"two extensions", "/flyio/organizations/o1/extensions", two, 200, `[{"id":"x1","name":"a","status":"ready","plan":"pro"},{"id":"x2","status":"provisioning"}]`, "list o1"},
		{"no extensions", "/flyio/organizations/o%2F1/extensions", nil, 200, `[]`, "list o/1"},
		{"without an ID", "/flyio/organizations/o1/extensions", []*flyext.Extension{{}}, 500, "", "list o1"},
		{"nil", "/flyio/organizations/o1/extensions", []*flyext.Extension{nil}, 500, "", "list o1"},
		{"an error", "/flyio/organizations/lost/extensions", nil, 500, "", "list lost"},
		{"no organization", "/flyio/organizations//extensions", nil, 404, "", ""},
		{"two elements", "/flyio/organizations/a/b/extensions", nil, 404, "", ""},
		{"NUL", "/flyio/organizations/a%00b/extensions", nil, 404, "", ""},
	} {
		l := &lister{all: c.all}
		w := do(newProvider(t, l, nil), xsigned("GET", c.target, ""))
		if w.Code != c.status || c.body != "" && w.Body.String() != c.body || strings.Join(l.recorded(), ",") != c.calls {
			t.Errorf("%s: got %d %s, calls %v", c.name, w.Code, w.Body, l.recorded())
		}
	}
	if w := do(newProvider(t, small{&testProvisioner{}}, nil), xsigned("GET", "/flyio/organizations/o1/extensions", "")); w.Code != 501 {
		t.Errorf("without the capability: got %d %s, want 501", w.Code, w.Body)
	}
	if w := do(newProvider(t, &lister{}, nil), httptest.NewRequest("GET", "/flyio/organizations/o1/extensions", nil)); w.Code != 401 {
		t.Errorf("unsigned: got %d %s, want 401", w.Code, w.Body)
	}
}

// Some databases cannot store a NUL character. Requests with NUL in a field of the
// protocol or in an id of the path are refused. Fields that the library does not know
// may have it.
func TestNULCharacters(t *testing.T) {
	t.Parallel()
	texts := []string{"id", "name", "organization_id", "organization_name", "organization_email", "email", "user_id", "user_name", "user_email", "user_role", "primary_region"}
	for _, field := range texts {
		body := `{"id":"x","organization_id":"o"}`
		if field == "id" || field == "organization_id" {
			body = strings.Replace(body, `"`+field+`":"`, `"`+field+`":"a\u0000`, 1)
		} else {
			body = strings.Replace(body, `}`, `,"`+field+`":"a\u0000b"}`, 1)
		}
		for method, target := range map[string]string{"POST": "/flyio/extensions", "PATCH": "/flyio/extensions/x1"} {
			if method == "PATCH" && field == "id" {
				continue // an update has no id
			}
			p := &testProvisioner{}
			w := do(newProvider(t, p, unsigned), httptest.NewRequest(method, target, strings.NewReader(body)))
			if w.Code != 422 || !strings.Contains(w.Body.String(), `\"`+field+`\"`) || len(p.recorded()) != 0 {
				t.Errorf("%s %s: got %d %s", method, field, w.Code, w.Body)
			}
		}
	}
	p := &testProvisioner{}
	regions := `{"id":"x","organization_id":"o","read_regions":["mad","a\u0000"]}`
	if w := do(newProvider(t, p, unsigned), httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(regions))); w.Code != 422 {
		t.Errorf("a region: got %d, want 422", w.Code)
	}
	if w := do(newProvider(t, p, unsigned), httptest.NewRequest("GET", "/flyio/extensions/a%00b", nil)); w.Code != 404 {
		t.Errorf("an id in the path: got %d, want 404", w.Code)
	}
	option := `{"id":"x","organization_id":"o","note":"a\u0000b"}`
	if w := do(newProvider(t, p, unsigned), httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(option))); w.Code != 200 {
		t.Errorf("an option: got %d %s, want 200", w.Code, w.Body)
	}
}

// Truncating an emoji leaves an escaped lone surrogate, which decodes to U+FFFD.
func TestLoneSurrogate(t *testing.T) {
	t.Parallel()
	var got *flyext.ProvisionRequest
	p := &testProvisioner{provision: func(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
		got = r
		return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
	}}
	w := do(newProvider(t, p, nil), xsigned("POST", "/flyio/extensions",
		`{"id":"x","organization_id":"o","organization_name":"Acme \ud83d","email":"\udc00a","note":"b \ud83d"}`))
	if w.Code != 200 {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	if got.OrganizationName != "Acme \ufffd" || got.OrganizationEmail != "\ufffda" || string(got.Extra["note"]) != `"b \ud83d"` {
		t.Errorf("got %+v", got)
	}
	for name, body := range map[string]string{
		"raw bytes":            "{\"id\":\"x\",\"organization_id\":\"o\",\"name\":\"\xed\xa0\xbd\"}",
		"raw bytes and escape": "{\"id\":\"x\",\"organization_id\":\"o\",\"name\":\"\xff\",\"a\":\"\\ud83d\"}",
	} {
		if w := do(newProvider(t, p, unsigned), httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(body))); w.Code != 400 {
			t.Errorf("%s: got %d %s, want 400", name, w.Code, w.Body)
		}
	}
}

// A message with two signatures that lost its X-Signature belongs to generation 1. The
// parameters of X-Signature in its body do not become extras.
func TestStrippedMessageHasNoSigningParametersAsExtras(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		extras     int
	}{
		{"all three", `{"id":"x","organization_id":"o","timestamp":1,"nonce":"n","url":"u","plan":"pro"}`, 1},
		{"an option named url", `{"id":"x","organization_id":"o","url":"https://customer.test","plan":"pro"}`, 2},
	} {
		var got *flyext.ProvisionRequest
		p := &testProvisioner{provision: func(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
			got = r
			return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
		}}
		provider := newProvider(t, p, func(c *flyext.Config) { c.Verifier = admitAll{flyext.Generation1} })
		if w := do(provider, httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(c.body))); w.Code != 200 || len(got.Extra) != c.extras {
			t.Errorf("%s: got %d, extras %s", c.name, w.Code, got.Extra)
		}
	}
}

// The log names the reason for a missing body and the limit that a body exceeds.
func TestBodyFaultsAreNamed(t *testing.T) {
	t.Parallel()
	consumed := httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(minimal))
	_, _ = io.Copy(io.Discard, consumed.Body)
	for _, c := range []struct {
		name    string
		request *http.Request
		around  func(http.Handler) http.Handler
		status  int
		says    string
	}{
		{"a middleware has read the body", consumed, nil, 400, "a middleware has read the body"},
		{"a limit around the handler", xsigned("POST", "/flyio/extensions", `{"id":"`+strings.Repeat("x", 200)+`"}`), func(h http.Handler) http.Handler {
			return http.MaxBytesHandler(h, 100)
		}, 413, "larger than 100 bytes"},
	} {
		log := &logBuffer{}
		var h http.Handler = newProvider(t, &testProvisioner{}, func(c *flyext.Config) { c.Logger = log.logger() })
		if c.around != nil {
			h = c.around(h)
		}
		if w := do(h, c.request); w.Code != c.status || !strings.Contains(log.text(), c.says) {
			t.Errorf("%s: got %d %s, log %s", c.name, w.Code, w.Body, log.text())
		}
	}
}

// Messages keep the joiners that some scripts and emojis need.
func TestMessageKeepsJoiners(t *testing.T) {
	t.Parallel()
	const persian, family = "می\u200cخواهم", "👩\u200d👧"
	p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
		return nil, flyext.NotFound(persian + " " + family + "\u202e")
	}}
	w := do(newProvider(t, p, unsigned), fetchRequest("x1"))
	if got := readAnswer(t, w).Message; got != persian+" "+family+" " {
		t.Errorf("got %q", got)
	}
}
