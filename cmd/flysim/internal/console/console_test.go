package console_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
)

func Example() {
	c, err := console.New(console.Config{
		BaseURL:     "http://localhost:8080/flyio",
		Format:      flytest.FormatXSignature,
		Credentials: flytest.Credentials{SigningSecret: "signing-secret"},
		URL:         "http://localhost:4000",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan error)
	go func() { running <- c.Run(ctx) }()

	// http.ListenAndServe("localhost:4000", c)
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost:4000/", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))

	cancel()
	fmt.Println(<-running)
	// Output:
	// 200 text/html; charset=utf-8
	// <nil>
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*console.Config)
		want   string
	}{
		{"no URL", func(c *console.Config) { c.URL = "" }, "must be one of this machine"},
		{"public URL", func(c *console.Config) { c.URL = "http://flysim.example:4000" }, "must be one of this machine"},
		{"every address", func(c *console.Config) { c.URL = "http://0.0.0.0:4000" }, "must be one of this machine"},
		{"name that begins like localhost", func(c *console.Config) { c.URL = "http://localhost.example:4000" }, "must be one of this machine"},
		{"URL with a path", func(c *console.Config) { c.URL = "http://localhost:4000/console" }, "must be only a scheme"},
		{"URL with a user", func(c *console.Config) { c.URL = "http://a:b@localhost:4000" }, "must be only a scheme"},
		{"no base URL", func(c *console.Config) { c.BaseURL = "" }, "BaseURL"},
		{"base URL of another scheme", func(c *console.Config) { c.BaseURL = "javascript:alert(1)" }, "BaseURL"},
		{"no signing secret", func(c *console.Config) { c.Credentials.SigningSecret = "" }, "secret"},
		{"no format", func(c *console.Config) { c.Format = "" }, "format"},
		{"client id alone", func(c *console.Config) { c.ClientSecret = "" }, "set both"},
		{"client secret alone", func(c *console.Config) { c.ClientID = "" }, "set both"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := console.Config{
				BaseURL: providerBase, Format: flytest.FormatXSignature, Credentials: flytest.Credentials{SigningSecret: signingSecret},
				ClientID: "logjam", ClientSecret: clientSecret, URL: ownURL,
			}
			test.change(&config)
			_, err := console.New(config)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error about %q", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), signingSecret) || strings.Contains(err.Error(), clientSecret)) {
				t.Errorf("the error has a secret: %v", err)
			}
		})
	}
}

func TestConfigRedacts(t *testing.T) {
	t.Parallel()
	config := console.Config{Credentials: flytest.Credentials{SigningSecret: signingSecret}, ClientSecret: clientSecret, WebhookSecret: webhookSecret}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if got := fmt.Sprintf(verb, config); strings.Contains(got, clientSecret) || strings.Contains(got, signingSecret) || strings.Contains(got, webhookSecret) {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if got := config.LogValue().String(); strings.Contains(got, clientSecret) {
		t.Errorf("it logs %s", got)
	}
}

func TestEmptyPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	w.wantAll(w.page("/"), "Nothing has been provisioned yet", "<noscript><p class=\"noscript\">Without scripts this page does not update itself", "None yet.", "Nathan, admin of Collider", "Emmy, member of Collider", providerBase, "x-signature")
}

// The page of one extension, from provisioning to removal.
func TestLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	path := w.provision("ext1")
	page := w.page(path)
	w.wantAll(page,
		"<h1><bdi>collider-ext1</bdi></h1>", "✓</span> ready", "Provisioned, with 2 secrets",
		"POST /flyio/extensions", "200 OK", "X-Signature:", "HTTP/1.1 200 OK", `<span class="key">&#34;organization_id&#34;</span>`,
		"Signature base", "$ flyctl ext … create", "Your Example extension (collider-ext1) is ready.", "LOGJAM_TOKEN: ••••••••",
		`<code class="value" id="secret0-value">token-of-ext1</code>`, `href="http://logjam.test/flyio/extensions/lj-ext1/sso"`,
		"g1lx9my4pzemqwk7", "k9d01lp82rky6vo2, admin",
	)
	// The signature base of a POST is its body, byte for byte.
	sent := w.get("/wire/2/request").Body.String()
	if base := w.get("/wire/2/signature-base").Body.String(); base == "" || base != sent {
		t.Errorf("signed %q, sent %q", base, sent)
	}

	w.post(path+"/provision", nil)
	w.wantAll(w.page(path), "The secrets are the same as before")
	w.post(path+"/update", url.Values{"name": {"renamed"}})
	w.wantAll(w.page(path), "<h1><bdi>renamed</bdi></h1>", "PATCH /flyio/extensions/lj-ext1", "Updated")
	w.post(path+"/fetch", nil)
	w.wantAll(w.page(path), "GET /flyio/extensions/lj-ext1", "It is ready")
	w.post(path+"/deprovision", nil)
	w.wantAll(w.page(path), "DELETE /flyio/extensions/lj-ext1", "Deprovisioned", "−</span> gone", "Remove from the list")
	w.post(path+"/fetch", nil)
	w.wantAll(w.page(path), "Refused with 404 not_found: There is no such stream.", "The provider does not know this extension.", "−</span> gone")
	if got := w.post(path+"/forget", nil); got != "/" {
		t.Errorf("it leads to %s", got)
	}
	if rec := w.get(path); rec.Code != http.StatusNotFound || !strings.Contains(rec.Body.String(), "There is no such extension") {
		t.Errorf("got %d", rec.Code)
	}
	if rec := w.get("/wire/2/request"); rec.Code != http.StatusNotFound {
		t.Errorf("the bytes of a forgotten extension: %d", rec.Code)
	}
}

