package flyext_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

func TestSSOMisconfigured(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*flyext.Config){
		"no client id":          func(c *flyext.Config) { c.SSO.ClientID = "" },
		"no client secret":      func(c *flyext.Config) { c.SSO.ClientSecret = "" },
		"no state key":          func(c *flyext.Config) { c.SSO.StateKey = "" },
		"short state key":       func(c *flyext.Config) { c.SSO.StateKey = strings.Repeat("k", 31) },
		"short old state key":   func(c *flyext.Config) { c.SSO.OldStateKeys = []string{ssoStateKey, "short"} },
		"no OrganizationOf":     func(c *flyext.Config) { c.SSO.OrganizationOf = nil },
		"no SignIn":             func(c *flyext.Config) { c.SSO.SignIn = nil },
		"unknown generation":    func(c *flyext.Config) { c.SSO.Generation = 3 },
		"no roles":              func(c *flyext.Config) { c.SSO.Roles = []string{} },
		"empty role":            func(c *flyext.Config) { c.SSO.Roles = []string{"admin", ""} },
		"generation 1, members": func(c *flyext.Config) { c.SSO.Generation, c.SSO.Roles = flyext.Generation1, []string{"member"} },
		"negative timeout":      func(c *flyext.Config) { c.SSO.Timeout = -1 },
		"plain http":            func(c *flyext.Config) { c.BaseURL = "http://logjam.io/flyio" },
		"cookie path":           func(c *flyext.Config) { c.BaseURL = "https://logjam.io/fly;io" },
		"plain OAuth":           func(c *flyext.Config) { c.SSO.OAuthURL = "http://api.fly.io" },
		"OAuth by a name that DNS may answer for": func(c *flyext.Config) { c.SSO.OAuthURL = "http://evil.localhost" },
		"OAuth without a host":                    func(c *flyext.Config) { c.SSO.OAuthURL = "https:///oauth" },
		"OAuth with a user":                       func(c *flyext.Config) { c.SSO.OAuthURL = "https://a:b@api.fly.io" },
		"OAuth with a query":                      func(c *flyext.Config) { c.SSO.OAuthURL = "https://api.fly.io?x" },
		"OAuth of no URL":                         func(c *flyext.Config) { c.SSO.OAuthURL = "https://api fly io" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := newSSOTest(t).config()
			if _, err := flyext.New(noProvisioner{}, config); err != nil {
				t.Fatalf("the configuration without the mistake: %v", err)
			}
			change(&config)
			_, err := flyext.New(noProvisioner{}, config)
			if err == nil || !strings.HasPrefix(err.Error(), "flyext: ") {
				t.Errorf("New: %v, want an error of flyext", err)
			}
			if err != nil && (strings.Contains(err.Error(), ssoSecret) || strings.Contains(err.Error(), ssoStateKey)) {
				t.Errorf("the error of New has a secret: %v", err)
			}
		})
	}
	if _, err := flyext.NewSignOn(flyext.Config{BaseURL: ssoBase}); err == nil {
		t.Error("NewSignOn without SSO: no error")
	}
}

func TestSSOPrintsNoSecret(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	sso := st.config().SSO
	config := flyext.Config{SSO: sso}
	signOn, err := flyext.NewSignOn(st.config())
	if err != nil {
		t.Fatal(err)
	}
	provider, err := flyext.New(&testProvisioner{}, st.config())
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&text, verb+verb+verb+verb+verb+verb, sso, *sso, config, &config, signOn, provider)
	}
	for _, v := range []any{sso, *sso, signOn} {
		body, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(body)
		slog.New(slog.NewJSONHandler(&text, nil)).Info("x", "sso", v)
		slog.New(slog.NewTextHandler(&text, nil)).Info("x", "sso", v)
	}
	for _, secret := range []string{ssoSecret, ssoStateKey, fmt.Sprintf("%x", ssoSecret), fmt.Sprintf("%x", ssoStateKey)} {
		if strings.Contains(text.String(), secret) {
			t.Errorf("the secret %q is printed:\n%s", secret, text.String())
		}
	}
}
