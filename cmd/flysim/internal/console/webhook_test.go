package console_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/cmd/flysim/internal/console"
)

const webhookSecret = "webhook-secret-5d20"

func withWebhooks(c *console.Config) { c.WebhookSecret = webhookSecret }

// hook returns a webhook like the one in Fly.io's example.
func hook(secret, action, resource string) *http.Request {
	return signed(secret, fmt.Sprintf(`{"timestamp":"%d","action":%q,"resource":%s}`, time.Now().Unix(), action, resource))
}

func signed(secret, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, ownURL+"/webhooks", strings.NewReader(body))
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(body))
	r.Header.Set("X-Signature", hex.EncodeToString(h.Sum(nil)))
	r.Header.Set("Content-Type", "application/json")
	return r
}

func (w *world) hear(status int, r *http.Request) {
	w.t.Helper()
	if rec := w.do(r); rec.Code != status {
		w.t.Fatalf("a webhook is answered with %d %s", rec.Code, rec.Body)
	}
}

// A webhook about an extension is on its page, and changes its badge.
func TestWebhookChangesBadge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), withWebhooks)
	path, other := w.provision("ext1"), w.provision("ext2")
	for _, c := range []struct{ action, resource, badge, headline string }{
		{"resource.updated", `{"id":"lj-ext1","status":"asleep"}`, "•</span> asleep", "resource.updated, with the status “asleep”"},
		{"resource.updated", `{"id":"lj-ext1","plan":"scaler"}`, "•</span> asleep", "resource.updated</p>"},
		{"resource.updated", `{"id":"lj-ext1","status":"provisioning"}`, "…</span> provisioning", "resource.updated, with the status “provisioning”"},
		{"resource.updated", `{"id":"lj-ext1","status":"error"}`, "✕</span> error", "resource.updated, with the status “error”"},
		{"resource.updated", `{"id":"lj-ext1","status":"ready","name":"renamed"}`, "✓</span> ready", "resource.updated, with the status “ready”"},
		{"resource.deleted", `{"id":"lj-ext1"}`, "−</span> gone", "resource.deleted"},
	} {
		w.hear(http.StatusOK, hook(webhookSecret, c.action, c.resource))
		page := w.page(path)
		_, head, _ := strings.Cut(page, `<div id="head"`)
		head, _, _ = strings.Cut(head, "</div>")
		w.wantAll(head, c.badge)
		w.wantAll(page, c.headline, "<b>Webhook</b>", "POST /webhooks", "200 OK", "X-Signature:", "HMAC-SHA256 with the webhook secret")
	}
	w.wantAll(w.page(path), "<h1><bdi>renamed</bdi></h1>", "Remove from the list")
	w.wantAll(w.page("/webhooks"), `href="/extensions/1"><bdi>renamed</bdi></a>`)
	if page := w.page(other); strings.Contains(page, "Webhook</b>") || !strings.Contains(page, "✓</span> ready") {
		t.Errorf("the other extension is %s", body(page))
	}
	// The bytes are kept exactly, and the signed bytes are the body.
	if sent, base := w.get("/wire/5/request").Body.String(), w.get("/wire/5/signature-base").Body.String(); !strings.Contains(sent, "asleep") || sent != base {
		t.Errorf("sent %q, signed %q", sent, base)
	}
}

// A webhook ends the polling of an extension.
func TestWebhookEndsPolling(t *testing.T) {
	t.Parallel()
	l := newLogjam()
	l.slow = true
	w := newWorld(t, l.handler(t, providerBase, ""), withWebhooks)
	path := w.provision("ext1")
	w.wantAll(w.page(path), "Polling every 2 s")
	w.hear(http.StatusOK, hook(webhookSecret, "resource.deleted", `{"id":"lj-ext1"}`))
	if page := w.page(path); strings.Contains(page, "Polling every 2 s") || !strings.Contains(page, "−</span> gone") {
		t.Errorf("the page is %s", body(page))
	}
	// A webhook and an event do not start polling.
	w.hear(http.StatusOK, hook(webhookSecret, "resource.updated", `{"id":"lj-ext1","status":"provisioning"}`))
	w.post(path+"/event", url.Values{"event_type": {"t"}, "event_mode": {"binary"}})
	if page := w.page(path); strings.Contains(page, "Polling every 2 s") || !strings.Contains(page, "…</span> provisioning") {
		t.Errorf("the page is %s", body(page))
	}
}

