package flyext_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

func TestNewWebhooksFailsClosed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*flyext.WebhookConfig){
		"no name":                    func(c *flyext.WebhookConfig) { c.ProviderName = "" },
		"the name .":                 func(c *flyext.WebhookConfig) { c.ProviderName = "." },
		"an endpoint with a ?":       func(c *flyext.WebhookConfig) { c.Endpoint = "https://api.fly.io/?" },
		"an endpoint with a #":       func(c *flyext.WebhookConfig) { c.Endpoint = "https://api.fly.io/#canary" },
		"the name ..":                func(c *flyext.WebhookConfig) { c.ProviderName = ".." },
		"a name that is not UTF-8":   func(c *flyext.WebhookConfig) { c.ProviderName = "\xff" },
		"no secret":                  func(c *flyext.WebhookConfig) { c.Secret = "" },
		"negative attempts":          func(c *flyext.WebhookConfig) { c.Attempts = -1 },
		"a negative timeout":         func(c *flyext.WebhookConfig) { c.Timeout = -1 },
		"a timeout of days":          func(c *flyext.WebhookConfig) { c.Timeout = 25 * time.Hour },
		"plain http":                 func(c *flyext.WebhookConfig) { c.Endpoint = "http://api.fly.io/api/hooks/extensions/logjam" },
		"an endpoint of no scheme":   func(c *flyext.WebhookConfig) { c.Endpoint = "api.fly.io" },
		"an endpoint of no host":     func(c *flyext.WebhookConfig) { c.Endpoint = "https:///hooks" },
		"an endpoint with a user":    func(c *flyext.WebhookConfig) { c.Endpoint = "https://u:canary@api.fly.io/" },
		"an endpoint with a query":   func(c *flyext.WebhookConfig) { c.Endpoint = "https://api.fly.io/?a=canary" },
		"an endpoint that is broken": func(c *flyext.WebhookConfig) { c.Endpoint = "https://[canary" },
	} {
		c := flyext.WebhookConfig{ProviderName: "logjam", Secret: webhookSecret}
		change(&c)
		if w, err := flyext.NewWebhooks(c); err == nil || w != nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: NewWebhooks returned %v, %v; want an error without the secret", name, w, err)
		}
	}
}

func TestWebhookEndpoint(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, endpoint, want string }{
		{"logjam", "", webhookEndpoint},
		{"log/jam?", "", "https://api.fly.io/api/hooks/extensions/log%2Fjam%3F"},
		{"logjam", "http://localhost:8080/hooks", "http://localhost:8080/hooks"},
		{"logjam", "http://[::1]:8080", "http://[::1]:8080"},
		{"logjam", "https://fly.example/a%2Fb", "https://fly.example/a%2Fb"},
	} {
		w := newWebhookTest(t, func(c *flyext.WebhookConfig) { c.ProviderName, c.Endpoint = test.name, test.endpoint })
		if err := w.hooks.Updated(t.Context(), stream()); err != nil {
			t.Fatal(err)
		}
		r := w.fly.all()[0]
		if signed := r.member(t, "url"); r.url != test.want || signed != fmt.Sprintf("%q", test.want) {
			t.Errorf("sent to %s, signed for %s, want %s", r.url, signed, test.want)
		}
	}
}

// Every way of printing hides the secret.
func TestWebhooksRedactThemselves(t *testing.T) {
	t.Parallel()
	c := flyext.WebhookConfig{ProviderName: "logjam", Secret: webhookSecret}
	hooks, err := flyext.NewWebhooks(c)
	if err != nil {
		t.Fatal(err)
	}
	log := &logBuffer{}
	for _, v := range []any{c, &c, hooks, []flyext.WebhookConfig{c}} {
		text := fmt.Sprintf("%v %+v %#v %s %q %x", v, v, v, v, v, v)
		log.logger().Info("m", "v", v)
		slog.New(slog.NewTextHandler(log, nil)).Info("m", "v", v)
		if marshalled, err := json.Marshal(v); err == nil {
			text += string(marshalled)
		}
		if text += log.text(); strings.Contains(text, "canary") || strings.Contains(text, hex.EncodeToString([]byte("canary"))) {
			t.Errorf("%T shows the secret: %s", v, text)
		}
	}
}
