package console_test

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/flyext/flyext/internal/browsertest"
	"github.com/flyext/flyext/internal/programtest"
)

// countRows counts the requests on the page of the feed.
func (s *site) countRows() int {
	return browsertest.Eval[int](s.Tab, `document.querySelectorAll("#feed > li:not(.none)").length`)
}

// The feed shows each request at once, the newest first.
func TestBrowserFeed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Open(s.url+"/requests", http.StatusOK)
	s.WantPage(s.url+"/requests", "No requests yet.")
	path := s.provision("ext1", "collider-prod")
	s.WaitForText("#feed > li:first-child", "POST /flyio/extensions") // without a reload
	s.post(path+"/event", map[string][]string{"event_type": {"io.fly.machine.started"}, "event_mode": {"binary"}})
	s.WaitForText("#feed > li:first-child", "Event")
	if err := s.tell(webhookSecret, "lj-ext1", "asleep"); err != nil {
		t.Fatal(err)
	}
	s.WaitForText("#feed > li:first-child", "Webhook")

	dashboard := s.Another()
	dashboard.Open(s.url+path, http.StatusOK)
	dashboard.Click("#dashboard", http.StatusOK)
	dashboard.Click("#sign-in", http.StatusOK)
	s.WaitForText("#feed", "GET /oauth/token/info")
	s.WaitForText("#feed", "Access token issued")

	// The row with the focus stays while the list grows.
	s.post(path+"/fetch", nil)
	s.WaitForText("#feed > li:first-child", "GET /flyio/extensions/lj-ext1")
	s.Click("#feed > li:first-child a", http.StatusOK)
	for _, want := range []string{"X-Signature:", "SIGNATURE BASE", "Hex", "Base64", "Resend", "200 OK"} {
		if got := s.Text("main"); !strings.Contains(got, want) {
			t.Errorf("the request's page is %q, want %q in it", got, want)
		}
	}
}

func TestBrowserFilter(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.provision("ext1", "collider-prod")
	s.provision("ext2", "collider-taken")
	s.post(first+"/fetch", nil)
	_ = s.tell(webhookSecret, "lj-ext1", "asleep")
	for _, test := range []struct {
		query string
		want  int
	}{
		{"", 4}, {"?kind=webhook", 1}, {"?kind=provider+call", 3}, {"?status=4xx", 1}, {"?status=409", 1}, {"?status=ok", 3}, {"?status=failed", 1},
		{"?q=collider-TAKEN", 1}, {"?q=x-signature", 4}, {"?q=no+such+text", 0}, {"?extension=1", 3}, {"?extension=1&kind=provider+call&q=GET+/flyio", 1}, {"?status=none", 0},
	} {
		s.Open(s.url+"/requests"+test.query, http.StatusOK)
		if got := s.countRows(); got != test.want {
			t.Errorf("%s: %d requests, want %d: %s", test.query, got, test.want, s.Text("#feed"))
		}
	}
	s.Open(s.url+"/requests", http.StatusOK)
	s.Fill("#q", "GET /flyio")
	s.Click("#apply", http.StatusOK)
	if got := s.countRows(); got != 1 {
		t.Errorf("%d requests after typing a text", got)
	}
	s.post(first+"/fetch", nil)
	s.WaitUntil(`document.querySelectorAll("#feed > li").length === 2`) // the filter also applies to new requests
	s.Click("#clear", http.StatusOK)
	s.Navigate(func() { s.Select("#status", "failed") }, http.StatusOK)
	if got := s.countRows(); got != 1 {
		t.Errorf("%d failed requests", got)
	}
}

