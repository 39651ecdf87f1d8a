package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext/flytest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares a text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the output differs from %s; go test -update rewrites the file:\n%s", file, got)
	}
}

// example returns a report with all parts that a report can have.
func example(t *testing.T) *flytest.Report {
	t.Helper()
	fly := flytest.Platform{
		BaseURL: "http://logjam.example/flyio", Now: func() time.Time { return time.Unix(1700000000, 0) },
		Signer: flytest.FormatCavage.Signer(flytest.Credentials{SigningSecret: signingSecret}),
	}
	exchange := func(method, path, body string, status int) flytest.Exchange {
		r, err := fly.NewRequest(t.Context(), method, path, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		e := flytest.Exchange{Request: r, RequestBody: []byte(body), SignatureBase: flytest.SignatureBase(r), Duration: 3 * time.Millisecond}
		if status != 0 {
			e.Response = &http.Response{StatusCode: status, Header: http.Header{}}
			e.Response.Status = fmt.Sprintf("%d %s", status, http.StatusText(status))
			e.ResponseBody = []byte(`{"LOGJAM_URL":"https://user:hunter2hunter2@logjam.example"}`)
		}
		return e
	}
	long := `{"name":"flytest-1-prod","id":"flytest-1","organization_id":"flytest-organization","organization_name":"Conformance","organization_email":"flytest-organization@customer.fly.io","user_id":"flytest-user","user_email":"flytest-user@customer.fly.io","user_role":"admin"}`
	return &flytest.Report{
		Duration: 4210 * time.Millisecond,
		Results: []flytest.Result{
			{
				Requirement: flytest.Requirement{
					ID: "provision", Group: "Provisioning", Source: "docs/protocol.md#answers",
					Text: "POST answers with an extension and its secrets", Fix: "Answer.",
				},
				Verdict: flytest.Passed, Duration: 12 * time.Millisecond, Exchanges: []flytest.Exchange{exchange("POST", "/extensions", "{}", 200)},
			},
			{
				Requirement: flytest.Requirement{
					ID: "concurrent-duplicates", Group: "Provisioning", Source: "docs/protocol.md#what-is-idempotent-and-what-is-not-and-why-that-is",
					Text: "Concurrent requests for one id make one extension with one set of secrets, including a retry after a late answer",
					Fix:  "Make the id unique in the database, and read the existing extension if an insert fails. Alternatively, hold a lock on the id while you make the extension.",
				},
				Verdict: flytest.Failed, Duration: 1500 * time.Millisecond,
				Want: "the same secrets in both answers", Got: "a different LOGJAM_URL in the second answer",
				Exchanges: []flytest.Exchange{exchange("POST", "/extensions", long, 200), exchange("POST", "/extensions", long, 200)},
			},
			{
				Requirement: flytest.Requirement{
					ID: "fetch", Group: "Provisioning", Source: "docs/protocol.md#routes",
					Text: "GET /extensions/{id} answers with the extension and its status", Fix: "Answer.",
				},
				Verdict: flytest.Skipped, Reason: "GET is not offered (501 Not Implemented)", Duration: time.Millisecond,
				Exchanges: []flytest.Exchange{exchange("GET", "/extensions/x", "", 501)},
			},
			{
				Requirement: flytest.Requirement{
					ID: "replay", Group: "Signatures & time <once>", Source: "docs/protocol.md#freshness",
					Text: "A request is accepted once", Fix: "Keep used nonces until their requests are too old.",
				},
				Verdict: flytest.Failed, Duration: 2 * time.Second,
				Want: "an answer", Got: "none: \x1b[2Jconnection reset\x00 by " + strings.Repeat("peer", 30),
				Exchanges: []flytest.Exchange{exchange("DELETE", "/extensions/x", "", 0)},
			},
		},
	}
}

// showExample returns the output of the example.
func showExample(t *testing.T, p *program) (stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	p.out.w, p.err.w = &out, &err
	results := example(t)
	r := newReport(p, len(results.Results)+1)
	for _, result := range results.Results {
		r.started(result.Requirement)
		r.finished(result)
	}
	r.summary(results)
	return out.String(), err.String()
}

func plainProgram() *program {
	p := &program{out: &page{}, err: &page{}}
	p.signingSecret, p.format, p.baseURL = signingSecret, flytest.FormatCavage, "http://logjam.example/flyio"
	return p
}

func TestReport(t *testing.T) {
	t.Parallel()
	stdout, stderr := showExample(t, plainProgram())
	golden(t, "report.txt", stdout)
	narrow(t, stdout)
	if stderr != "" {
		t.Errorf("standard error is %q, want none without a terminal", stderr)
	}
	if strings.ContainsAny(stdout, "\x1b\r\x00") {
		t.Error("the report has control characters")
	}
}

func TestVerboseReport(t *testing.T) {
	t.Parallel()
	p := plainProgram()
	p.verbose = true
	stdout, _ := showExample(t, p)
	contains(t, stdout, "> DELETE /flyio/extensions/x HTTP/1.1", "< no answer\n", " bytes, no newline at the end\n(request-target): post /flyio/extensions\n")
	if strings.Contains(stdout, "> GET ") {
		t.Error("the report shows the requests of a requirement that did not fail")
	}
}

// TestReportOnATerminal: on a terminal the report has colours and a line of progress.
func TestReportOnATerminal(t *testing.T) {
	t.Parallel()
	p := plainProgram()
	p.out.colours, p.err.colours, p.err.transient = true, true, true
	stdout, stderr := showExample(t, p)
	contains(t, stdout, "\x1b[32mpassed", "\x1b[31mFAILED", "\x1b[33mskipped", "\x1b[2m#answers")
	contains(t, stderr, "\x1b[2m1/5  POST answers with", "\r\x1b[K", "4/5  A request is accepted once")
	if !strings.HasSuffix(stderr, "\r\x1b[K") {
		t.Error("the line of progress stays")
	}
	for line := range strings.SplitSeq(strings.NewReplacer("\x1b[2m", "", "\x1b[0m", "", "\x1b[K", "").Replace(stderr), "\r") {
		if len([]rune(line)) >= columns {
			t.Errorf("the line of progress has %d columns, and the terminal breaks it: %q", len([]rune(line)), line)
		}
	}
	plain, _ := showExample(t, plainProgram())
	var b strings.Builder
	for i := 0; i < len(stdout); i++ {
		if stdout[i] == '\x1b' {
			i += strings.IndexByte(stdout[i:], 'm')
			continue
		}
		b.WriteByte(stdout[i])
	}
	if b.String() != plain {
		t.Error("the text with colours differs from the text without")
	}
}

func TestJSONReport(t *testing.T) {
	t.Parallel()
	p := plainProgram()
	var out bytes.Buffer
	p.out.w = &out
	p.writeJSON(p.newJSONReport(example(t), nil))
	golden(t, "report.json", out.String())
	if strings.Contains(out.String(), "hunter2") {
		t.Error("the report contains a secret")
	}
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	p := plainProgram()
	var out bytes.Buffer
	if err := p.writeJUnit(&out, example(t), errors.New("connection reset & closed")); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.xml", out.String())
	if strings.Contains(out.String(), "hunter2") {
		t.Error("the report contains a secret")
	}
	var got junitSuites
	dec := xml.NewDecoder(&out)
	dec.Strict = true
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 5 || got.Failures != 2 || got.Skipped != 1 || got.Errors != 1 || len(got.Suites) != 3 {
		t.Errorf("the suites are %+v", got)
	}
	tests, failures, skipped := 0, 0, 0
	for _, suite := range got.Suites {
		if suite.Tests != len(suite.Cases) {
			t.Errorf("%s has %d cases, but the count %d", suite.Name, len(suite.Cases), suite.Tests)
		}
		tests += suite.Tests
		failures += suite.Failures
		skipped += suite.Skipped
	}
	if tests != got.Tests || failures != got.Failures || skipped != got.Skipped {
		t.Error("the sums of the suites differ from the totals")
	}
	replay := got.Suites[1].Cases[0]
	if got.Suites[1].Name != "Signatures & time <once>" || replay.Failure == nil || !strings.Contains(replay.Failure.Text, "fix: Keep used nonces") {
		t.Errorf("the case is %+v", replay)
	}
}
