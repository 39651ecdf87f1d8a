package flyext_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

const (
	testSecret = "a-signing-secret-of-the-tests"
	testBase   = "https://logjam.test/flyio"
)

// testProvisioner records its calls and answers as told.
type testProvisioner struct {
	mu    sync.Mutex
	calls []string

	provision   func(context.Context, *flyext.ProvisionRequest) (*flyext.Extension, error)
	update      func(context.Context, string, *flyext.UpdateRequest) (*flyext.Extension, error)
	fetch       func(context.Context, string) (*flyext.Extension, error)
	deprovision func(context.Context, string) error
}

func (p *testProvisioner) record(call string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call)
}

func (p *testProvisioner) recorded() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

func (p *testProvisioner) Provision(ctx context.Context, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
	p.record("provision " + req.ID)
	if p.provision != nil {
		return p.provision(ctx, req)
	}
	return &flyext.Extension{Secrets: flyext.Secrets{"LOGJAM_URL": "https://user:p&<>@logjam.test"}}, nil
}

func (p *testProvisioner) Update(ctx context.Context, id string, req *flyext.UpdateRequest) (*flyext.Extension, error) {
	p.record("update " + id)
	if p.update != nil {
		return p.update(ctx, id, req)
	}
	return &flyext.Extension{}, nil
}

func (p *testProvisioner) Fetch(ctx context.Context, id string) (*flyext.Extension, error) {
	p.record("fetch " + id)
	if p.fetch != nil {
		return p.fetch(ctx, id)
	}
	return &flyext.Extension{}, nil
}

func (p *testProvisioner) Deprovision(ctx context.Context, id string) error {
	p.record("deprovision " + id)
	if p.deprovision != nil {
		return p.deprovision(ctx, id)
	}
	return nil
}

// small is a Provisioner without any optional capability.
type small struct{ p *testProvisioner }

func (s small) Provision(ctx context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	return s.p.Provision(ctx, r)
}

func (s small) Update(ctx context.Context, id string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
	return s.p.Update(ctx, id, r)
}