// A refused webhook is shown with its reason, and changes nothing.
func TestAttackWebhook(t *testing.T) {
	t.Parallel()
	replayed := func() *http.Request {
		return signed(webhookSecret, fmt.Sprintf(`{"timestamp":%d,"nonce":"n","action":"resource.deleted","resource":{"id":"lj-ext1"}}`, time.Now().Unix()))
	}
	for _, c := range []struct {
		name    string
		before  func() *http.Request
		request func() *http.Request
		status  int
		why     string
	}{
		{"another secret", nil, func() *http.Request { return hook("another", "resource.deleted", `{"id":"lj-ext1"}`) }, 401, "X-Signature is not the HMAC-SHA256 of the body"},
		{"the signing secret", nil, func() *http.Request { return hook(signingSecret, "resource.deleted", `{"id":"lj-ext1"}`) }, 401, "X-Signature is not the HMAC-SHA256"},
		{"no signature", nil, func() *http.Request {
			r := hook(webhookSecret, "resource.deleted", `{"id":"lj-ext1"}`)
			r.Header.Del("X-Signature")
			return r
		}, 401, "X-Signature is not the HMAC-SHA256"},
		{"a changed body", nil, func() *http.Request {
			r := hook(webhookSecret, "resource.updated", `{"id":"lj-ext1"}`)
			return withBody(r, `{"action":"resource.deleted"}`)
		}, 401, "X-Signature is not the HMAC-SHA256"},
		{"secrets in it", nil, func() *http.Request {
			return hook(webhookSecret, "resource.updated", `{"id":"lj-ext1","status":"error","config":{}}`)
		}, 422, "a webhook must not contain secrets"},
		{"an unknown action", nil, func() *http.Request { return hook(webhookSecret, "resource.<b>sold</b>", `{"id":"lj-ext1"}`) }, 422, "&lt;b&gt;sold&lt;/b&gt;"},
		{"again", replayed, replayed, 401, "the nonce was used before"},
		{"too large", nil, func() *http.Request {
			return hook(webhookSecret, "resource.deleted", `{"id":"lj-ext1","padding":"`+strings.Repeat("x", 64<<10)+`"}`)
		}, 413, "the body is too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, newLogjam().handler(t, providerBase, ""), withWebhooks)
			path := w.provision("ext1")
			if c.before != nil {
				w.hear(http.StatusOK, c.before())
				w.hear(http.StatusOK, hook(webhookSecret, "resource.updated", `{"id":"lj-ext1","status":"ready"}`))
			}
			w.hear(c.status, c.request())
			page := w.page("/webhooks")
			w.wantAll(page, "Refused: ", c.why, fmt.Sprint(c.status, " ", http.StatusText(c.status)), `class="bad"`)
			w.wantAll(w.page(path), "✓</span> ready")
			if strings.Contains(w.log.String(), "lj-ext1") || strings.Contains(w.log.String(), webhookSecret) {
				t.Errorf("the log is %s", w.log)
			}
		})
	}
}

func withBody(r *http.Request, text string) *http.Request {
	fresh := httptest.NewRequest(r.Method, ownURL+r.URL.Path, strings.NewReader(text))
	fresh.Header = r.Header
	return fresh
}

// Webhooks come from servers, to one of the console's own names. The console
// refuses a browser's request for another site, and every other host.
func TestAttackWebhookOrigin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), withWebhooks)
	path := w.provision("ext1")
	for name, change := range map[string]func(r *http.Request){
		"another site":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"same site":      func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		"another origin": func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"no origin":      func(r *http.Request) { r.Header.Set("Origin", "null") },
	} {
		r := hook(webhookSecret, "resource.deleted", `{"id":"lj-ext1"}`)
		change(r)
		if rec := w.do(r); rec.Code != http.StatusForbidden {
			t.Errorf("%s: %d", name, rec.Code)
		}
	}
	r := hook(webhookSecret, "resource.deleted", `{"id":"lj-ext1"}`)
	r.Host = "evil.example:4000"
	w.hear(http.StatusMisdirectedRequest, r)
	w.wantAll(w.page("/webhooks"), "No webhooks yet.")
	w.wantAll(w.page(path), "✓</span> ready")
	for _, host := range []string{"127.0.0.1:4000", "[::1]:4000"} {
		r := hook(webhookSecret, "resource.updated", `{"id":"lj-ext1","status":"asleep"}`)
		r.Host = host
		w.hear(http.StatusOK, r)
	}
	for _, target := range []string{"/webhooks/", "/webhooks/x", "/extensions/webhooks"} {
		r := hook(webhookSecret, "resource.deleted", `{"id":"lj-ext1"}`)
		r.URL.Path = target
		w.hear(http.StatusNotFound, r)
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch} {
		r := hook(webhookSecret, "resource.deleted", `{"id":"lj-ext1"}`)
		r.Method = method
		w.hear(http.StatusNotFound, r)
	}
}

