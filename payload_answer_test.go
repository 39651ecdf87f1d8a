package flyext_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

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
		{"generation 2, provision, no secrets", "POST", 2, flyext.Extension{Secrets: flyext.Secrets{}}, `{"id":"x1","config":{}}`},
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
			w := do(newProvider(t, p, func(c *flyext.Config) { c.Verifier = admitAll{tt.generation} }),
				httptest.NewRequest(tt.method, target, strings.NewReader(body)))
			if w.Code != 200 || w.Body.String() != tt.want {
				t.Errorf("got  %d %s\nwant 200 %s", w.Code, w.Body, tt.want)
			}
			if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("Content-Type or Cache-Control is wrong: %v", w.Header())
			}
		})
	}
}

func TestExtensionsThatAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		x    *flyext.Extension
		log  string // in the log, but not in the answer
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
			w := do(newProvider(t, p, func(c *flyext.Config) { c.Logger = log.logger() }), xsigned("POST", "/flyio/extensions", minimal))
			if got := (answer{"internal", "Internal Server Error"}); w.Code != 500 || readAnswer(t, w) != got {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if text := log.text(); !strings.Contains(text, tt.log) || strings.Contains(text, "canary") {
				t.Errorf("the log lacks %q or has a secret: %s", tt.log, text)
			}
		})
	}
}

// A nil value of Extra is encoded as null, as in encoding/json.
func TestExtraThatIsNil(t *testing.T) {
	t.Parallel()
	p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
		return &flyext.Extension{Extra: map[string]json.RawMessage{"plan": nil, "size": json.RawMessage("1")}}, nil
	}}
	w := do(newProvider(t, p, unsigned), httptest.NewRequest("GET", "/flyio/extensions/x", nil))
	if want := `{"id":"x","status":"ready","plan":null,"size":1}`; w.Code != 200 || w.Body.String() != want {
		t.Errorf("got %d %s, want %s", w.Code, w.Body, want)
	}
}
