package main

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/flyext/flyext/internal/servertest"
)

// TestTellsConsole: the feed of a running page shows the requests of other commands.
func TestTellsConsole(t *testing.T) {
	t.Parallel()
	term := newTerminal((&memory{}).serve(t, "", 0))
	addr := servertest.FreeAddr(t)
	serving(t, term, addr)
	term.with(consoleVariable, "http://"+addr).run(t, "provision", "--id", "told").want(t, 0)
	contains(t, fetched(t, "http://"+addr+"/requests"), "POST /flyio/extensions", "Command line: 200 OK")
	term.with(consoleVariable, "http://"+addr).run(t, "check", "--only", "other-key").want(t, 0)
	contains(t, fetched(t, "http://"+addr+"/requests"), "Command line: 401 Unauthorized")
}

// TestTellsNoStranger: flysim reports requests to this machine only. A command does
// not fail because of another address.
func TestTellsNoStranger(t *testing.T) {
	t.Parallel()
	asked := false
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer stranger.Close()
	term := newTerminal((&memory{}).serve(t, "", 0))
	for _, address := range []string{"http://flysim.example:4000", "https" + stranger.URL[len("http"):], "http://0.0.0.0:4000", "file:///tmp", "%zz", ""} {
		term.with(consoleVariable, address).run(t, "provision", "--id", "told").want(t, 0)
	}
	if asked {
		t.Error("flysim reported a request to another machine")
	}
}

// A command reports nothing after a report that failed, so it does not wait for a page
// that hangs up each time.
func TestReportsUntilOneFails(t *testing.T) {
	t.Parallel()
	var reports atomic.Int32
	page := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		reports.Add(1)
		panic(http.ErrAbortHandler)
	}))
	defer page.Close()
	term := newTerminal((&memory{}).serve(t, "", 0)).with(consoleVariable, page.URL)
	term.run(t, "check", "--only", "provision,other-key").want(t, exitOK)
	if n := reports.Load(); n != 1 {
		t.Errorf("the page got %d reports, want 1", n)
	}
}

// TestServeKeepsHistory: with --data, a new page shows the requests of the last one.
func TestServeKeepsHistory(t *testing.T) {
	t.Parallel()
	term := newTerminal((&memory{}).serve(t, "", 0))
	addr, dir := servertest.FreeAddr(t), t.TempDir()
	stop := serving(t, term, addr, "--data", dir)
	term.with(consoleVariable, "http://"+addr).run(t, "provision", "--id", "told").want(t, 0)
	stop()
	again := servertest.FreeAddr(t)
	serving(t, term, again, "--data", dir)
	contains(t, fetched(t, "http://"+again+"/requests"), "Command line: 200 OK")
	term.run(t, "serve", "--data-secrets").want(t, 2)
}
