package service

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	served := map[string]string{"FLYIO_SIGNING_SECRET": "s"}
	with := func(name, value string) map[string]string {
		env := maps.Clone(served)
		env[name] = value
		return env
	}
	withClient := func(name, value string) map[string]string {
		env := with("FLYIO_CLIENT_ID", "c")
		env["FLYIO_CLIENT_SECRET"] = "c"
		if name != "" {
			env[name] = value
		}
		return env
	}
	withWebhooks := func(name, value string) map[string]string {
		env := with("FLYIO_WEBHOOK_SECRET", "w")
		if name != "" {
			env[name] = value
		}
		return env
	}
	tests := []struct {
		name string
		env  map[string]string
		args string
		want string
	}{
		{"unknown flag", nil, "-nonsense", "-nonsense"},
		{"argument", nil, "serve", `"serve"`},
		{"empty secret", map[string]string{"FLYIO_SIGNING_SECRET": ""}, "", "FLYIO_SIGNING_SECRET is empty"},
		{"blank secret", map[string]string{"FLYIO_SIGNING_SECRET": " "}, "", "FLYIO_SIGNING_SECRET is empty"},
		{"empty second secret", map[string]string{"FLYIO_SIGNING_SECRET": "s,"}, "", "FLYIO_SIGNING_SECRET has an empty value"},
		{"empty token", with("FLYIO_BEARER_TOKEN", ""), "", "FLYIO_BEARER_TOKEN is empty"},
		{"empty key", with("LOGJAM_KEY", ""), "", "LOGJAM_KEY is empty"},
		{"bad key", with("LOGJAM_KEY", "k"), "", "LOGJAM_KEY: the key must be 32 bytes"},
		{"token without secret", map[string]string{"FLYIO_BEARER_TOKEN": "t"}, "", "set FLYIO_SIGNING_SECRET"},
		{"client without secret", with("FLYIO_CLIENT_ID", "c"), "", "FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET need each other"},
		{"client secret without client", with("FLYIO_CLIENT_SECRET", "c"), "", "FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET need each other"},
		{"empty client", with("FLYIO_CLIENT_ID", ""), "", "FLYIO_CLIENT_ID is empty"},
		{"OAuth server without client", with("FLYIO_OAUTH_URL", "https://fly.example"), "", "set FLYIO_CLIENT_ID"},
		{"OAuth server over plain http", withClient("FLYIO_OAUTH_URL", "http://fly.example"), "-addr 127.0.0.1:0", "OAuthURL"},
		{"dashboard over plain http", withClient("", ""), "-addr 127.0.0.1:0 -base-url http://logjam.example/flyio", "BaseURL"},
		{"unknown generation", withClient("", ""), "-sso-generation 3", "invalid -sso-generation"},
		{"generation without client", served, "-sso-generation 1", "set FLYIO_CLIENT_ID"},
		{"client without signing secret", map[string]string{"FLYIO_CLIENT_ID": "c", "FLYIO_CLIENT_SECRET": "c"}, "", "set FLYIO_SIGNING_SECRET"},
		{"base URL without secret", nil, "-base-url https://logjam.example", "FLYIO_SIGNING_SECRET"},
		{"demo beyond loopback", nil, "-addr :0", "loopback"},
		{"demo and server", served, "-once", "-once"},
		{"no base URL beyond loopback", served, "-addr :0", "missing -base-url"},
		{"base URL without scheme", served, "-addr 127.0.0.1:0 -base-url logjam.example", "BaseURL"},
		{"base URL with a query", served, "-addr 127.0.0.1:0 -base-url https://logjam.example/?a=b", "query"},
		{"base URL with a wildcard", served, "-addr 127.0.0.1:0 -base-url https://logjam.example/{id}", "brace"},
		{"address in use", served, "-addr " + taken.Addr().String(), "in use"},
		{"no address", served, "-addr nowhere -base-url https://logjam.example", "nowhere"},
		{"webhook secret without signing secret", map[string]string{"FLYIO_WEBHOOK_SECRET": "w"}, "", "set FLYIO_SIGNING_SECRET"},
		{"empty webhook secret", with("FLYIO_WEBHOOK_SECRET", ""), "", "FLYIO_WEBHOOK_SECRET is empty"},
		{"webhook URL without secret", with("FLYIO_WEBHOOK_URL", "https://fly.example"), "", "set FLYIO_WEBHOOK_SECRET"},
		{"webhooks over plain http", withWebhooks("FLYIO_WEBHOOK_URL", "http://fly.example"), "-addr 127.0.0.1:0", "https"},
		{"webhooks without secret", served, "-webhooks list", "set FLYIO_WEBHOOK_SECRET"},
		{"webhooks in the demo", nil, "-webhooks list", "set FLYIO_WEBHOOK_SECRET"},
		{"unknown action on webhooks", withWebhooks("", ""), "-webhooks drop", "invalid -webhooks"},
		{"two databases", with("LOGJAM_KEY", testKey), "-database-url postgres://127.0.0.1:1/x", "-db and -database-url"},
		{"PostgreSQL without a key", served, "-database-url postgres://127.0.0.1:1/x -db=", "set LOGJAM_KEY"},
		{"no PostgreSQL", with("LOGJAM_KEY", testKey), "-database-url postgres://u:secret@127.0.0.1:1/x?sslmode=disable -db=", "connect"},
		{"no PostgreSQL at DATABASE_URL", map[string]string{
			"FLYIO_SIGNING_SECRET": "s", "LOGJAM_KEY": testKey, "DATABASE_URL": "postgres://u:secret@127.0.0.1:1/x?sslmode=disable",
		}, "-db=", "connect"},
		{"malformed Redis URL", served, "-addr 127.0.0.1:0 -redis-url redis://u:secret@%zz", "redis: invalid URL"},
		{"malformed REDIS_URL", with("REDIS_URL", "http://u:secret@127.0.0.1"), "-addr 127.0.0.1:0", "redis: invalid URL"},
		{"empty REDIS_URL", with("REDIS_URL", ""), "", "REDIS_URL is empty"},
		{"malformed database URL", with("LOGJAM_KEY", testKey), "-database-url postgres://u:secret@%zz -db=", "database: "},
		{"debug address beyond loopback", served, "-addr 127.0.0.1:0 -debug-addr 0.0.0.0:0", "must be a loopback address"},
		{"debug address in the demo", nil, "-debug-addr 127.0.0.1:0 -db=", "omit -debug-addr"},
		{"debug address in use", served, "-addr 127.0.0.1:0 -debug-addr " + taken.Addr().String(), "address already in use"},
		{"no directory", served, "-addr 127.0.0.1:0 -db missing/logjam.db", "missing/logjam.db"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(test.args)
			if !strings.Contains(test.args, "-db") {
				args = append([]string{"-db", filepath.Join(t.TempDir(), "logjam.db")}, args...)
			}
			// If Logjam starts by mistake, the timeout stops it.
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var stdout, stderr bytes.Buffer
			if status := run(ctx, &testServers, args, lookup(test.env), &stdout, &stderr); status != 2 {
				t.Errorf("exit status %d, want 2", status)
			}
			text := stderr.String()
			if !strings.HasPrefix(text, "logjam: ") || strings.Count(text, "\n") != 1 || !strings.Contains(text, test.want) {
				t.Errorf("stderr is %q, want one line with %q", text, test.want)
			}
			if strings.Contains(text, "secret@") || strings.Contains(text, ":secret") {
				t.Errorf("stderr contains the database's password: %q", text)
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout is %q, want it empty", &stdout)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), nil, []string{"-help"}, lookup(nil), &stdout, &stderr); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	for line := range strings.Lines(stderr.String()) {
		if len(strings.TrimRight(strings.ReplaceAll(line, "\t", "    "), "\n")) > columns {
			t.Errorf("line of more than %d columns: %s", columns, line)
		}
	}
	for _, want := range []string{"FLYIO_SIGNING_SECRET", "FLYIO_CLIENT_ID", "-base-url", "-once", "-database-url", "-redis-url", "REDIS_URL", "FLYIO_WEBHOOK_SECRET", "-webhooks"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("the help does not mention %s:\n%s", want, &stderr)
		}
	}
}

