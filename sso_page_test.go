package flyext_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

func TestRefusalPage(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	b.accept = "text/html,application/xhtml+xml,*/*;q=0.8"
	p := b.get(ssoBase + "/callback?state=x&code=y")
	if p.status != http.StatusBadRequest || p.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("got %d %s", p.status, p.header.Get("Content-Type"))
	}
	for _, want := range []string{
		"<!doctype html>", `<html lang="en">`, `name="viewport"`, "color-scheme: light dark", "Start again from flyctl.",
		flyext.CodeInvalidState, p.header.Get("X-Request-Id"),
	} {
		if !strings.Contains(p.body, want) {
			t.Errorf("the page lacks %q:\n%s", want, p.body)
		}
	}
	if strings.Contains(p.body, "<script") {
		t.Error("the page has a script")
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(p.body)
	if style == nil {
		t.Fatal("the page has no style sheet")
	}
	sum := sha256.Sum256([]byte(style[1]))
	if hash := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(p.header.Get("Content-Security-Policy"), hash) {
		t.Errorf("the policy does not allow the style sheet %s: %s", hash, p.header.Get("Content-Security-Policy"))
	}
}

func TestRefusalPageEscapes(t *testing.T) {
	t.Parallel()
	const evil = `<img src=x onerror=alert(1)>"'&`
	st := newSSOTest(t, func(s *flyext.SSOConfig) {
		s.OrganizationOf = func(context.Context, string) (string, error) {
			return "", &flyext.Error{Status: 404, Code: evil, Message: "No such stream: " + evil}
		}
	})
	b := st.browser()
	b.accept = "text/html"
	p := b.get(ssoBase + "/extensions/x1/sso")
	if strings.Contains(p.body, "<img") || strings.Count(html.UnescapeString(p.body), evil) != 2 {
		t.Errorf("the page does not escape the text:\n%s", p.body)
	}
}

func TestAccept(t *testing.T) {
	t.Parallel()
	for accept, wantJSON := range map[string]bool{
		"":                 false,
		"*/*":              false,
		"text/html":        false,
		"application/json": true,
		"application/json; charset=utf-8, */*;q=0.1":                      true,
		"text/html, application/json;q=0.5":                               false,
		"text/html;q=0.5, application/json":                               true,
		"application/json;q=0":                                            false,
		"APPLICATION/JSON":                                                true,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": false,
		";;, application/json":                                            true,
	} {
		st := newSSOTest(t)
		b := st.browser()
		b.accept = accept
		p := b.get(ssoBase + "/callback")
		if gotJSON := p.header.Get("Content-Type") == "application/json"; gotJSON != wantJSON || p.status != http.StatusBadRequest {
			t.Errorf("Accept: %s: got %d %s", accept, p.status, p.header.Get("Content-Type"))
		}
		if p.header.Get("Vary") != "Accept" {
			t.Errorf("Accept: %s: Vary is %q", accept, p.header.Get("Vary"))
		}
	}
}

// Every page of a refusal says what the user can do.
func TestRefusalsTellWhatToDo(t *testing.T) {
	t.Parallel()
	st := newSSOTest(t)
	b := st.browser()
	b.accept = "text/html"
	for name, change := range map[string]func(string) string{
		"state":     func(s string) string { return edit(t, s, "state", "x") },
		"cancelled": func(s string) string { return edit(t, s, "error", "access_denied") },
		"code":      func(s string) string { return edit(t, s, "code", "x") },
		"failure":   func(s string) string { return edit(t, s, "error", "server_error") },
	} {
		p := b.get(change(b.authorize(b.begin("x1"))))
		if body := strings.ToLower(p.body); !strings.Contains(body, "start again") && !strings.Contains(body, "try again") {
			t.Errorf("%s: the page does not say what to do: %s", name, p.body)
		}
	}
}