func newProvider(t testing.TB, p flyext.Provisioner, change func(*flyext.Config)) *flyext.Provider {
	t.Helper()
	c := flyext.Config{BaseURL: testBase, Verifier: flyext.XSignature(testSecret)}
	if change != nil {
		change(&c)
	}
	provider, err := flyext.New(p, c)
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// admitAll is a Verifier that trusts everybody, for tests of what comes after.
type admitAll struct{ generation flyext.Generation }

func (v admitAll) Verify(context.Context, *flyext.Message) (flyext.Verification, error) {
	return flyext.Verification{Generation: v.generation}, nil
}

func unsigned(c *flyext.Config) { c.Verifier = admitAll{flyext.Generation2} }

var nonces atomic.Int64

// xsigned returns a request that Fly.io could have sent. The members of body,
// a JSON object, come before those of the signature.
func xsigned(method, target, body string) *http.Request {
	nonce, now := strconv.FormatInt(nonces.Add(1), 10), time.Now().Unix()
	full := "https://logjam.test" + strings.TrimPrefix(target, "https://logjam.test")
	signed := url.Values{
		"timestamp": {strconv.FormatInt(now, 10)}, "nonce": {nonce}, "url": {full},
	}.Encode()
	if body == "" {
		target += "?" + signed
	} else {
		separator := ","
		if strings.TrimSpace(body) == "{}" {
			separator = ""
		}
		body = strings.TrimSuffix(strings.TrimSpace(body), "}") +
			fmt.Sprintf(`%s"timestamp":%d,"nonce":%q,"url":%q}`, separator, now, nonce, full)
		signed = body
	}
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "logjam.test"
	h := hmac.New(sha256.New, []byte(testSecret))
	io.WriteString(h, signed)
	r.Header.Set("X-Signature", hex.EncodeToString(h.Sum(nil)))
	return r
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// answer is an error's body.
type answer struct{ Error, Message string }

func readAnswer(t testing.TB, w *httptest.ResponseRecorder) answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || a.Error == "" || a.Message == "" {
		t.Fatalf("body %q is no error of the one shape: %v", w.Body, err)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	return a
}

const minimal = `{"id":"x1","organization_id":"o1"}`

func TestRoutes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, target string
		status               int
		code, allow, call    string
	}{
		{"provision", "POST", "/flyio/extensions", 200, "", "", "provision x1"},
		{"update", "PATCH", "/flyio/extensions/x1", 200, "", "", "update x1"},
		{"fetch", "GET", "/flyio/extensions/x1", 200, "", "", "fetch x1"},
		{"deprovision", "DELETE", "/flyio/extensions/x1", 200, "", "", "deprovision x1"},
		{"an id with an escaped slash stays one element", "GET", "/flyio/extensions/a%2Fb", 200, "", "", "fetch a/b"},
		{"an id with a lower-case escape", "PATCH", "/flyio/extensions/a%2fb", 200, "", "", "update a/b"},
		{"an id with a space and an umlaut", "DELETE", "/flyio/extensions/a%20%C3%BC", 200, "", "", "deprovision a ü"},
		{"an id of dots", "GET", "/flyio/extensions/%2E%2E", 200, "", "", "fetch .."},
		{"an id with a question mark", "GET", "/flyio/extensions/a%3Fb", 200, "", "", "fetch a?b"},
		{"a plus is a plus", "GET", "/flyio/extensions/a+b", 200, "", "", "fetch a+b"},
		{"a target in absolute form", "GET", "https://logjam.test/flyio/extensions/a%2Fb", 200, "", "", "fetch a/b"},
		{"an absolute form without a path", "GET", "https://logjam.test", 404, "route_not_found", "", ""},
		{"wrong method on the collection", "GET", "/flyio/extensions", 405, "method_not_allowed", "POST", ""},
		{"wrong method on an extension", "POST", "/flyio/extensions/x1", 405, "method_not_allowed", "DELETE, GET, PATCH", ""},
		{"HEAD", "HEAD", "/flyio/extensions/x1", 405, "method_not_allowed", "DELETE, GET, PATCH", ""},
		{"a method of one's own", "BREW", "/flyio/extensions/x1", 405, "method_not_allowed", "DELETE, GET, PATCH", ""},
		{"two elements", "GET", "/flyio/extensions/a/b", 404, "route_not_found", "", ""},
		{"no id", "GET", "/flyio/extensions/", 404, "route_not_found", "", ""},
		{"a doubled slash", "POST", "/flyio//extensions", 404, "route_not_found", "", ""},
		{"outside of the base path", "POST", "/extensions", 404, "route_not_found", "", ""},
		{"a longer base path", "POST", "/flyio2/extensions", 404, "route_not_found", "", ""},
		{"the base path", "GET", "/flyio", 404, "route_not_found", "", ""},
		{"an id that is not UTF-8", "GET", "/flyio/extensions/%ff", 404, "route_not_found", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{}
			body := ""
			switch tt.method {
			case "POST":
				body = minimal
			case "PATCH":
				body = "{}"
			}
			w := serve(newProvider(t, p, nil), xsigned(tt.method, tt.target, body))
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if got := w.Header().Get("Allow"); got != tt.allow {
				t.Errorf("Allow %q, want %q", got, tt.allow)
			}
			if tt.code != "" && readAnswer(t, w).Error != tt.code {
				t.Errorf("body %s, want code %s", w.Body, tt.code)
			}
			if w.Header().Get("X-Request-Id") == "" {
				t.Error("no request id")
			}
			if got := strings.Join(p.recorded(), ","); got != tt.call {
				t.Errorf("calls %q, want %q", got, tt.call)
			}
		})
	}
}

func TestBaseURLWithoutPath(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"https://logjam.test", "https://logjam.test/"} {
		p := &testProvisioner{}
		provider := newProvider(t, p, func(c *flyext.Config) { c.BaseURL = base })
		if w := serve(provider, xsigned("POST", "/extensions", minimal)); w.Code != 200 {
			t.Errorf("base URL %s: status %d", base, w.Code)
		}
	}
}

