package console_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/browsertest"
)

func TestMain(m *testing.M) { os.Exit(browsertest.Main(m)) }

// A site is a listening console, a listening provider and a browser.
type site struct {
	*browsertest.Tab
	t        *testing.T
	url      string // of the console
	base     string // of the provider
	logjam   *logjam
	provider *httptest.Server
}

// newSite starts a site with a console that polls. For a browser, localhost and
// 127.0.0.1 are two sites, like Fly.io and a provider.
func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteBehind(t, func(next http.Handler) http.Handler { return next })
}

func newSiteBehind(t *testing.T, proxy func(http.Handler) http.Handler) *site {
	t.Helper()
	s := &site{t: t, logjam: newLogjam()}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://localhost:" + port

	mux := http.NewServeMux()
	s.provider = httptest.NewServer(mux)
	t.Cleanup(s.provider.Close)
	s.base = s.provider.URL + "/flyio"
	mux.Handle("/flyio/", s.logjam.handler(t, s.base, s.url))

	config := console.Config{
		BaseURL: s.base, Format: flytest.FormatXSignature, Credentials: flytest.Credentials{SigningSecret: signingSecret, BearerToken: bearerToken},
		ClientID: "logjam", ClientSecret: clientSecret, WebhookSecret: webhookSecret, URL: s.url,
		Registration: flytest.Registration{Async: true},
	}
	c, err := console.New(config)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: proxy(c)}
	go server.Serve(listener)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.Close()
	})
	s.Tab = browsertest.New(t) // the last one, so that it is closed first
	return s
}

// post sends a form from outside of the browser, like another window.
func (s *site) post(path string, form url.Values) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusSeeOther {
		s.t.Fatalf("POST %s: %s", path, answer.Status)
	}
	return answer.Header.Get("Location")
}

func (s *site) provision(id, name string) string {
	s.t.Helper()
	return s.post("/extensions", url.Values{"id": {id}, "name": {name}, "customer": {nathan}, "primary_region": {"mad"}, "read_regions": {"fra syd"}, "extra": {`{"plan":"scaler","options":{"public":true}}`}})
}

// tabTo presses Tab until the focus is on want. The focus must be visible at each
// step.
func (s *site) tabTo(want string) {
	s.t.Helper()
	for range 80 {
		s.Press(browsertest.KeyTab)
		f := s.Focused()
		if f.Outline != "solid" || !f.OnScreen {
			s.t.Errorf("the focus is on %s, and is not visible there (outline %s, on the screen: %t)", f, f.Outline, f.OnScreen)
		}
		if f.String() == want {
			return
		}
	}
	s.t.Fatalf("no %s after pressing Tab 80 times", want)
}

// By keyboard alone, a person gets from the first page to the signed bytes. The
// page updates itself.
func TestBrowserByKeyboard(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.logjam.set(func(l *logjam) { l.slow = true })
	s.Open(s.url+"/", http.StatusOK)
	s.Press(browsertest.KeyTab)
	if f := s.Focused(); f.Text != "Skip to content" || !f.OnScreen {
		t.Errorf("Tab leads to %s first", f)
	}
	s.Press(browsertest.KeyEnter)
	if f := s.Focused(); f.ID != "main" {
		t.Errorf("the skip link leads to %s", f)
	}
	s.tabTo("#name")
	s.Press("keyboard-made") // Tab has selected the previous text
	s.tabTo("#customer")
	s.Press("E") // Emmy
	s.tabTo("#provision")
	s.Navigate(func() { s.Press(browsertest.KeyEnter) }, http.StatusOK)
	s.WaitForText("#head", "provisioning")
	if got := s.Text("#facts"); !strings.Contains(got, "0vogzmzoj1k5xp29, member") {
		t.Errorf("provisioned by %s, want Emmy", got)
	}
	s.WaitForText("#history", "Not ready yet")
	if got := s.Text("#terminal-text"); !strings.Contains(got, "Waiting for provisioning to complete") {
		t.Errorf("the output for the customer is %s", got)
	}

	s.logjam.set(func(l *logjam) { l.finished = flyext.Ready })
	s.WaitForText("#head", "ready") // without leaving the page
	s.WaitForText("#terminal-text", "Your Example extension (keyboard-made) is ready.")
	s.WaitForText("#extensions", "✓ ready")
	if got := browsertest.Eval[string](s.Tab, `document.getElementById("latest").textContent`); got != "keyboard-made: It is ready" {
		t.Errorf("a screen reader says %q", got)
	}

	s.tabTo("#secret0-show")
	s.Press(browsertest.KeyEnter)
	if got := s.Text("#secret0"); !strings.Contains(got, "token-of-") {
		t.Errorf("the secret is %q", got)
	}
	first := s.lastSummary()
	s.tabTo("#" + first)
	s.Press(browsertest.KeyEnter)
	for _, want := range []string{"X-Signature:", "LOGJAM_URL", "SIGNATURE BASE", "POST /flyio/extensions", "HTTP/1.1 200 OK", `"name": "keyboard-made"`} {
		if got := s.Text("#history > li:last-child"); !strings.Contains(got, want) {
			t.Errorf("the exchange is %q, want %q in it", got, want)
		}
	}
}

