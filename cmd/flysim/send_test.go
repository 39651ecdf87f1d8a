package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/flyext/flyext/internal/readings"
)

// TestSend: send signs any method and path as Fly.io does.
func TestSend(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		content := body
		if r.Method == http.MethodGet {
			content = []byte(r.URL.RawQuery)
		}
		if r.Header.Get("X-Signature") != readings.Right(readings.Request{Content: content, Secret: signingSecret}) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, r.Method+" "+r.URL.Path+" "+string(body[:min(len(body), 13)]))
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "body.json")
	if err := os.WriteFile(file, []byte(`{"plan":"file"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	term := newTerminal(server.URL + "/flyio")
	term.stdin = `{"plan":"stdin"}`
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"PUT", "/organizations/o/subscription", "--body", `{"plan":"text"}`}, `PUT /flyio/organizations/o/subscription {"plan":"text`},
		{[]string{"post", "/extensions/eligibility", "--body", "@" + file}, `POST /flyio/extensions/eligibility {"plan":"file`},
		{[]string{"POST", "/x", "--body", "-"}, `POST /flyio/x {"plan":"stdi`},
		{[]string{"POST", "/x"}, `POST /flyio/x {"timestamp":`},
		{[]string{"GET", "/x?a=1"}, `GET /flyio/x `},
	} {
		if got := term.run(t, append([]string{"send"}, c.args...)...).want(t, 0).stdout; got != c.want {
			t.Errorf("%q: got %q, want %q", c.args, got, c.want)
		}
	}
	term.with("FLYIO_SIGNING_SECRET", "another").run(t, "send", "GET", "/x").want(t, exitRefused)
	var doc struct {
		Status int    `json:"status"`
		Body   string `json:"body"`
	}
	term.run(t, "send", "GET", "/x", "--json").want(t, 0).decode(t, &doc)
	if doc.Status != http.StatusOK || doc.Body != "GET /flyio/x " {
		t.Errorf("the document is %+v", doc)
	}
	for _, args := range [][]string{{"send"}, {"send", "GET"}, {"send", "GET", "x"}, {"send", "PUT", "/x", "--body", "@nosuch"}, {"send", "PUT", "/x", "--body", "text"}} {
		term.run(t, args...).want(t, exitUsage)
	}
}

// TestPositionalURL: check and provision accept the base URL as their only argument.
func TestPositionalURL(t *testing.T) {
	t.Parallel()
	base := (&memory{}).serve(t, "", 0)
	term := newTerminal("-").with("FLYSIM_BASE_URL", "-")
	term.run(t, "check", base, "--only", "provision").want(t, 0)
	term.run(t, "provision", base).want(t, 0)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"check", base, "--base-url", base}, "the base URL is set twice"},
		{[]string{"check", base, "more"}, "unexpected argument"},
		{[]string{"check", signingSecret}, "unexpected argument; flysim check takes the base URL"},
		{[]string{"event", base}, "unexpected argument " + base + "; use --base-url " + base},
		{[]string{"serve", "http://x:hidden@h/"}, "unexpected argument http://x:xxxxx@h/"},
	} {
		got := words(term.run(t, c.args...).want(t, exitUsage).stderr)
		contains(t, got, c.want)
	}
}