// The same id again means the same extension, as for Fly.io.
func TestProvisionTwiceIsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	if first, second := w.provision("ext1"), w.provision("ext1"); first != second {
		t.Errorf("%s and %s for one id", first, second)
	}
}

// The page explains each fault, and shows the answer.
func TestFaults(t *testing.T) {
	t.Parallel()
	failing := func(err error) func(*console.Config) {
		return func(c *console.Config) {
			c.Client = &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) { return nil, err })}
		}
	}
	none := func(*console.Config) {}
	for _, test := range []struct {
		name     string
		provider http.Handler
		change   func(*console.Config)
		want     []string
	}{
		{"not running", nil, failing(errors.New("connection refused")), []string{
			"The provider cannot be reached", "Check that it runs at " + providerBase + ".", "connection refused", "!</span> not provisioned", "No secrets: it was not provisioned."}},
		{"too slow", nil, failing(context.DeadlineExceeded), []string{"No answer within 0s", "Fly.io waits for 5 seconds"}},
		{"another secret", newLogjam().handler(t, providerBase, ""), func(c *console.Config) { c.Credentials.SigningSecret = "another" }, []string{
			"Refused with 401 unauthenticated", "rejects the signature", "Compare the signature base", `class="status wrong">401 Unauthorized`}},
		{"refusal with a message", answering(409, `{"error":"conflict","message":"The name is taken."}`), none, []string{
			"Refused with 409 conflict: The name is taken.", "Error: input:3:2: createAddOn The name is taken."}},
		{"refusal without one", answering(503, `upstream is down`), none, []string{
			"Refused with 503 Service Unavailable", "finds none", "upstream is down", "As it was sent, 16 bytes", "Its log should have the reason"}},
		{"no such route", answering(404, `{}`), none, []string{"There may be no provider at this base URL"}},
		{"redirect", answering(301, `{}`), none, []string{"Fly.io follows no redirect"}},
		{"not offered", answering(501, `{"error":"unsupported","message":"No."}`), none, []string{"The provider does not offer this."}},
		{"no JSON", answering(200, `<p>hello`), none, []string{"flyctl could not use this answer", "The answer is not a JSON object"}},
		{"a number for a secret", answering(200, `{"id":"x","config":{"PORT":8080}}`), none, []string{
			"flyctl could not use this answer", "The secret &#34;PORT&#34; is a number; flyctl requires a string."}},
		{"no secrets", answering(200, `{"id":"x","status":"ready"}`), none, []string{"no &#34;config&#34;"}},
		{"nothing", answering(200, ``), none, []string{"flyctl could not use this answer", "No body."}},
		{"too much", answering(200, strings.Repeat("x", 2<<20)), none, []string{"The answer cannot be read", "larger than 1048576 bytes"}},
		{"error at once", answering(200, `{"id":"x","config":{},"status":"error","error_message":"No room."}`), none, []string{"✕</span> error", "flyctl gives up at once", "Error: No room."}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, test.provider, test.change)
			w.wantAll(w.page(w.provision("ext1")), test.want...)
		})
	}
}

// Another attempt works.
func TestRecovers(t *testing.T) {
	t.Parallel()
	l := newLogjam()
	sound, broken := l.handler(t, providerBase, ""), true
	w := newWorld(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if broken {
			answering(500, "").ServeHTTP(rw, r)
			return
		}
		sound.ServeHTTP(rw, r)
	}))
	path := w.provision("ext1")
	broken = false
	w.post(path+"/provision", nil)
	w.wantAll(w.page(path), "✓</span> ready", "Your Example extension (collider-ext1) is ready.")
}

func TestSignsAs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		format flytest.Format
		want   []string
	}{
		{flytest.FormatXSignature, []string{"X-Signature:"}},
		{flytest.FormatRFC9421, []string{"Signature-Input:", "@signature-params", "Bearer " + bearerToken}},
		{flytest.FormatDraft05, []string{"Signature-Input:", "@signature-params"}},
		{flytest.FormatCavage, []string{"(request-target): post /flyio/extensions"}},
	} {
		t.Run(string(test.format), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, newLogjam().handler(t, providerBase, ""), func(c *console.Config) {
				c.Format, c.Credentials.BearerToken = test.format, bearerToken
			})
			w.wantAll(w.page(w.provision("ext1")), append(test.want, "✓</span> ready", string(test.format))...)
		})
	}
}

func TestUnknownPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	for _, path := range []string{"/nothing", "/extensions/7", "/extensions/x", "/extensions", "/wire/1/request", "/wire/x/answer", "/extensions/../../etc"} {
		if rec := w.get(path); rec.Code != http.StatusNotFound && rec.Code != http.StatusTemporaryRedirect && rec.Code != http.StatusMovedPermanently {
			t.Errorf("GET %s: %d", path, rec.Code)
		}
	}
	w.provision("ext1")
	if rec := w.get("/wire/2/secret"); rec.Code != http.StatusNotFound {
		t.Errorf("an unknown part: %d", rec.Code)
	}
}