// lastSummary returns the id of the summary of the first exchange.
func (s *site) lastSummary() string {
	return browsertest.Eval[string](s.Tab, `document.querySelector("#history > li:last-child summary").id`)
}

// The page updates itself, and keeps the person's input, focus and scroll
// position.
func TestBrowserKeepsWhatThePersonDoes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.logjam.set(func(l *logjam) { l.slow = true })
	path := s.provision("ext1", "collider-prod")
	s.Open(s.url+path, http.StatusOK)
	s.WaitForText("#history", "Not ready yet")
	s.ClickHere("#update")
	s.ClickHere("#secret0-show")
	s.ClickHere("#history > li:first-child .exchange > summary") // of the poll, which is updated again and again
	s.Fill("#update-form [name=name]", "half-fil")
	scroll := browsertest.Eval[float64](s.Tab, `(scrollTo(0, 320), scrollY)`)
	s.WaitForText("#history", "3 times")
	if f := s.Focused(); f.ID != "name" {
		t.Errorf("the focus went to %s", f)
	}
	s.Press("led")
	browsertest.Eval[bool](s.Tab, `(document.querySelector("#history > li:first-child .exchange > summary").focus({preventScroll: true}), true)`)
	summary := s.Focused().ID
	other := s.provision("ext2", "collider-staging")
	s.WaitForText("#extensions", "collider-staging") // from another window
	s.WaitForText("#history", "5 times")
	if f := s.Focused(); f.ID != summary || summary == "" {
		t.Errorf("the focus went from %s to %s", summary, f)
	}
	for _, open := range []string{".update", "#secret0-shown", "#history > li:first-child .exchange"} {
		if !s.Exists(open + "[open]") {
			t.Errorf("%s is closed", open)
		}
	}
	if got := browsertest.Eval[string](s.Tab, `document.getElementById("name").value`); got != "half-filled" {
		t.Errorf("the form has %q", got)
	}
	if got := browsertest.Eval[float64](s.Tab, "scrollY"); got != scroll {
		t.Errorf("the page scrolled from %v to %v", scroll, got)
	}
	s.post(other+"/deprovision", nil)
	s.WaitForText("#extensions", "− gone")
	s.post(other+"/forget", nil)
	s.WaitUntil(`!document.getElementById("extensions").innerText.includes("collider-staging")`)
}

// The dashboard opens through the provider's single sign-on, for a default user
// and for a new one.
func TestBrowserOpensDashboard(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := s.provision("ext1", "collider-prod")
	s.Open(s.url+path, http.StatusOK)
	s.Click("#dashboard", http.StatusOK)
	if at := s.Location(); !strings.HasPrefix(at, s.url+"/oauth/authorize?") {
		t.Fatalf("the browser is at %s, want the sign-on", at)
	}
	s.Click("#sign-in", http.StatusOK)
	if got := s.Text("body"); !strings.HasPrefix(s.Location(), s.base) || !strings.Contains(got, "Welcome, Nathan") {
		t.Errorf("the browser is at %s: %s", s.Location(), got)
	}

	s.Open(s.url+"/users", http.StatusOK)
	if got := s.Text("#asked"); !strings.Contains(got, "POST /oauth/token") || !strings.Contains(got, "GET /oauth/token/info") {
		t.Errorf("the OAuth requests are %s", got)
	}
	s.ClickHere("#user-0-edit")
	s.Select("#role-0-0", "member")
	s.Click("#save-0", http.StatusOK)
	if got := s.Text("#done"); got != "Nathan is saved." {
		t.Errorf("the page says %q", got)
	}
	s.Open(s.url+path, http.StatusOK)
	s.Click("#dashboard", http.StatusOK)
	s.Click("#sign-in", http.StatusForbidden) // the provider admits only admins

	s.Open(s.url+"/users", http.StatusOK)
	s.ClickHere("#user-new-edit")
	s.Fill("#name-new", "Newton")
	s.Fill("#organization-new-0", "g1lx9my4pzemqwk7")
	s.Select("#role-new-0", "admin")
	s.Click("#save-new", http.StatusOK)
	s.ClickHere("#user-0-edit")
	s.Click("#remove-0", http.StatusOK)
	s.Open(s.url+path, http.StatusOK)
	s.Click("#dashboard", http.StatusOK)
	if got := s.Text("main"); strings.Contains(got, "Nathan") {
		t.Errorf("Nathan is still offered: %s", got)
	}
	s.ClickHere("label:last-of-type input[name=user]")
	s.Click("#sign-in", http.StatusOK)
	if got := s.Text("body"); !strings.Contains(got, "Welcome, Newton") {
		t.Errorf("the provider says %s", got)
	}
}

