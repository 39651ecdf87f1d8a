package main

import (
	"context"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/servertest"
)

// textOf returns the text of a requirement.
func textOf(t *testing.T, id string) string {
	t.Helper()
	for _, r := range flytest.Requirements() {
		if r.ID == id {
			return r.Text
		}
	}
	t.Fatalf("there is no requirement %q", id)
	return ""
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, format := range flytest.Formats() {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			addr := servertest.FreeAddr(t)
			m := &memory{}
			base := m.serve(t, "http://"+addr, format.Generation())
			term := newTerminal(base).with("FLYIO_CLIENT_ID", clientID, "FLYIO_CLIENT_SECRET", clientSecret)
			file := filepath.Join(t.TempDir(), "report.xml")
			got := term.run(t, "check", "--format", string(format), "--oauth-addr", addr, "--junit", file).want(t, 0)
			narrow(t, got.stdout)
			contains(t, words(got.stdout), "Provisioning passed "+textOf(t, "provision"), " passed, ", " 0 failed, ")
			if got.stderr != "" {
				t.Errorf("standard error is %q", got.stderr)
			}
			if n := strings.Count(got.stdout, "\n  passed   ") + strings.Count(got.stdout, "\n  skipped  ") + strings.Count(got.stdout, "\n  WARNING  "); n != len(flytest.Requirements()) {
				t.Errorf("the report has %d requirements, want %d", n, len(flytest.Requirements()))
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var suites junitSuites
			if err := xml.Unmarshal(text, &suites); err != nil || suites.Tests != len(flytest.Requirements()) {
				t.Errorf("the report for CI is %+v, %v", suites, err)
			}
			for id := range m.streams {
				if strings.HasPrefix(id, "flytest-") {
					t.Errorf("%s was not removed", id)
				}
			}
		})
	}
}

// TestCheckWithoutSignOn: without an OAuth client, check tests the rest and says how
// to test the sign-on.
func TestCheckWithoutSignOn(t *testing.T) {
	t.Parallel()
	const hint = "To test the sign-on, set FLYIO_CLIENT_ID"
	base := (&memory{}).serve(t, "http://"+servertest.FreeAddr(t), flyext.Generation2)
	contains(t, words(newTerminal(base).run(t, "check").want(t, 0).stdout), hint)
	base = (&memory{}).serve(t, "", 0) // offers no sign-on
	if got := newTerminal(base).run(t, "check").want(t, 0).stdout; strings.Contains(words(got), hint) {
		t.Errorf("the provider has no sign-on, but there is the hint to test it:\n%s", got)
	}
}

func TestCheckJSON(t *testing.T) {
	t.Parallel()
	term := newTerminal((&memory{}).serve(t, "", 0))
	var doc jsonReport
	term.run(t, "check", "--json", "--only", "provision").want(t, 0).decode(t, &doc)
	if doc.Passed != 1 || doc.Failed != 0 || len(doc.Results) != 1 || doc.Format != "x-signature" {
		t.Errorf("the document is %+v", doc)
	}
	if r := doc.Results[0]; r.ID != "provision" || r.Verdict != "passed" || len(r.Requests) == 0 || r.Requests[0].Status != 200 || r.Fix != "" {
		t.Errorf("the result is %+v", r)
	}
}

func TestCheckFails(t *testing.T) {
	t.Parallel()
	url := serveStatus(t, http.StatusInternalServerError, "out of order")
	file := filepath.Join(t.TempDir(), "report.xml")
	got := newTerminal(url).run(t, "check", "--only", "provision", "--junit", file).want(t, 1)
	contains(t, words(got.stdout), "FAILED "+textOf(t, "provision"))
	contains(t, got.stdout, "sent   POST /extensions", "timestamp ", `"organization_id":"`,
		"want   2xx\n", "got    500 Internal Server Error: out of order\n", "tried  ", "fix    Answer POST",
		"flysim check --only 'provision'\n", "0 passed, 1 failed, 0 skipped in ")
	narrow(t, got.stdout)
	if got.stderr != "" {
		t.Errorf("standard error is %q", got.stderr)
	}
	var suites junitSuites
	text, _ := os.ReadFile(file)
	if err := xml.Unmarshal(text, &suites); err != nil || suites.Failures != 1 {
		t.Errorf("the report for CI is %s, %v", text, err)
	}
	var doc jsonReport
	newTerminal(url).run(t, "check", "--only", "provision", "--json").want(t, 1).decode(t, &doc)
	if r := doc.Results[0]; r.Verdict != "failed" || r.Want != "2xx" || r.Fix == "" || r.Requests[0].Body == "" {
		t.Errorf("the result is %+v", r)
	}
	contains(t, newTerminal(url).run(t, "check", "--only", "provision", "-v").want(t, 1).stdout,
		"> POST /extensions HTTP/1.1", "--- signature base: ", "< HTTP/1.1 500 Internal Server Error", "< out of order")
}

// TestCheckWebhooks: with --webhook-addr, check verifies the provider's webhooks.
func TestCheckWebhooks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, secret string // of the provider; "" means that it sends no webhooks
		listens      bool
		verdict      flytest.Verdict
		text         string
	}{
		{"sound", webhookSecret, true, flytest.Passed, ""},
		{"forged", "another secret", true, flytest.Failed, "X-Signature is not the HMAC-SHA256 of the body"},
		{"none", "", true, flytest.Skipped, "the provider sent no webhook"},
		{"not asked for", webhookSecret, false, flytest.Skipped, "no webhook receiver is configured"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := servertest.FreeAddr(t)
			m := &memory{}
			if c.secret != "" {
				m.sendWebhooks(t, c.secret, "http://"+addr+"/hooks/logjam")
			}
			args := []string{"--only", "provision,webhooks"}
			if c.listens {
				args = append(args, "--webhook-addr", addr)
			}
			got := newTerminal(m.serve(t, "", 0)).with("FLYIO_WEBHOOK_SECRET", webhookSecret).check(t, args...)
			last := got.Results[len(got.Results)-1]
			if last.ID != "webhooks" || last.Verdict != string(c.verdict) || !strings.Contains(last.Got+last.Reason, c.text) {
				t.Errorf("the last result is %+v, want webhooks with the verdict %s and %q", last, c.verdict, c.text)
			}
		})
	}
}