// A slow sender keeps no other sender waiting, and has a deadline.
func TestAttackSlowWebhook(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), withWebhooks)
	body, slow := io.Pipe()
	r := hook(webhookSecret, "resource.updated", `{"id":"x"}`)
	r.Body, r.ContentLength = body, 100
	rw := &deadlined{ResponseRecorder: httptest.NewRecorder(), set: make(chan time.Time, 2)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.console.ServeHTTP(rw, r)
	}()
	if at := <-rw.set; time.Until(at) > 10*time.Second || time.Until(at) < 0 {
		t.Errorf("the deadline of the body is %v", at)
	}
	w.hear(http.StatusOK, hook(webhookSecret, "resource.updated", `{"id":"y"}`))
	slow.CloseWithError(os.ErrDeadlineExceeded) // like the server's deadline
	<-ended
	if at := <-rw.set; !at.IsZero() {
		t.Errorf("the deadline of the connection's next request is %v", at)
	}
	if rw.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("the answer is %d", rw.Code)
	}
}

// A deadlined answer records the deadlines of the request.
type deadlined struct {
	*httptest.ResponseRecorder
	set chan time.Time
}

func (d *deadlined) SetReadDeadline(at time.Time) error {
	d.set <- at
	return nil
}

// Without a secret, no webhook is received, not even one that is signed with an
// empty secret.
func TestNoWebhooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	path := w.provision("ext1")
	rec := w.do(hook("", "resource.deleted", `{"id":"lj-ext1"}`))
	if rec.Code != http.StatusNotFound || !strings.Contains(rec.Body.String(), "FLYIO_WEBHOOK_SECRET") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w.wantAll(w.page(path), "✓</span> ready")
	w.wantAll(w.page("/webhooks"), "Webhooks are", ownURL+"/webhooks", "No webhooks yet.")
}

// A signed webhook is still untrusted text.
func TestAttackWebhookMarkup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), withWebhooks)
	path := w.provision("ext1")
	evil, _ := json.Marshal(script + "\u202e")
	r := hook(webhookSecret, "resource.updated", fmt.Sprintf(`{"id":"lj-ext1","status":%s,"name":%[1]s,%[1]s:%[1]s}`, evil))
	r.Header.Set("X-Evil", script)
	r.URL.RawQuery = "<script>alert\u202e"
	w.hear(http.StatusOK, r)
	w.hear(http.StatusOK, hook(webhookSecret, "resource.updated", fmt.Sprintf(`{"id":%s}`, evil)))
	for _, target := range []string{path, "/webhooks", "/"} {
		page := w.page(target)
		if strings.Contains(body(page), "<script>alert") || strings.ContainsRune(page, '\u202e') {
			t.Errorf("%s has the markup:\n%s", target, body(page))
		}
		w.wantAll(page, "&lt;script&gt;alert(1)&lt;/script&gt;")
	}
}

// No page has the secret.
func TestWebhookSecretIsNotShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), withWebhooks)
	path := w.provision("ext1")
	w.hear(http.StatusOK, hook(webhookSecret, "resource.updated", `{"id":"lj-ext1"}`))
	for _, target := range []string{"/", path, "/webhooks", "/users"} {
		if strings.Contains(w.page(target), webhookSecret) {
			t.Errorf("%s has it", target)
		}
	}
	w.wantAll(w.page("/webhooks"), `<code id="endpoint">`+ownURL+`/webhooks</code>`, "FLYIO_WEBHOOK_SECRET")
}