// withoutScripts removes the script from the pages, like a browser without
// scripts.
func withoutScripts(next http.Handler) http.Handler {
	element := regexp.MustCompile(`(?s)<script>.*?</script>`)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(element.ReplaceAll(rec.Body.Bytes(), nil))
	})
}

func TestBrowserWithoutScripts(t *testing.T) {
	t.Parallel()
	s := newSiteBehind(t, withoutScripts)
	s.Open(s.url+"/", http.StatusOK)
	if s.Exists("script") {
		t.Fatal("there is a script")
	}
	s.Fill("#name", "no-script")
	s.Click("#provision", http.StatusOK)
	if got := s.Text("#head"); !strings.Contains(got, "no-script") || !strings.Contains(got, "ready") {
		t.Errorf("the page says %s", got)
	}
	path := strings.TrimPrefix(s.Location(), s.url)
	s.ClickHere("#secret0-show")
	if got := s.Text("#secrets"); !strings.Contains(got, "token-of-") || strings.Contains(got, "Copy") {
		t.Errorf("the secrets are %q, want no button that does nothing", got)
	}
	s.ClickHere("#update")
	s.Fill("#update-form [name=name]", "renamed")
	s.Click("#send-update", http.StatusOK)
	s.WantPage(s.url+path, "renamed")
	s.Click("#fetch", http.StatusOK)
	s.WantPage(s.url+path, "It is ready")
	s.ClickHere("#event")
	s.Click("#send-event", http.StatusOK)
	s.WantPage(s.url+path, "Received “io.fly.machine.started”")
	if err := s.tell(webhookSecret, "lj-"+strings.TrimPrefix(s.Text("#fact-sent dd"), "lj-"), "asleep"); err != nil {
		t.Fatal(err)
	}
	s.Open(s.url+"/webhooks", http.StatusOK)
	s.WantPage(s.url+"/webhooks", "with the status “asleep”")
	s.Open(s.url+path, http.StatusOK)
	s.Click("#dashboard", http.StatusOK)
	s.Click("#sign-in", http.StatusOK)
	s.Open(s.url+path, http.StatusOK)
	s.ClickHere("#deprovision")
	s.Click("#deprovision-now", http.StatusOK)
	s.WantPage(s.url+path, "Deprovisioned")
	s.Click("#forget", http.StatusOK)
	s.WantPage(s.url+"/", "None yet.")
}

// The buttons of the script: a secret is copied exactly, and a form is sent once
// even if its button is pressed twice.
func TestBrowserButtons(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := s.provision("ext1", "collider-prod")
	s.Open(s.url+path, http.StatusOK)
	browsertest.Eval[bool](s.Tab, `(navigator.clipboard.writeText = async text => { window.copied = text; }, true)`)
	s.ClickHere("#secret0-copy")
	s.WaitForText("#secret0-copy", "Copied")
	if got := browsertest.Eval[string](s.Tab, "copied"); got != "token-of-ext1" {
		t.Errorf("it copied %q", got)
	}
	twice := `(() => {
		const form = document.getElementById("fetch").form, event = () => new SubmitEvent("submit", {bubbles: true, cancelable: true});
		return [form.dispatchEvent(event()), form.dispatchEvent(event())];
	})()`
	if got := browsertest.Eval[[]bool](s.Tab, twice); !got[0] || got[1] {
		t.Errorf("sent: %t; sent again: %t", got[0], got[1])
	}
}

// The provider answers with pages. The browser must not run them.
func TestBrowserRunsNothing(t *testing.T) {
	t.Parallel()
	const evil = `</script></title></style></textarea><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">`
	s := newSite(t)
	for _, path := range []string{s.provision("a", evil), s.provision("b", evil+" taken")} {
		s.Open(s.url+path, http.StatusOK)
		s.WaitForText("h1", "<img src=x")
		s.provision("c", evil) // the script adds it to the page
		s.WaitUntil(`document.querySelectorAll("#extensions li").length >= 2`)
	}
	s.post("/users", url.Values{"was": {""}, "id": {evil}, "name": {evil}, "organization_id": {evil}, "organization_name": {evil}, "role": {evil}, "action": {"save"}})
	_ = s.tell(webhookSecret, evil, evil)
	for _, path := range []string{"/users", "/webhooks", "/"} {
		s.Open(s.url+path, http.StatusOK)
		if browsertest.Eval[bool](s.Tab, `"hacked" in window || document.querySelector("main img") !== null`) {
			t.Errorf("%s was hacked", path)
		}
	}
}

// An extension that another window removes disappears from this window.
func TestBrowserLosesExtension(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := s.provision("ext1", "collider-taken")
	s.Open(s.url+path, http.StatusOK)
	s.WaitForText("#head", "not provisioned")
	s.Navigate(func() { s.post(path+"/forget", nil) }, http.StatusNotFound)
	s.WantComplaint("404") // of the script's request
	s.WantPage(s.url+path, "There is no such extension")
}
