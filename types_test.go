package flyext_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

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