// Very many webhooks fill neither the memory nor the page.
func TestWebhooksAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), withWebhooks)
	path := w.provision("ext1")
	w.hear(http.StatusOK, hook(webhookSecret, "resource.updated", `{"id":"lj-ext1"}`))
	for range 110 {
		w.hear(http.StatusUnauthorized, hook("another", "resource.updated", `{"id":"lj-ext1"}`))
	}
	if got := strings.Count(w.page("/webhooks"), `<li id="r`); got != 100 {
		t.Errorf("%d webhooks are listed", got)
	}
	// The webhook of the extension is still in its history, with its bytes.
	w.wantAll(w.page(path), "resource.updated", "/wire/3/request")
	if rec := w.get("/wire/3/request"); rec.Code != http.StatusOK {
		t.Errorf("its bytes: %d", rec.Code)
	}
	for range 120 {
		w.hear(http.StatusOK, hook(webhookSecret, "resource.updated", `{"id":"lj-ext1"}`))
	}
	if got := strings.Count(w.page(path), `<li id="r`); got != 100 {
		t.Errorf("%d records in the history", got)
	}
	w.post(path+"/forget", nil)
	w.wantAll(w.page("/webhooks"), "Its bytes are no longer kept.", "which flysim does not know")
}

// Machine events in each signed mode, and in the mode that cannot be signed.
func TestEvent(t *testing.T) {
	t.Parallel()
	l := newLogjam()
	w := newWorld(t, l.handler(t, providerBase, ""))
	path := w.provision("ext1")
	for _, mode := range []string{"binary", "structured"} {
		w.post(path+"/event", url.Values{"event_type": {"io.fly.machine.failed"}, "event_machine": {"m1"}, "event_status": {"failed"}, "event_mode": {mode}})
		page := w.page(path)
		w.wantAll(page, "<b>Event</b>", "Received “io.fly.machine.failed”", "POST /flyio/extensions/events", "✓</span> ready", "m1")
	}
	w.post(path+"/event", url.Values{"event_type": {"t"}, "event_data": {` {"machine_id":"m2","deep":[1]} `}, "event_mode": {"structured"}})
	w.post(path+"/event", url.Values{"event_type": {"t"}, "event_data": {`[1]`}, "event_mode": {"structured"}})
	if len(l.events) != 4 || l.events[0].MachineID != "m1" || l.events[1].Status != "failed" || l.events[2].MachineID != "m2" || string(l.events[3].Data) != "[1]" {
		t.Errorf("received %+v", l.events)
	}
	if page := w.page(path); strings.Contains(page, "Waiting until") {
		t.Error("an event started the polling")
	}
	for name, c := range map[string]struct {
		form url.Values
		want string
	}{
		"no type": {url.Values{"event_mode": {"binary"}}, "Enter a type: every event has one."},
		"no JSON": {url.Values{"event_type": {"t"}, "event_data": {"{"}, "event_mode": {"binary"}}, "It is not JSON."},
		"no mode": {url.Values{"event_type": {"t"}, "event_mode": {"pigeon"}}, "There is no such mode."},
		"a batch": {url.Values{"event_type": {"t"}, "event_mode": {"batched"}}, "a batch is an array: it cannot be signed"},
		"a list":  {url.Values{"event_type": {"t"}, "event_data": {"[]"}, "event_mode": {"binary"}}, "Choose structured."},
		"long":    {url.Values{"event_type": {strings.Repeat("t", 501)}, "event_mode": {"binary"}}, "It is longer than 500 characters."},
	} {
		rec := w.do(formRequest(path+"/event", c.form))
		if rec.Code != http.StatusUnprocessableEntity || !strings.Contains(rec.Body.String(), c.want) {
			t.Errorf("%s: %d, no %q in %s", name, rec.Code, c.want, body(rec.Body.String()))
		}
	}
	if len(l.events) != 4 {
		t.Errorf("received %d events", len(l.events))
	}
}

// The page explains the answer to an event.
func TestEventRefused(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		404: "The provider does not receive events", 501: "The provider does not receive events", 409: "Fly.io sends an event again after an error",
		401: "rejects the signature", 500: "Its log should have the reason",
	} {
		w := newWorld(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/events") {
				answering(status, `{"error":"no","message":"No."}`).ServeHTTP(rw, r)
				return
			}
			answering(200, `{"id":"x","config":{}}`).ServeHTTP(rw, r)
		}))
		path := w.provision("ext1")
		w.post(path+"/event", url.Values{"event_type": {"t"}, "event_mode": {"binary"}})
		w.wantAll(w.page(path), want, fmt.Sprintf("Refused with %d no: No.", status), "✓</span> ready")
	}
}

var _ flyext.EventReceiver = (*logjam)(nil)
