package console_test

import (
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/readings"
)

// debug sends the debugger's form, and returns the page.
func (w *world) debug(status int, form url.Values) string {
	w.t.Helper()
	rec := w.do(formRequest("/debugger", form))
	if rec.Code != status {
		w.t.Fatalf("POST /debugger: %d %s", rec.Code, body(rec.Body.String()))
	}
	return rec.Body.String()
}

// filled returns the debugger's form for a request of the feed, as a browser
// sends it.
func (w *world) filled(n string) url.Values {
	w.t.Helper()
	return formOf(w.page("/requests/" + n + "/explain"))
}

var (
	areas    = regexp.MustCompile(`(?s)<textarea id="(\w+)"[^>]*>\n(.*?)</textarea>`)
	inputs   = regexp.MustCompile(`<input id="(\w+)" name="\w+" value="([^"]*)"`)
	selected = regexp.MustCompile(`<option value="(\w+)" selected>`)
)

func formOf(page string) url.Values {
	form := url.Values{}
	for _, found := range areas.FindAllStringSubmatch(page, -1) {
		text := strings.ReplaceAll(html.UnescapeString(found[2]), "\r\n", "\n") // as HTML parsers do
		form.Set(found[1], strings.ReplaceAll(text, "\n", "\r\n"))
	}
	for _, found := range inputs.FindAllStringSubmatch(page, -1) {
		form.Set(found[1], html.UnescapeString(found[2]))
	}
	if found := selected.FindStringSubmatch(page); found != nil {
		form.Set("secret_of", found[1])
	}
	return form
}

// TestDebuggerOwnRequests: each signed request of the feed opens in the form, and
// its signature is right.
func TestDebuggerOwnRequests(t *testing.T) {
	t.Parallel()
	for _, format := range []flytest.Format{flytest.FormatXSignature, flytest.FormatRFC9421, flytest.FormatCavage} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, newLogjam().handler(t, providerBase, ""), withWebhooks, func(c *console.Config) {
				c.Format, c.Credentials.BearerToken = format, bearerToken
			})
			path := w.provision("ext1")
			w.post(path+"/update", url.Values{"name": {"ünïcode & <b>"}})
			w.post(path+"/fetch", nil)
			for _, mode := range []string{"binary", "structured"} {
				w.post(path+"/event", url.Values{"event_type": {"io.fly.machine.started"}, "event_machine": {"m"}, "event_status": {"started"}, "event_mode": {mode}})
			}
			w.hear(http.StatusOK, hook(webhookSecret, "resource.updated", `{"id":"lj-ext1","status":"asleep"}`))
			w.post(path+"/deprovision", nil)
			links := regexp.MustCompile(`id="q(\d+)"`).FindAllStringSubmatch(w.page("/requests"), -1)
			if len(links) != 7 {
				t.Fatalf("%d requests, want 7", len(links))
			}
			for _, link := range links {
				w.wantAll(w.page("/requests/"+link[1]), `id="explain" href="/requests/`+link[1]+`/explain"`)
				form := w.filled(link[1])
				page := w.debug(http.StatusOK, form)
				w.wantAll(page, "✓</span> The signature is right", `id="base-text"`, `id="expected"`, `aria-current="true">Debugger</a>`)
				if again := formOf(page); again.Encode() != form.Encode() {
					t.Errorf("the form had %q, and has %q", form, again)
				}
			}
		})
	}
}

