package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPrecedence: flags override the environment, and the environment overrides the
// file.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	good := newTerminal((&memory{}).serve(t, "", 0))
	file := func(secret string) string {
		name := filepath.Join(t.TempDir(), "secrets.env")
		text := "# a comment\nFLYIO_SIGNING_SECRET='" + secret + "'\nFLYSIM_BASE_URL=" + good.env["FLYSIM_BASE_URL"] + "\n"
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const wrong = "another secret"
	for name, c := range map[string]struct {
		flag, env, file string
		status          int
	}{
		"file":                       {file: signingSecret},
		"environment":                {env: signingSecret},
		"flag":                       {flag: signingSecret},
		"environment over file":      {env: signingSecret, file: wrong},
		"environment over file, bad": {env: wrong, file: signingSecret, status: 1},
		"flag over both":             {flag: signingSecret, env: wrong, file: wrong},
		"flag over both, bad":        {flag: wrong, env: signingSecret, file: signingSecret, status: 1},
		"file without the secret":    {env: signingSecret, file: ""},
		"empty in the environment":   {env: " ", file: signingSecret, status: 2},
		"empty in the file":          {file: " ", status: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			term, args := good.with("FLYIO_SIGNING_SECRET", "-"), []string{"provision"}
			if c.flag != "" {
				args = append(args, "--signing-secret", c.flag)
			}
			if c.env != "" {
				term.env["FLYIO_SIGNING_SECRET"] = c.env
			}
			if c.file != "" {
				delete(term.env, "FLYSIM_BASE_URL")
				args = append(args, "--env-file", file(c.file))
			}
			term.run(t, args...).want(t, c.status)
		})
	}
}

// TestErrorsHoldNoSecrets: no error contains a secret, from whatever source.
func TestErrorsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	good := (&memory{}).serve(t, "", 0)
	echo := serveStatus(t, http.StatusInternalServerError, "no "+signingSecret+" or "+bearerToken+" or "+clientSecret+" or "+webhookSecret)
	badRequest := serveStatus(t, http.StatusBadRequest, `{"error": "`+bearerToken+`", "message": "`+signingSecret+`"}`)
	file := filepath.Join(t.TempDir(), "secrets.env")
	if err := os.WriteFile(file, []byte("FLYIO_SIGNING_SECRET="+signingSecret+"\n"+signingSecret+" !\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := []string{"FLYIO_CLIENT_ID", clientID, "FLYIO_CLIENT_SECRET", clientSecret, "FLYIO_WEBHOOK_SECRET", webhookSecret}
	for name, c := range map[string]struct {
		url  string
		args []string
	}{
		"one dash":            {good, []string{"check", "-signing-secret=" + signingSecret}},
		"one dash and space":  {good, []string{"check", "-signing-secret", signingSecret}},
		"wrong flag":          {good, []string{"check", "--singing-secret=" + signingSecret}},
		"argument":            {good, []string{"check", signingSecret}},
		"file":                {good, []string{"check", "--env-file", file}},
		"echo":                {echo, []string{"provision"}},
		"echo, JSON":          {echo, []string{"provision", "--json"}},
		"echo, shown":         {echo, []string{"provision", "-v"}},
		"message":             {badRequest, []string{"provision"}},
		"message, JSON":       {badRequest, []string{"provision", "--json"}},
		"message of fetch":    {badRequest, []string{"fetch", "x", "--json"}},
		"event":               {badRequest, []string{"event"}},
		"event, JSON":         {badRequest, []string{"event", "--json"}},
		"event, shown":        {echo, []string{"event", "-v"}},
		"webhook secret":      {good, []string{"check", "-webhook-secret=" + webhookSecret}},
		"check":               {badRequest, []string{"check"}},
		"check, JSON":         {badRequest, []string{"check", "--json"}},
		"check, shown":        {badRequest, []string{"check", "--verbose", "--generation", "1"}},
		"sign-on":             {badRequest, []string{"sso", "x", "--oauth-addr", "127.0.0.1:0"}},
		"refused, shown":      {good, []string{"fetch", "x", "-v", "--generation", "1", "--key-id", "other"}},
		"base URL of secrets": {good, []string{"check", "--base-url", "http://x:" + signingSecret + "@logjam.io:port/"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newTerminal(c.url).with(client...).run(t, c.args...)
			if got.status == 0 {
				t.Error("the exit status is 0, want an error")
			}
			for _, secret := range []string{signingSecret, bearerToken, clientSecret, webhookSecret} {
				if strings.Contains(strings.Join(strings.Fields(got.stdout+got.stderr), ""), secret) {
					t.Errorf("the output contains %q:\n%s%s", secret, got.stdout, got.stderr)
				}
			}
		})
	}
}
