package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
)

func withData(dir string) func(*console.Config) {
	return func(c *console.Config) { c.Data, c.WebhookSecret = dir, webhookSecret }
}

// files returns the contents of a directory.
func files(t *testing.T, dir string) string {
	t.Helper()
	all := ""
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all += string(text)
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", e.Name(), info.Mode(), err)
		}
	}
	return all
}

// The history survives a restart: extensions, requests and their bytes.
func TestHistorySurvives(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	provider := newLogjam().handler(t, providerBase, "")
	w := newWorld(t, provider, withData(dir))
	path := w.provision("ext1")
	w.post(path+"/update", url.Values{"name": {"renamed"}})
	w.post(path+"/fetch", nil)
	gone := w.provision("ext2")
	w.post(gone+"/deprovision", nil)
	w.post(gone+"/forget", nil)
	sent := w.get("/wire/2/request").Body.String()

	for range 2 { // the second restart reads what the first one wrote
		w = newWorld(t, provider, withData(dir))
		w.wantAll(w.page(path), "<h1><bdi>renamed</bdi></h1>", "✓</span> ready", "PATCH /flyio/extensions/lj-ext1", "Provisioned, with 2 secrets", "[masked]", `name="was_name" value="renamed"`)
		feed := w.page("/requests")
		w.wantAll(feed, "3 of 3 requests", "GET /flyio/extensions/lj-ext1")
		if strings.Contains(feed, "ext2") {
			t.Error("a forgotten extension is back")
		}
		if got := w.get("/wire/2/request").Body.String(); got != sent {
			t.Errorf("the request was %s, and is %s", sent, got)
		}
	}
	// The numbers continue, and a request can be sent again.
	location := w.post("/requests/4/resend", nil)
	w.wantAll(w.page(location), "Resent: ")
	w.post(path+"/provision", nil)
	if page := w.page(path); strings.Contains(page, "The secrets differ") || !strings.Contains(page, "token-of-ext1") {
		t.Error("masked secrets are compared with the received ones")
	}
}

// Without a data directory, nothing is written.
func TestHistoryInMemory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	newWorld(t, newLogjam().handler(t, providerBase, "")).provision("ext1")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v %v", entries, err)
	}
}

// No secret is on the disk, in any format and any part of a request.
func TestHistoryMasksSecrets(t *testing.T) {
	t.Parallel()
	for _, format := range []flytest.Format{flytest.FormatXSignature, flytest.FormatRFC9421, flytest.FormatCavage} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := newWorld(t, newLogjam().handler(t, providerBase, ""), withData(dir), func(c *console.Config) {
				c.Format, c.Credentials.BearerToken = format, bearerToken
			})
			path := w.post("/extensions", url.Values{"id": {"ext1"}, "name": {"collider"}, "customer": {nathan}, "extra": {`{"db_pass":"hunter2-pass","shadow_bucket":{"secret_key":["hunter2-key"]}}`}})
			w.post(path+"/update", url.Values{"extra": {`{"password":"hunter2-update"}`}})
			w.post(path+"/fetch", nil)
			form := url.Values{"client_id": {"logjam"}, "client_secret": {clientSecret}, "code": {"hunter2-code"}, "grant_type": {"authorization_code"}}
			r := formRequest("/oauth/token", form)
			w.do(r)
			r = httptest.NewRequest(http.MethodGet, ownURL+"/oauth/token/info?access_token=hunter2-query", nil)
			r.Header.Set("Authorization", "Bearer hunter2-token")
			w.do(r)
			text := files(t, dir)
			if !strings.Contains(text, "collider") || !strings.Contains(text, "token/info") {
				t.Fatalf("the history is %s", text)
			}
			for _, secret := range []string{signingSecret, bearerToken, clientSecret, webhookSecret, "s3cret-of-ext1", "token-of-ext1", "hunter2"} {
				if decoded := decodeBodies(text); strings.Contains(text, secret) || strings.Contains(decoded, secret) {
					t.Errorf("%s is on the disk", secret)
				}
			}
		})
	}
}

// A malformed answer leaves no secret on the disk.
func TestHistoryMasksBrokenAnswers(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"no JSON":         `LOGJAM_TOKEN=hunter2`,
		"cut off":         `{"config":{"LOGJAM_TOKEN":"hunter2"`,
		"a list":          `["hunter2"]`,
		"a number":        `{"id":"x","config":{"LOGJAM_PIN":77712345}}`,
		"nested":          `{"id":"x","config":{"a":{"b":["hunter2"]}}}`,
		"generation 1":    `{"LOGJAM_TOKEN":"hunter2"}`,
		"members like it": `{"id":"x","config":{},"api_token":"hunter2"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := newWorld(t, answering(200, answer), withData(dir))
			w.provision("ext1")
			if text := decodeBodies(files(t, dir)); strings.Contains(text, "hunter2") || strings.Contains(text, "77712345") {
				t.Errorf("the secret is on the disk: %s", text)
			}
		})
	}
}

// With DataSecrets, secrets are written, and the same bytes can be sent again
// after a restart.
func TestHistoryWithSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	provider := newLogjam().handler(t, providerBase, "")
	config := func(c *console.Config) { c.DataSecrets = true }
	newWorld(t, provider, withData(dir), config).provision("ext1")
	w := newWorld(t, provider, withData(dir), config)
	w.wantAll(w.page("/extensions/1"), "token-of-ext1")
	w.wantAll(w.page(w.post("/requests/2/replay", nil)), "refused, as required")
}

// A record whose bytes were dropped says so after each restart.
func TestHistoryOfDroppedBytes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	provider := newLogjam().handler(t, providerBase, "")
	w := newWorld(t, provider, withData(dir))
	for e := range 4 {
		path := w.provision(fmt.Sprint("ext", e))
		for range 80 {
			w.post(path+"/fetch", nil)
		}
	}
	for range 3 {
		w.wantAll(w.page("/requests/2"), "The bytes of this request are no longer kept.")
		w = newWorld(t, provider, withData(dir))
	}
}

// A history that is cut off is read up to that place.
func TestHistoryCutOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	provider := newLogjam().handler(t, providerBase, "")
	newWorld(t, provider, withData(dir)).provision("ext1")
	name := filepath.Join(dir, "history.jsonl")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(text, `{"record":{"n":9,"wh`...), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, provider, withData(dir))
	w.wantAll(w.page("/requests"), "1 of 1 requests")
	if !strings.Contains(w.log.String(), "skipped lines of the history") {
		t.Errorf("the log is %s", w.log)
	}
}

// An unusable directory is an error at the start.
func TestHistoryFails(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := console.New(console.Config{
		BaseURL: providerBase, Format: flytest.FormatXSignature, Credentials: flytest.Credentials{SigningSecret: signingSecret}, URL: ownURL, Data: file,
	})
	if err == nil || !strings.Contains(err.Error(), "the data directory") {
		t.Errorf("got %v", err)
	}
}