// TestDebuggerAnswers: the page has the format, the reading, the findings, the
// signed bytes, the right signature and the first byte that differs.
func TestDebuggerAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), withWebhooks)
	w.provision("ext1")
	w.hear(http.StatusUnauthorized, hook("another secret", "resource.deleted", `{"id":"lj-ext1"}`))
	sent := w.get("/wire/2/request").Body.String()
	form := w.filled("2")
	right := readings.Right(readings.Request{Content: []byte(sent), Secret: signingSecret})
	var python readings.Reading
	for _, r := range readings.All(readings.Request{Content: []byte(sent), Secret: signingSecret}) {
		if r.ID == "json-dumps" {
			python = r
		}
	}
	head, _, _ := strings.Cut(form.Get("capture"), "\r\n\r\n")
	withoutLength := regexp.MustCompile("Content-Length: .*\r\n").ReplaceAllString(form.Get("capture"), "")
	curl := "* Connected\r\n> " + strings.ReplaceAll(head, "\r\n", "\r\n> ") + "\r\n> \r\n< HTTP/1.1 401 Unauthorized\r\n"
	with := func(pairs ...string) url.Values {
		changed := url.Values{}
		for name, values := range form {
			changed[name] = values
		}
		for i := 0; i < len(pairs); i += 2 {
			changed.Set(pairs[i], pairs[i+1])
		}
		return changed
	}
	for _, c := range []struct {
		name string
		form url.Values
		want []string
	}{
		{"right", form, []string{"The signature is right", `<dd id="format">X-Signature</dd>`, `<dd id="reading">The raw bytes of the body</dd>`,
			`<code id="expected">` + right + `</code>`, "HMAC-SHA256 under the signing secret of flysim.", html.EscapeString(`"name":"collider-ext1"`)}},
		{"curl -v and the body", with("capture", curl, "body", sent), []string{"The signature is right"}},
		{"curl -v without the body", with("capture", curl), []string{
			`<div class="notice wait" id="verdict"`, "Cannot be judged: the capture lacks the body", "the capture has no body; paste it into the field Body.", `<dd id="reading">Unknown without the body</dd>`}},
		{"a newline of the capture", with("capture", withoutLength+"\r\n"), []string{
			`<div class="notice good" id="verdict"`, "The signature fits; the capture changed the body", "which the capture has added", `<code id="expected">` + right + `</code>`}},
		{"upper-case digits", with("capture", strings.Replace(form.Get("capture"), right, strings.ToUpper(right), 1)), []string{"✓</span> The signature is right", "in upper-case hex digits"}},
		{"HAR", with("capture", w.get("/requests/2/har").Body.String()), []string{"The signature is right"}},
		{"another secret", with("secret", "a-secret-of-mine"), []string{"A receiver refuses this request", "Either the secret differs (the one used here has 16 bytes)", `<dd id="reading">No known reading</dd>`,
			"HMAC-SHA256 under the secret from the form."}},
		{"the sender re-serializes", with("capture", strings.Replace(form.Get("capture"), right, python.Signature, 1)), []string{
			"A program that verifies re-serialized JSON, as Python&#39;s json.dumps writes it", "Bytes that the sender signed instead"}},
		{"the receiver re-serializes", with("pasted", string(python.Base)), []string{"The signature is right", "First byte that differs", "line 1, column",
			"<b>0x22</b>", "<b>0x20</b>", "Your text is that of a program that verifies re-serialized JSON"}},
		{"the pasted bytes are right", with("pasted", sent), []string{"None. Your code signs the right bytes."}},
		{"the pasted bytes have a newline", with("pasted", sent+"\r\n"), []string{"plus a newline at the end"}},
		{"another base URL", with("base_url", "https://elsewhere.example"), []string{"the base URL is for https://elsewhere.example"}},
		{"later", with("at", "2100-01-01T00:00:00Z"), []string{"and a provider accepts 5 minutes"}},
		{"no signature", url.Values{"capture": {"GET / HTTP/1.1\r\nHost: x\r\n\r\n"}}, []string{`<dd id="format">No signature</dd>`, "A proxy may have removed the header."}},
		{"a webhook under another secret", w.filled("3"), []string{"A receiver refuses this request", "HMAC-SHA256 under the webhook secret of flysim."}},
		{"markup", with("capture", "POST /"+script+" HTTP/1.1\r\nHost: x\r\nX-Signature: "+script+"\r\n\r\n"+script, "pasted", script+"x"), []string{"&lt;script&gt;alert(1)&lt;/script&gt;"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			page := w.debug(http.StatusOK, c.form)
			w.wantAll(page, c.want...)
			if c.form.Get("pasted") == "" && strings.Contains(page, "First byte that differs") {
				t.Error("an empty field is compared")
			}
			if strings.Contains(body(page), script) {
				t.Error("the page has the markup of the capture")
			}
		})
	}
}