func TestNewFailsClosed(t *testing.T) {
	t.Parallel()
	ok := flyext.XSignature(testSecret)
	tests := []struct {
		name   string
		p      flyext.Provisioner
		config flyext.Config
	}{
		{"no provisioner", nil, flyext.Config{BaseURL: testBase, Verifier: ok}},
		{"no base URL", small{}, flyext.Config{Verifier: ok}},
		{"a base URL that does not parse", small{}, flyext.Config{BaseURL: "https://[", Verifier: ok}},
		{"a base URL without a host", small{}, flyext.Config{BaseURL: "https:///flyio", Verifier: ok}},
		{"a base URL of another scheme", small{}, flyext.Config{BaseURL: "ftp://logjam.test", Verifier: ok}},
		{"a base URL without a scheme", small{}, flyext.Config{BaseURL: "logjam.test/flyio", Verifier: ok}},
		{"a base URL with a query", small{}, flyext.Config{BaseURL: testBase + "?a=b", Verifier: ok}},
		{"a base URL with an empty query", small{}, flyext.Config{BaseURL: testBase + "?", Verifier: ok}},
		{"a base URL with a fragment", small{}, flyext.Config{BaseURL: testBase + "#a", Verifier: ok}},
		{"a base URL with a user", small{}, flyext.Config{BaseURL: "https://u:p@logjam.test", Verifier: ok}},
		{"no verifier", small{}, flyext.Config{BaseURL: testBase}},
		{"a negative timeout", small{}, flyext.Config{BaseURL: testBase, Verifier: ok, Timeout: -1}},
		{"a negative body bound", small{}, flyext.Config{BaseURL: testBase, Verifier: ok, MaxBodyBytes: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if p, err := flyext.New(tt.p, tt.config); err == nil || p != nil {
				t.Errorf("New gave %v, %v", p, err)
			}
		})
	}
}

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
	if w := serve(provider, xsigned("POST", "/flyio/extensions", body)); w.Code != 200 {
		t.Fatal(w.Body)
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
		`{"id":"x","organization_id":"o","organization_email":"a@b"}`:                 "a@b",
		`{"id":"x","organization_id":"o","email":"a@b"}`:                              "a@b",
		`{"id":"x","organization_id":"o","email":"c@d","organization_email":"a@b"}`:   "a@b",
		`{"id":"x","organization_id":"o","organization_email":null,"email":"c@d"}`:    "c@d",
		`{"id":"x","organization_id":"o","organization_email":"","email":"c@d"}`:      "",
		`{"id":"x","organization_id":"o","organization_email":"a@b","email":"c@d"}  `: "a@b",
	} {
		p := &testProvisioner{provision: func(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
			if r.OrganizationEmail != want || len(r.Extra) != 0 {
				t.Errorf("%s: e-mail %q, extra %v", body, r.OrganizationEmail, r.Extra)
			}
			return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
		}}
		if w := serve(newProvider(t, p, unsigned), httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(body))); w.Code != 200 {
			t.Errorf("%s: %s", body, w.Body)
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
		{"null", `{"read_regions":null}`, flyext.Null[[]string]()},
		{"empty", `{"read_regions":[]}`, flyext.Set([]string{})},
		{"set", `{"read_regions":["mad"]}`, flyext.Set([]string{"mad"})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{update: func(_ context.Context, id string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
				if fmt.Sprintf("%#v", r.ReadRegions) != fmt.Sprintf("%#v", tt.want) {
					t.Errorf("got %#v, want %#v", r.ReadRegions, tt.want)
				}
				if r.Name.Present {
					t.Error("name is there")
				}
				if got := slices.Collect(maps.Keys(r.Extra)); !slices.Equal(got, []string{"plan"}) {
					t.Errorf("extra %v", got)
				}
				return &flyext.Extension{}, nil
			}}
			body := strings.TrimSuffix(tt.body, "}")
			if body != "{" {
				body += ","
			}
			if w := serve(newProvider(t, p, nil), xsigned("PATCH", "/flyio/extensions/x1", body+`"plan":"big"}`)); w.Code != 200 {
				t.Error(w.Body)
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
		{"a truncated object", `{"id":"x"`, 400, "malformed_body", "not JSON"},
		{"a truncated string", `{"id":"x`, 400, "malformed_body", "not JSON"},
		{"a trailing comma", `{"id":"x",}`, 400, "malformed_body", "not JSON"},
		{"a second value", minimal + `{}`, 400, "malformed_body", "behind"},
		{"rubbish behind", minimal + ` x`, 400, "malformed_body", "behind"},
		{"invalid UTF-8", with("\"name\":\"\xff\""), 400, "malformed_body", "name"},
		{"an unpaired surrogate", with(`"name":"\ud800"`), 400, "malformed_body", "name"},
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
			w := serve(newProvider(t, p, unsigned), httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(tt.body)))
			a := readAnswer(t, w)
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
	for name, body := range map[string]string{
		"blank name":              `{"id":"x","organization_id":"o","name":""}`,
		"null everywhere":         `{"id":"x","organization_id":"o","name":null,"read_regions":null,"ip_address":null,"email":null}`,
		"empty ip_address":        `{"id":"x","organization_id":"o","ip_address":""}`,
		"white space around":      " \r\n\t{ \"id\" : \"x\" , \"organization_id\":\"o\" }\r\n",
		"signing parameters":      `{"id":"x","organization_id":"o","timestamp":"5","nonce":7,"url":null}`,
		"members nobody knows":    `{"id":"x","organization_id":"o","website":{"a":[1,2,{"b":null}]},"public":false}`,
		"a number that is large":  `{"id":"x","organization_id":"o","big":123456789012345678901234567890}`,
		"an escaped member name":  `{"\u0069d":"x","organization_id":"o"}`,
		"an id with a line break": `{"id":"x\ny","organization_id":"o"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{provision: func(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
				for _, parameter := range []string{"timestamp", "nonce", "url"} {
					if _, ok := r.Extra[parameter]; ok {
						t.Errorf("%s, of the signature, is among the extras", parameter)
					}
				}
				return &flyext.Extension{Secrets: flyext.Secrets{}}, nil
			}}
			if w := serve(newProvider(t, p, unsigned), httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(body))); w.Code != 200 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if len(p.recorded()) != 1 {
				t.Error("the Provisioner was not called")
			}
		})
	}
}

func TestBodyBound(t *testing.T) {
	t.Parallel()
	padded := func(n int) string {
		body := `{"id":"x","organization_id":"o","pad":"`
		return body + strings.Repeat("a", n-len(body)-2) + `"}`
	}
	tests := []struct {
		name    string
		size    int
		length  bool // is Content-Length known
		status  int
		maximum int64
	}{
		{"as large as is allowed", 1 << 20, true, 200, 0},
		{"one byte more", 1<<20 + 1, true, 413, 0},
		{"one byte more, length unknown", 1<<20 + 1, false, 413, 0},
		{"configured", 100, true, 200, 100},
		{"configured, one byte more", 101, true, 413, 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{}
			r := httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(padded(tt.size)))
			if !tt.length {
				r.ContentLength = -1
			}
			w := serve(newProvider(t, p, func(c *flyext.Config) { unsigned(c); c.MaxBodyBytes = tt.maximum }), r)
			if w.Code != tt.status {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			if tt.status == 413 && readAnswer(t, w).Error != "body_too_large" {
				t.Error(w.Body)
			}
			if tt.status != 200 && len(p.recorded()) != 0 {
				t.Error("the Provisioner was called")
			}
		})
	}
}

// unreadable is a body that must not be read.
type unreadable struct{ t *testing.T }

func (b unreadable) Read([]byte) (int, error) {
	b.t.Error("the body was read")
	return 0, io.EOF
}

func TestAnnouncedBodyIsRefusedUnread(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("POST", "/flyio/extensions", unreadable{t})
	r.ContentLength = 1<<20 + 1
	if w := serve(newProvider(t, &testProvisioner{}, unsigned), r); w.Code != 413 {
		t.Error(w.Code, w.Body)
	}
}

// TestBodiesOnTheWire sends what net/http's client would not.
func TestBodiesOnTheWire(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, wire string
		status     string
		calls      int
	}{
		{"chunked", "Transfer-Encoding: chunked\r\n\r\n10\r\n" + minimal[:16] + "\r\n12\r\n" + minimal[16:] + "\r\n0\r\n\r\n", "200", 1},
		{"chunked and cut off", "Transfer-Encoding: chunked\r\n\r\n10\r\n" + minimal[:16] + "\r\n", "400", 0},
		{"shorter than its Content-Length", "Content-Length: 100\r\n\r\n" + minimal, "400", 0},
		{"longer than its Content-Length", "Content-Length: 33\r\nConnection: close\r\n\r\n" + minimal, "400", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{}
			srv := httptest.NewServer(newProvider(t, p, unsigned))
			defer srv.Close()
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "POST /flyio/extensions HTTP/1.1\r\nHost: logjam.test\r\n"+tt.wire)
			conn.(*net.TCPConn).CloseWrite()
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.Contains(line, " "+tt.status+" ") {
				t.Errorf("got %q, %v; want status %s", line, err, tt.status)
			}
			if got := len(p.recorded()); got != tt.calls {
				t.Errorf("%d calls", got)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	secrets := flyext.Secrets{"LOGJAM_URL": "https://user:p&<>@logjam.test", "A_KEY": "ü"}
	tests := []struct {
		name, method string
		generation   flyext.Generation
		extension    flyext.Extension
		want         string
	}{
		{"generation 1, provision", "POST", 1, flyext.Extension{ID: "mine", Secrets: secrets},
			`{"A_KEY":"ü","LOGJAM_URL":"https://user:p&<>@logjam.test"}`},
		{"generation 1, update", "PATCH", 1, flyext.Extension{Secrets: secrets},
			`{"A_KEY":"ü","LOGJAM_URL":"https://user:p&<>@logjam.test"}`},
		{"generation 1, update without secrets", "PATCH", 1, flyext.Extension{}, `{}`},
		{"generation 1, fetch", "GET", 1, flyext.Extension{Name: "n"}, `{"id":"x1","name":"n","status":"ready"}`},
		{"generation 1, deprovision", "DELETE", 1, flyext.Extension{}, `{}`},
		{"generation 2, provision", "POST", 2, flyext.Extension{Secrets: flyext.Secrets{"A": "b"}}, `{"id":"x1","config":{"A":"b"}}`},
		{"generation 2, provision, none", "POST", 2, flyext.Extension{Secrets: flyext.Secrets{}}, `{"id":"x1","config":{}}`},
		{"generation 2, provision, everything", "POST", 2,
			flyext.Extension{ID: "mine", Name: "n", Secrets: flyext.Secrets{"A": "b"}, FlyAppName: "app", Status: flyext.Provisioning},
			`{"id":"mine","config":{"A":"b"},"name":"n","fly_app_name":"app","status":"provisioning"}`},
		{"generation 2, update without secrets", "PATCH", 2, flyext.Extension{}, `{"id":"x1","config":{}}`},
		{"generation 2, fetch without secrets", "GET", 2, flyext.Extension{}, `{"id":"x1","status":"ready"}`},
		{"generation 2, fetch with secrets", "GET", 2, flyext.Extension{Secrets: flyext.Secrets{"A": "b"}, Status: "queued"},
			`{"id":"x1","config":{"A":"b"},"status":"queued"}`},
		{"generation 2, fetch of a failure", "GET", 2, flyext.Extension{Status: flyext.Failed, Message: "No room\x1b[2J\nin mad."},
			`{"id":"x1","status":"error","error_message":"No room [2J in mad."}`},
		{"generation 2, a message without a failure", "GET", 2, flyext.Extension{Message: "internal"}, `{"id":"x1","status":"ready"}`},
		{"generation 2, deprovision", "DELETE", 2, flyext.Extension{}, `{}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{
				provision: func(context.Context, *flyext.ProvisionRequest) (*flyext.Extension, error) { return &tt.extension, nil },
				update: func(context.Context, string, *flyext.UpdateRequest) (*flyext.Extension, error) {
					return &tt.extension, nil
				},
				fetch: func(context.Context, string) (*flyext.Extension, error) { return &tt.extension, nil },
			}
			target, body := "/flyio/extensions/x1", ""
			switch tt.method {
			case "POST":
				target, body = "/flyio/extensions", minimal
			case "PATCH":
				body = "{}"
			}
			w := serve(newProvider(t, p, func(c *flyext.Config) { c.Verifier = admitAll{tt.generation} }),
				httptest.NewRequest(tt.method, target, strings.NewReader(body)))
			if w.Code != 200 || w.Body.String() != tt.want {
				t.Errorf("got  %d %s\nwant 200 %s", w.Code, w.Body, tt.want)
			}
			if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", w.Header())
			}
		})
	}
}

func TestExtensionsThatAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		x    *flyext.Extension
		log  string // what the log says; the caller is told nothing
	}{
		{"neither extension nor error", nil, "neither"},
		{"forgotten secrets", &flyext.Extension{}, "nil Secrets"},
		{"a name with a dash", &flyext.Extension{Secrets: flyext.Secrets{"LOG-JAM": "canary"}}, `\"LOG-JAM\"`},
		{"a name that begins with a digit", &flyext.Extension{Secrets: flyext.Secrets{"1A": "canary"}}, `\"1A\"`},
		{"an empty name", &flyext.Extension{Secrets: flyext.Secrets{"": "canary"}}, `\"\"`},
		{"a name with an equals sign", &flyext.Extension{Secrets: flyext.Secrets{"A=B": "canary"}}, `\"A=B\"`},
		{"a name with an umlaut", &flyext.Extension{Secrets: flyext.Secrets{"Ü": "canary"}}, `\"Ü\"`},
		{"a value with NUL", &flyext.Extension{Secrets: flyext.Secrets{"A": "canary\x00"}}, "secret A"},
		{"a value that is not UTF-8", &flyext.Extension{Secrets: flyext.Secrets{"A": "canary\xff"}}, "secret A"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{provision: func(context.Context, *flyext.ProvisionRequest) (*flyext.Extension, error) {
				return tt.x, nil
			}}
			log := &logBuffer{}
			w := serve(newProvider(t, p, func(c *flyext.Config) { c.Logger = log.logger() }), xsigned("POST", "/flyio/extensions", minimal))
			if got := (answer{"internal", "Internal Server Error"}); w.Code != 500 || readAnswer(t, w) != got {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if text := log.text(); !strings.Contains(text, tt.log) || strings.Contains(text, "canary") {
				t.Errorf("log: %s", text)
			}
		})
	}
}

func TestErrorsOfTheProvisioner(t *testing.T) {
	t.Parallel()
	const hidden = "pq: password=canary"
	tests := []struct {
		name   string
		err    error
		status int
		want   answer
	}{
		{"not found", flyext.NotFound("No such stream."), 404, answer{"not_found", "No such stream."}},
		{"conflict", flyext.Conflict("Taken."), 409, answer{"conflict", "Taken."}},
		{"gone", flyext.Gone("It is gone."), 410, answer{"gone", "It is gone."}},
		{"invalid", flyext.Invalid("No such plan."), 422, answer{"invalid", "No such plan."}},
		{"unsupported", flyext.Unsupported("Not here."), 501, answer{"unsupported", "Not here."}},
		{"any status and code", &flyext.Error{Status: 402, Code: "card_declined", Message: "Your card was declined."}, 402, answer{"card_declined", "Your card was declined."}},
		{"wrapped", fmt.Errorf("in the store: %w", fmt.Errorf("deeper: %w", flyext.Conflict("Taken."))), 409, answer{"conflict", "Taken."}},
		{"joined", errors.Join(errors.New(hidden), flyext.Gone("It is gone.")), 410, answer{"gone", "It is gone."}},
		{"its cause is not sent", &flyext.Error{Status: 409, Code: "conflict", Message: "Taken.", Err: errors.New(hidden)}, 409, answer{"conflict", "Taken."}},
		{"an error of another kind", errors.New(hidden), 500, answer{"internal", "Internal Server Error"}},
		{"a status that is no error", &flyext.Error{Status: 200, Code: "fine", Message: hidden}, 500, answer{"internal", "Internal Server Error"}},
		{"a status that is none", &flyext.Error{Code: "odd", Message: hidden}, 500, answer{"internal", "Internal Server Error"}},
		{"a status beyond the errors", &flyext.Error{Status: 600, Code: "odd", Message: hidden}, 500, answer{"internal", "Internal Server Error"}},
		{"a message that fills the screen", flyext.Invalid(strings.Repeat("ü", 501)), 422, answer{"invalid", strings.Repeat("ü", 500)}},
		{"no message", &flyext.Error{Status: 418, Code: "teapot"}, 418, answer{"teapot", "I'm a teapot"}},
		{"a message that moves the cursor", flyext.Invalid("a\x1b[31mb\r\nc\u009bd"), 422, answer{"invalid", "a [31mb  c d"}},
		{"a deadline", fmt.Errorf("select: %w", context.DeadlineExceeded), 504, answer{"timeout", "The provider did not answer in time. Try again."}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) { return nil, tt.err }}
			log := &logBuffer{}
			w := serve(newProvider(t, p, func(c *flyext.Config) { c.Logger = log.logger() }), xsigned("GET", "/flyio/extensions/x1", ""))
			if w.Code != tt.status || readAnswer(t, w) != tt.want {
				t.Errorf("got %d %s, want %d %+v", w.Code, w.Body, tt.status, tt.want)
			}
			if strings.Contains(w.Body.String(), "canary") {
				t.Error("an internal error's text was sent")
			}
			if strings.Contains(fmt.Sprint(tt.err), "canary") != strings.Contains(log.text(), "canary") {
				t.Errorf("the log does not say why: %s", log.text())
			}
		})
	}
}

func TestMissingCapabilities(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "DELETE"} {
		provider := newProvider(t, small{&testProvisioner{}}, nil)
		if w := serve(provider, xsigned(method, "/flyio/extensions/x1", "")); w.Code != 501 || readAnswer(t, w).Error != "unsupported" {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
		// A stranger is not told what the provider can do.
		if w := serve(provider, httptest.NewRequest(method, "/flyio/extensions/x1", nil)); w.Code != 401 {
			t.Errorf("%s, unsigned: %d %s", method, w.Code, w.Body)
		}
	}
}
