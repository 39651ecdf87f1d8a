package console_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/flyext/flyext/internal/browsertest"
	"github.com/flyext/flyext/internal/readings"
)

// TestBrowserDebugger: from a request of the feed to the reason why a receiver
// refuses it.
func TestBrowserDebugger(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.provision("ext1", "collider-prod")
	s.Open(s.url+"/requests", http.StatusOK)
	s.Click("#feed > li:last-child a", http.StatusOK)
	s.Click("#explain", http.StatusOK)
	s.WantPage(s.url+"/requests/2/explain", "Signature debugger")
	s.Click("#explain", http.StatusOK)
	s.WantPage(s.url+"/debugger", "The signature is right")
	s.WaitUntil(`document.activeElement.id === "verdict"`)

	// A wrong secret.
	s.Fill("#secret", "another-secret")
	s.Click("#explain", http.StatusOK)
	s.WantPage(s.url+"/debugger", "A receiver refuses this request")
	if got := s.Text("#findings"); !strings.Contains(got, "Either the secret differs (the one used here has 14 bytes)") {
		t.Errorf("the findings are %s", got)
	}
	if got := browsertest.Eval[string](s.Tab, `document.getElementById("secret").value + document.documentElement.outerHTML`); strings.Contains(got, "another-secret") {
		t.Error("the page has the secret")
	}

	// A receiver that verifies re-serialized JSON. Its bytes are pasted.
	body := s.sentBody()
	for _, reading := range readings.All(readings.Request{Content: []byte(body), Secret: signingSecret}) {
		if reading.ID == "json-dumps" {
			s.Fill("#pasted", string(reading.Base))
		}
	}
	s.Click("#explain", http.StatusOK)
	s.WantPage(s.url+"/debugger", "The signature is right")
	if got := s.Text("#findings"); !strings.Contains(got, "re-serialized JSON, as Python's json.dumps writes it") {
		t.Errorf("the findings are %s", got)
	}
	if got := s.Text("#difference"); !strings.Contains(got, "0x22") || !strings.Contains(got, "0x20") || !strings.Contains(got, "line 1, column") {
		t.Errorf("the difference is %s", got)
	}
	if got := s.Text("#base-text"); got != body {
		t.Errorf("the signed bytes are %q, want %q", got, body)
	}
	s.Fill("#pasted", body)
	s.Click("#explain", http.StatusOK)
	s.WantPage(s.url+"/debugger", "Your code signs the right bytes.")
}

// sentBody returns the body in the form's capture.
func (s *site) sentBody() string {
	s.t.Helper()
	_, body, ok := strings.Cut(browsertest.Eval[string](s.Tab, `document.getElementById("capture").value`), "\n\n")
	if !ok {
		s.t.Fatal("the capture has no body")
	}
	return body
}

// TestBrowserDebuggerByKeyboard: without a script and without a mouse, from the
// navigation to the reason.
func TestBrowserDebuggerByKeyboard(t *testing.T) {
	t.Parallel()
	s := newSiteBehind(t, withoutScripts)
	s.Open(s.url+"/", http.StatusOK)
	s.tabTo(`a "Debugger"`)
	s.Navigate(func() { s.Press(browsertest.KeyEnter) }, http.StatusOK)
	s.WantPage(s.url+"/debugger", "Signature debugger")
	s.tabTo("#explain")
	s.Navigate(func() { s.Press(browsertest.KeyEnter) }, http.StatusUnprocessableEntity)
	s.WantComplaint("422")
	s.WaitUntil(`document.activeElement.id === "errors"`)
	s.tabTo(`a "Captured request"`)
	s.Press(browsertest.KeyEnter)
	if f := s.Focused(); f.ID != "capture" {
		t.Errorf("the error leads to %s", f)
	}
	s.Press("POST /flyio/extensions HTTP/1.1\rHost: logjam.io\rX-Signature: 00\r\r{}")
	s.tabTo("#secret")
	s.Press("of-mine")
	s.tabTo("#pasted")
	s.Press("{ }")
	s.tabTo("#explain")
	s.Navigate(func() { s.Press(browsertest.KeyEnter) }, http.StatusOK)
	s.WantPage(s.url+"/debugger", "Either the secret differs (the one used here has 7 bytes)")
	if got := s.Text("#place"); got != "Offset 1: line 1, column 2." {
		t.Errorf("the first byte that differs is at %q", got)
	}
}