// TestDebuggerKeepsSecrets: no page shows a secret of flysim or of the form.
func TestDebuggerKeepsSecrets(t *testing.T) {
	t.Parallel()
	const own = "the-secret-of-the-form"
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), withWebhooks)
	w.provision("ext1")
	right := w.filled("2")
	for _, capture := range []string{"", "nonsense", right.Get("capture")} {
		for _, secret := range []string{"", own, own + " "} {
			for _, of := range []string{"signing", "webhook", "other"} {
				rec := w.do(formRequest("/debugger", url.Values{"capture": {capture}, "secret": {secret}, "secret_of": {of}, "pasted": {"x"}}))
				for _, hidden := range []string{own, signingSecret, webhookSecret} {
					if strings.Contains(rec.Body.String(), hidden) {
						t.Errorf("the page has the secret %s:\n%s", hidden, body(rec.Body.String()))
					}
				}
			}
		}
	}
	if strings.Contains(w.log.String(), own) {
		t.Errorf("the log has the secret:\n%s", w.log)
	}
}

func TestDebuggerMistakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	w.wantAll(w.page("/debugger"), "<h1>Signature debugger</h1>", `value="`+providerBase+`"`, `name="secret" type="password"`)
	if strings.Contains(w.page("/debugger"), "Webhook secret of flysim") {
		t.Error("the page offers a webhook secret, but flysim has no webhook secret")
	}
	for _, c := range []struct {
		form url.Values
		want string
	}{
		{nil, `<a href="#capture">Captured request</a>: Paste a request.`},
		{url.Values{"capture": {"nonsense"}}, "The first line is not a request line such as POST /flyio/extensions HTTP/1.1."},
		{url.Values{"capture": {"GET / HTTP/1.1\r\n\r\n"}, "base_url": {"logjam.io"}}, "Start it with http:// or https://, followed by the host."},
		{url.Values{"capture": {"GET / HTTP/1.1\r\n\r\n"}, "at": {"yesterday"}}, "Write a time such as 2026-01-31T12:00:00Z."},
		{url.Values{"capture": {"GET / HTTP/1.1\r\n\r\n"}, "base_url": {"http://" + strings.Repeat("x", 600)}}, "It is longer than 500 characters."},
	} {
		page := w.debug(http.StatusUnprocessableEntity, c.form)
		w.wantAll(page, "Correct these fields", c.want)
		if strings.Contains(page, `id="answer"`) {
			t.Errorf("%v: there is an answer", c.form)
		}
	}
	if rec := w.get("/requests/77/explain"); rec.Code != http.StatusNotFound {
		t.Errorf("a request that does not exist: %d", rec.Code)
	}
	w.provision("ext1")
	for range 310 {
		w.post("/extensions/1/fetch", nil)
	}
	if rec := w.get("/requests/2/explain"); rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "Its bytes are no longer kept.") {
		t.Errorf("a request without its bytes: %d", rec.Code)
	}
}

// TestDebuggerMasked: the signature of a request from the history cannot be
// verified if its secrets are masked, and the page says so.
func TestDebuggerMasked(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	provider := newLogjam().handler(t, providerBase, "")
	w := newWorld(t, provider, withData(dir))
	w.post("/extensions", url.Values{"id": {"ext1"}, "name": {"collider"}, "customer": {nathan}, "extra": {`{"password":"hunter2"}`}})
	w = newWorld(t, provider, withData(dir))
	const warning = "This request cannot be verified here"
	w.wantAll(w.page("/requests/2/explain"), warning, "Secrets are masked in this request", "[masked]")
	page := w.debug(http.StatusOK, w.filled("2"))
	w.wantAll(page, warning, "The text contains [masked], so the signature cannot be verified.")
	if strings.Contains(page, "read from the history") {
		t.Error("the page says that a pasted text was read from the history")
	}
	if strings.Contains(page, `id="answer"`) {
		t.Errorf("there is an answer:\n%s", body(page))
	}
	w.post("/extensions", url.Values{"id": {"ext2"}, "name": {"[masked]"}, "customer": {nathan}})
	w.wantAll(w.debug(http.StatusOK, w.filled("4")), "The signature is right")
}