// TestCheckCannotWriteJUnit: if --junit cannot be written, the report is complete, and
// the error follows.
func TestCheckCannotWriteJUnit(t *testing.T) {
	t.Parallel()
	const full = "/dev/full" // each write fails
	if _, err := os.Stat(full); err != nil {
		t.Skip("this system has no " + full)
	}
	term := newTerminal(serveStatus(t, http.StatusInternalServerError, "out of order"))
	got := term.run(t, "check", "--only", "provision", "--junit", full).want(t, exitUsage)
	contains(t, got.stdout, "0 passed, 1 failed, 0 skipped in ")
	contains(t, got.stderr, "flysim: --junit: ")
	var doc jsonReport
	term.run(t, "check", "--only", "provision", "--junit", full, "--json").want(t, exitUsage).decode(t, &doc)
	if doc.Failed != 1 {
		t.Errorf("the document is %+v", doc)
	}
}

// TestCheckCannotRecord: if --record cannot be written, the report is complete, and the
// error follows.
func TestCheckCannotRecord(t *testing.T) {
	t.Parallel()
	url := serveStatus(t, http.StatusInternalServerError, "out of order")
	noDirectory := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(noDirectory, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	junit := filepath.Join(t.TempDir(), "report.xml")
	got := newTerminal(url).run(t, "check", "--only", "provision", "--record", noDirectory, "--junit", junit).want(t, exitUsage)
	contains(t, got.stdout, "0 passed, 1 failed, 0 skipped in ")
	contains(t, got.stderr, "flysim: --record: ")
	var suites junitSuites
	text, _ := os.ReadFile(junit)
	if err := xml.Unmarshal(text, &suites); err != nil || suites.Failures != 1 {
		t.Errorf("the report for CI is %s, %v", text, err)
	}
	var doc jsonReport
	newTerminal(url).run(t, "check", "--only", "provision", "--record", noDirectory, "--json").want(t, exitUsage).decode(t, &doc)
	if doc.Failed != 1 {
		t.Errorf("the document is %+v", doc)
	}
}

// TestCheckUnreachable: the report for CI says that the provider did not answer.
func TestCheckUnreachable(t *testing.T) {
	t.Parallel()
	term := newTerminal("http://" + servertest.FreeAddr(t))
	file := filepath.Join(t.TempDir(), "report.xml")
	term.run(t, "check", "--junit", file).want(t, 3)
	var suites junitSuites
	text, _ := os.ReadFile(file)
	if err := xml.Unmarshal(text, &suites); err != nil || suites.Errors != 1 || suites.Tests != 1 {
		t.Errorf("the report for CI is %s, %v", text, err)
	}
	var doc map[string]jsonError
	term.run(t, "check", "--json").want(t, 3).decode(t, &doc)
	if doc["error"].Kind != "unreachable" {
		t.Errorf("the document is %v", doc)
	}
}

// TestCheckKeepsTheReport: an invalid flag does not delete the report of the last
// run.
func TestCheckKeepsTheReport(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "report.xml")
	if err := os.WriteFile(file, []byte("the last one"), 0o600); err != nil {
		t.Fatal(err)
	}
	term := newTerminal("http://"+servertest.FreeAddr(t)).with("FLYIO_CLIENT_ID", clientID, "FLYIO_CLIENT_SECRET", clientSecret)
	term.run(t, "check", "--junit", file, "--oauth-addr", "0.0.0.0:0").want(t, 2)
	if text, err := os.ReadFile(file); err != nil || string(text) != "the last one" {
		t.Errorf("the report is %q, %v", text, err)
	}
}

// TestCheckInterrupted: the report for CI says that the run ended early.
func TestCheckInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			cancel()
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "report.xml")
	got := newTerminal(server.URL).runUntil(ctx, "check", "--junit", file).want(t, 130)
	contains(t, got.stderr, "flysim: interrupted\n")
	var suites junitSuites
	text, _ := os.ReadFile(file)
	if err := xml.Unmarshal(text, &suites); err != nil || suites.Errors != 1 {
		t.Errorf("the report for CI is %s, %v", text, err)
	}
}

func TestCheckList(t *testing.T) {
	t.Parallel()
	term := &terminal{} // without a provider
	got := term.run(t, "check", "--list").want(t, 0)
	narrow(t, got.stdout)
	var doc []flytest.Requirement
	term.run(t, "check", "--list", "--json").want(t, 0).decode(t, &doc)
	all := flytest.Requirements()
	if len(doc) != len(all) {
		t.Fatalf("there are %d requirements, want %d", len(doc), len(all))
	}
	for i, r := range all {
		contains(t, words(got.stdout), r.ID+", "+r.Source, words(r.Text))
		if doc[i] != r {
			t.Errorf("requirement %d is %+v, want %+v", i, doc[i], r)
		}
	}
	contains(t, term.run(t, "check", "--list", "--only", "provision,idempotent", "--only", "replay\n unsigned").want(t, 0).stdout, "requirements: 4\n")
	contains(t, term.run(t, "check", "--list", "--only", "provision").want(t, 0).stdout, "requirements: 1\n")
}
