package console_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/browsertest"
)

// tell sends a webhook as a provider does, and returns the error.
func (s *site) tell(secret, id string, status flyext.Status) error {
	s.t.Helper()
	hooks, err := flyext.NewWebhooks(flyext.WebhookConfig{
		ProviderName: "logjam", Secret: secret, Endpoint: s.url + "/webhooks", Attempts: 1,
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if status == "" {
		return hooks.Deleted(context.Background(), &flyext.Extension{ID: id})
	}
	return hooks.Updated(context.Background(), &flyext.Extension{ID: id, Status: status})
}

// A webhook appears on its pages without a reload. A forged webhook is marked as
// refused.
func TestBrowserWebhooks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := s.provision("ext1", "collider-prod")
	s.Open(s.url+path, http.StatusOK)
	s.WaitForText("#head", "ready")
	if err := s.tell(webhookSecret, "lj-ext1", "asleep"); err != nil {
		t.Fatal(err)
	}
	s.WaitForText("#head", "asleep")
	s.WaitForText("#history", "resource.updated, with the status “asleep”")
	s.WaitForText("#extensions", "• asleep")
	if got := browsertest.Eval[string](s.Tab, `document.getElementById("latest").textContent`); !strings.HasPrefix(got, "collider-prod: resource.updated") {
		t.Errorf("a screen reader says %q", got)
	}
	s.ClickHere("#history > li:first-child .exchange > summary")
	if got := s.Text("#history > li:first-child"); !strings.Contains(got, "X-Signature:") || !strings.Contains(got, `"status": "asleep"`) {
		t.Errorf("the exchange is %s", got)
	}

	s.Click(`nav[aria-label="Main"] a[href="/webhooks"]`, http.StatusOK)
	s.WantPage(s.url+"/webhooks", "asleep")
	if err := s.tell("another secret", "lj-ext1", ""); err == nil {
		t.Error("a forged webhook is accepted")
	}
	s.WaitForText("#webhooks", "Refused: X-Signature is not the HMAC-SHA256 of the body")
	if s.Exists("#webhooks > li:first-child.bad") != true {
		t.Error("it looks like one that was accepted")
	}
	if err := s.tell(webhookSecret, "lj-ext1", ""); err != nil {
		t.Fatal(err)
	}
	s.WaitForText("#webhooks", "resource.deleted")
	s.Click("#webhooks > li:first-child .about a", http.StatusOK)
	s.WaitForText("#head", "gone")
	if got := s.Text("#history"); strings.Contains(got, "Refused") {
		t.Errorf("the history has the forged one: %s", got)
	}
}

// A person sends a machine event by keyboard alone.
func TestBrowserSendsEvent(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Open(s.url+s.provision("ext1", "collider-prod"), http.StatusOK)
	s.tabTo("#event")
	s.Press(browsertest.KeyEnter)
	s.tabTo("#event_status")
	s.Press("exhausted")
	s.tabTo("#event_mode")
	s.Press("b") // batched, past binary
	s.tabTo("#send-event")
	s.Navigate(func() { s.Press(browsertest.KeyEnter) }, http.StatusUnprocessableEntity)
	s.WantComplaint("422")
	if f := s.Focused(); f.ID != "errors" {
		t.Errorf("the focus is on %s", f)
	}
	if got := s.Text("#errors"); !strings.Contains(got, "a batch is an array") {
		t.Errorf("the page says %s", got)
	}
	s.Select("#event_mode", "structured")
	s.Click("#send-event", http.StatusOK)
	s.WaitForText("#history", "Received “io.fly.machine.started”")
	s.logjam.set(func(l *logjam) {
		if len(l.events) != 1 || l.events[0].Status != "exhausted" {
			t.Errorf("received %+v", l.events)
		}
	})
}