// TestDebuggerBytes: a body that a form cannot hold has a warning.
func TestDebuggerBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""), withWebhooks)
	for i, text := range []string{"\xff", "{\r\n}"} {
		w.hear(http.StatusUnprocessableEntity, signed(webhookSecret, text))
		w.wantAll(w.page("/requests/"+[]string{"1", "2"}[i]+"/explain"), "The body has bytes that a form changes")
	}
}

// TestDebuggerSizes: a form may be larger than the others, because its escapes take
// more room than its text. A field that is too large is kept on the page.
func TestDebuggerSizes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	capture := func(size int) string {
		const head = "POST /flyio/extensions HTTP/1.1\r\nX-Signature: 00\r\n\r\n"
		return head + strings.Repeat("{", size-len(head)+3) // each newline of the head counts once
	}
	const most = 512 << 10
	w.wantAll(w.debug(http.StatusOK, url.Values{"capture": {capture(most)}}), "A receiver refuses this request")
	for _, name := range []string{"capture", "body", "pasted"} {
		form := url.Values{"capture": {capture(100)}}
		form.Set(name, capture(most+1))
		page := w.debug(http.StatusUnprocessableEntity, form)
		w.wantAll(page, "It is larger than 512 KiB. Run flysim explain with a file.")
		if formOf(page).Get(name) != form.Get(name) {
			t.Errorf("%s is lost", name)
		}
	}
	rec := w.do(formRequest("/debugger", url.Values{"capture": {capture(most * 3 / 2)}}))
	if rec.Code != http.StatusRequestEntityTooLarge || !strings.Contains(rec.Body.String(), "A form may have 2048 KiB. Go back") {
		t.Errorf("a form of more than 2 MiB: %d", rec.Code)
	}
	if rec := w.do(formRequest("/users", url.Values{"x": {strings.Repeat("x", 300<<10)}})); rec.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("another form of 300 KiB: %d", rec.Code)
	}
	large, err := json.Marshal(map[string]any{
		"method": "POST", "url": providerBase + "/extensions", "target": "/flyio/extensions", "status": 413, "request_body": []byte(strings.Repeat("x", most)),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.report(string(large))
	w.wantAll(w.page("/requests/1/explain"), "The request is larger than 512 KiB, so this form cannot be sent.")
}

// TestDebuggerBase: for a request that another command reported, the base URL is that
// of the command.
func TestDebuggerBase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	n := 0
	for sent, want := range map[string]string{
		providerBase + "/extensions/x":                      providerBase,
		providerBase + "/other":                             providerBase,
		providerBase + "?x=y":                               providerBase,
		"https://other.example/api/extensions/x/sso?a=b":    "https://other.example/api",
		"https://other.example/api/extensions":              "https://other.example/api",
		"https://other.example/extensions/extensions/x":     "https://other.example/extensions",
		"http://127.0.0.1:8080/a%2Fb/extensions?a=b":        "http://127.0.0.1:8080/a%2Fb",
		"https://other.example/organizations/m/extensions2": "https://other.example",
		"https://other.example":                             "https://other.example",
	} {
		_, target, _ := strings.Cut(strings.Replace(sent, "://", "", 1), "/")
		w.report(`{"method":"POST","url":"` + sent + `","target":"/` + target + `","status":200}`)
		n++
		if got := w.filled(strconv.Itoa(n)).Get("base_url"); got != want {
			t.Errorf("%s: the base URL is %s, want %s", sent, got, want)
		}
	}
}

// A link to the debugger does not fill the form: a GET has no answer.
func TestDebuggerByLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newLogjam().handler(t, providerBase, ""))
	page := w.page("/debugger?" + url.Values{"capture": {"GET / HTTP/1.1\r\nX-Signature: 00\r\n\r\n"}}.Encode())
	if strings.Contains(page, "X-Signature: 00") || strings.Contains(page, `id="answer"`) {
		t.Errorf("the page is %s", body(page))
	}
	// The query of a POST does not count as the form.
	r := httptest.NewRequest(http.MethodPost, ownURL+"/debugger?capture=GET+/+HTTP/1.1", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if rec := w.do(r); rec.Code != http.StatusUnprocessableEntity {
		t.Errorf("a form in the query: %d", rec.Code)
	}
}