// TestVerifier checks which requests each configuration accepts.
func TestVerifier(t *testing.T) {
	t.Parallel()
	const newSecret, oldSecret, token = "new", "old", "t"
	secrets := map[string]string{"FLYIO_SIGNING_SECRET": newSecret + ", " + oldSecret}
	withToken := maps.Clone(secrets)
	withToken["FLYIO_BEARER_TOKEN"] = token
	message := func(secret string) flytest.Signer {
		return flytest.RFC9421(flyext.Key{ID: messageKeyID, Secret: secret})
	}
	bearer := flytest.BearerToken(token)
	tests := []struct {
		name   string
		env    map[string]string
		signer flytest.Signer
		ok     bool
	}{
		{"X-Signature", secrets, flytest.XSignature(newSecret), true},
		{"X-Signature, old secret", secrets, flytest.XSignature(oldSecret), true},
		{"X-Signature with a token configured", withToken, flytest.XSignature(newSecret), true},
		{"token and signature", withToken, flytest.All(bearer, message(newSecret)), true},
		{"token and signature, old secret", withToken, flytest.All(bearer, message(oldSecret)), true},

		{"X-Signature, other secret", secrets, flytest.XSignature("other"), false},
		{"X-Signature, both secrets as one", secrets, flytest.XSignature(newSecret + ", " + oldSecret), false},
		{"X-Signature under the token", withToken, flytest.XSignature(token), false},
		{"token alone", withToken, bearer, false},
		{"signature alone", withToken, message(newSecret), false},
		{"token and signature, other token", withToken, flytest.All(flytest.BearerToken("other"), message(newSecret)), false},
		{"token and signature, other secret", withToken, flytest.All(bearer, message("other")), false},
		{"token and signature, none configured", secrets, flytest.All(bearer, message(newSecret)), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := readConfig(nil, []string{"-base-url", "https://example.com/flyio"}, lookup(test.env), t.Output())
			if err != nil {
				t.Fatal(err)
			}
			handler, err := routes(c, newLogjam(t, dbPath(t)), nil, testLog(t))
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewTLSServer(handler)
			t.Cleanup(server.Close)
			fly := flytest.Platform{BaseURL: c.baseURL, Signer: test.signer, Client: server.Client()}
			if _, err := fly.Provision(t.Context(), *order42()); (err == nil) != test.ok {
				t.Errorf("got %v, want success: %t", err, test.ok)
			}
		})
	}
}

func TestColours(t *testing.T) {
	t.Parallel()
	for _, colours := range []bool{false, true} {
		var out bytes.Buffer
		p := &page{&out, colours}
		p.heading("heading")
		p.show(cyan, strings.Repeat("x", 100))
		if got := strings.Contains(out.String(), "\x1b["); got != colours {
			t.Errorf("the output has colours: %t, want %t", got, colours)
		}
	}
	if newPage(new(bytes.Buffer), lookup(nil)).colours {
		t.Error("colours without a terminal")
	}
}
