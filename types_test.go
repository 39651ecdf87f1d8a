package flyext_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/flyext/flyext"
)

// Every way of printing hides the value of a secret.
func TestSecretsRedactThemselves(t *testing.T) {
	t.Parallel()
	secrets := flyext.Secrets{"LOGJAM_URL": "canary"}
	extension := flyext.Extension{ID: "x1", Secrets: secrets}
	log := &logBuffer{}
	tests := map[string]func(v any) string{
		"%v": func(v any) string { return fmt.Sprintf("%v", v) }, "%+v": func(v any) string { return fmt.Sprintf("%+v", v) },
		"%#v": func(v any) string { return fmt.Sprintf("%#v", v) }, "%s": func(v any) string { return fmt.Sprintf("%s", v) },
		"%q": func(v any) string { return fmt.Sprintf("%q", v) }, "%x": func(v any) string { return fmt.Sprintf("%x", v) },
		"error": func(v any) string { return fmt.Errorf("with %v", v).Error() },
		"encoding/json": func(v any) string {
			text, err := json.Marshal(v)
			if err != nil {
				t.Error(err)
			}
			return string(text)
		},
		"slog's JSON": func(v any) string { log.logger().Info("m", "v", v); return log.text() },
		"slog's text": func(v any) string {
			var b strings.Builder
			slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", v)
			return b.String()
		},
	}
	for name, print := range tests {
		for _, v := range []any{secrets, &secrets, extension, &extension, []flyext.Secrets{secrets}} {
			text := print(v)
			if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) {
				t.Errorf("%s of %T shows the value: %s", name, v, text)
			}
			if name != "%x" && !strings.Contains(text, "LOGJAM_URL") && !strings.Contains(text, "0x") {
				t.Errorf("%s of %T does not show the name: %s", name, v, text)
			}
		}
	}
	// A custom slog.Handler reads the value itself.
	shown, ok := slog.AnyValue(secrets).Resolve().Any().(map[string]string)
	if _, named := shown["LOGJAM_URL"]; !ok || !named || shown["LOGJAM_URL"] == "canary" {
		t.Errorf("the slog value is %v, want the name with a redacted value", shown)
	}
}

func TestOptional(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		optional flyext.Optional[string]
		present  bool
		null     bool
		value    string
		ok       bool
	}{
		{"absent", flyext.Optional[string]{}, false, false, "", false},
		{"null", flyext.OptionalNull[string](), true, true, "", false},
		{"empty", flyext.OptionalOf(""), true, false, "", true},
		{"set", flyext.OptionalOf("a"), true, false, "a", true},
	}
	for _, tt := range tests {
		value, ok := tt.optional.Get()
		if tt.optional.Present != tt.present || tt.optional.Null != tt.null || value != tt.value || ok != tt.ok {
			t.Errorf("%s: got %+v, and Get returned %q, %t", tt.name, tt.optional, value, ok)
		}
	}
}

// A service may store a request as JSON, such as in a job queue. Both JSON packages
// return what they stored.
func TestRequestsSurviveAJobQueue(t *testing.T) {
	t.Parallel()
	extra := map[string]json.RawMessage{"plan": json.RawMessage(`"big"`)}
	provision := flyext.ProvisionRequest{
		ID: "x", Name: "n", OrganizationID: "o", OrganizationEmail: "a@b", UserName: "u", ReadRegions: []string{"mad"},
		IPAddress: netip.MustParseAddr("fdaa::3"), Extra: extra,
	}
	update := flyext.UpdateRequest{
		Name: flyext.OptionalOf(""), OrganizationEmail: flyext.OptionalOf("a@b"), UserName: flyext.OptionalNull[string](),
		ReadRegions: flyext.OptionalOf([]string{"mad", "ord"}), IPAddress: flyext.OptionalOf(netip.MustParseAddr("fdaa::3")), Extra: extra,
	}
	for name, codec := range map[string]struct {
		marshal   func(any) ([]byte, error)
		unmarshal func([]byte, any) error
	}{
		"encoding/json": {json.Marshal, json.Unmarshal},
		"json/v2": {
			func(v any) ([]byte, error) { return jsonv2.Marshal(v) },
			func(text []byte, v any) error { return jsonv2.Unmarshal(text, v) },
		},
	} {
		for _, want := range []any{&provision, &update} {
			text, err := codec.marshal(want)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got := reflect.New(reflect.TypeOf(want).Elem()).Interface()
			if err := codec.unmarshal(text, got); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s is read as %+v, %v; want %+v", name, text, got, err, want)
			}
		}
	}
}

// json/v2 decodes a configuration, and prints none of it.
func TestConfigurationsDecode(t *testing.T) {
	t.Parallel()
	sso, webhooks := flyext.SSOConfig{}, flyext.WebhookConfig{}
	for name, config := range map[string]any{
		`{"ClientID":"c","StateKey":"canary"}`:   &sso,
		`{"ProviderName":"p","Secret":"canary"}`: &webhooks,
	} {
		if err := jsonv2.Unmarshal([]byte(name), config); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		text, err := jsonv2.Marshal(struct{ Config any }{config}, jsonv2.Deterministic(true))
		if err != nil || string(text) != `{"Config":"[redacted]"}` {
			t.Errorf("%s is written as %s, %v", name, text, err)
		}
	}
	if sso.ClientID != "c" || webhooks.ProviderName != "p" {
		t.Error("a configuration was not decoded")
	}
}