// A request is sent again: with a fresh signature, with the same bytes, and with
// changes.
func TestBrowserResends(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := s.provision("ext1", "collider-prod")
	s.post(path+"/fetch", nil)
	s.Open(s.url+path, http.StatusOK)
	s.Click("#last-open", http.StatusOK)
	s.Click("#resend", http.StatusOK)
	if got := s.Text("#result"); !strings.Contains(got, "Resent: It is ready") && !strings.Contains(got, "Resent: Fetched") {
		t.Errorf("resent: %q", got)
	}
	if got := s.Text("#diff"); !strings.Contains(got, "Same status and body") {
		t.Errorf("the difference is %q", got)
	}
	s.Click("#replay", http.StatusOK)
	if got := s.Text("#result"); !strings.Contains(got, "refused, as required") || !strings.Contains(got, "401") {
		t.Errorf("the same bytes again: %q", got)
	}
	if got := s.Text("#diff"); !strings.Contains(got, "- status 200") || !strings.Contains(got, "+ status 401") {
		t.Errorf("the difference is %q", got)
	}

	// A POST has the parameters of the signature in its body. They are removed
	// and added again.
	s.Open(s.url+"/requests?q=POST+/flyio/extensions", http.StatusOK)
	s.Click("#feed > li:first-child a", http.StatusOK)
	s.Click("#resend", http.StatusOK)
	if got := s.Text("#result"); !strings.Contains(got, "Resent: Provisioned, with 2 secrets") {
		t.Errorf("resent: %q", got)
	}
	s.Click("#edit", http.StatusOK)
	if got := browsertest.Eval[string](s.Tab, `edit_body.value`); strings.Contains(got, "nonce") || !strings.Contains(got, `"collider-prod"`) {
		t.Errorf("the form has %s", got)
	}
	s.Fill("#edit_body", `{"id":"ext9","name":"edited","organization_id":"o9"}`)
	s.Click("#send-edited", http.StatusOK)
	if got := s.Text("#result"); !strings.Contains(got, "Resent: Provisioned") {
		t.Errorf("edited: %q", got)
	}
	var name string
	s.logjam.set(func(l *logjam) { name = l.streams["ext9"].Name })
	if name != "edited" {
		t.Errorf("the provider has made %q", name)
	}
	s.Click("#edit", http.StatusOK)
	s.Fill("#edit_path", "@evil.example/")
	s.Click("#send-edited", http.StatusUnprocessableEntity)
	s.WantPage(s.url+strings.TrimPrefix(s.Location(), s.url), "It must begin with a slash.")
}

// The curl command is run, and sends a request like Fly.io's.
func TestBrowserCurl(t *testing.T) {
	t.Parallel()
	programtest.Path(t, "curl", "curl")
	s := newSite(t)
	s.provision("it's", "a 'quoted' \"name\" $HOME `id` \\")
	s.Open(s.url+"/requests", http.StatusOK)
	s.Click("#feed > li:first-child a", http.StatusOK)
	browsertest.Eval[bool](s.Tab, `(navigator.clipboard.writeText = async text => { window.copied = text; }, true)`)
	s.ClickHere("#copy-curl")
	s.WaitForText("#copy-curl", "Copied")
	command := browsertest.Eval[string](s.Tab, "copied")
	s.logjam.set(func(l *logjam) { delete(l.streams, "it's") })
	out, err := exec.CommandContext(t.Context(), "sh", "-c", command).Output()
	if err != nil || !strings.Contains(string(out), "200 OK") || !strings.Contains(string(out), "LOGJAM_URL") {
		t.Errorf("%s\nprinted %s (%v)", command, out, err)
	}
	var name string
	s.logjam.set(func(l *logjam) { name = l.streams["it's"].Name })
	if name != "a 'quoted' \"name\" $HOME `id` \\" {
		t.Errorf("the provider was asked for %q", name)
	}
	out, err = exec.CommandContext(t.Context(), "sh", "-c", command).Output()
	if err != nil || !strings.Contains(string(out), "401") {
		t.Errorf("a second run printed %s (%v)", out, err)
	}
}

// The HAR file has the request and the answer.
func TestBrowserHAR(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := s.provision("ext1", "collider-prod")
	s.post(path+"/fetch", nil)
	s.Open(s.url+"/requests?q=GET+/flyio", http.StatusOK)
	href := browsertest.Eval[string](s.Tab, `document.getElementById("export").href`)
	text := browsertest.Eval[string](s.Tab, `fetch(document.getElementById("export").href).then(a => a.text())`)
	var har struct {
		Log struct {
			Version string
			Entries []struct {
				StartedDateTime string
				Request         struct {
					Method, URL string
					Headers     []struct{ Name, Value string }
				}
				Response struct {
					Status  int
					Content struct{ Text string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &har); err != nil {
		t.Fatalf("%s: %v", href, err)
	}
	if har.Log.Version != "1.2" || len(har.Log.Entries) != 1 {
		t.Fatalf("version %s, %d entries", har.Log.Version, len(har.Log.Entries))
	}
	e := har.Log.Entries[0]
	if e.Request.Method != "GET" || !strings.HasPrefix(e.Request.URL, s.base+"/extensions/lj-ext1?") || e.Response.Status != 200 || !strings.Contains(e.Response.Content.Text, "LOGJAM_URL") || e.StartedDateTime == "" {
		t.Errorf("the entry is %+v", e)
	}
}

// JSON can be folded, also with the keyboard.
func TestBrowserFolds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.provision("ext1", "collider-prod")
	s.Open(s.url+"/requests", http.StatusOK)
	s.Click("#feed > li:first-child a", http.StatusOK)
	shown := `document.querySelector(".json .inside").checkVisibility()`
	browsertest.Eval[bool](s.Tab, `(document.querySelector(".json summary").focus(), true)`)
	s.WaitUntil(shown)
	s.Press(browsertest.KeyEnter)
	s.WaitUntil("!" + shown)
	if !s.Exists(".json .string") || !s.Exists(".json .key") {
		t.Error("the JSON has no colours")
	}
}
