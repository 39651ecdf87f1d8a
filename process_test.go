package flyext_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// lockedThreads are Provisioners and middlewares that lock their goroutine to a thread.
var lockedThreads = map[string]struct {
	fetch      func() error
	middleware bool
}{
	"a Provisioner that returns an error before it unlocks": {fetch: func() error {
		runtime.LockOSThread()
		return errors.New("no network namespace")
	}},
	"a Provisioner that panics before it unlocks": {fetch: func() error {
		runtime.LockOSThread()
		panic("lost")
	}},
	"a Provisioner that returns without unlocking": {fetch: func() error {
		runtime.LockOSThread()
		return nil
	}},
	"a middleware that is locked, and a slow call": {middleware: true, fetch: func() error {
		<-time.After(50 * time.Millisecond) // longer than the deadline, so that the deadline passes during the call
		return nil
	}},
}

const lockedThreadEnv = "FLYEXT_TEST_LOCKED_THREAD"

// A Provisioner or a middleware that locks its goroutine to the thread does not end
// the process. The test runs each in a process of its own.
func TestLockedThreadLeavesTheProcessAlive(t *testing.T) {
	if name := os.Getenv(lockedThreadEnv); name != "" {
		serveLockedThread(t, name)
		return
	}
	t.Parallel()
	for name := range lockedThreads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := exec.Command(os.Args[0], "-test.run=^TestLockedThreadLeavesTheProcessAlive$", "-test.v")
			program.Env = append(os.Environ(), lockedThreadEnv+"="+name)
			output, err := program.CombinedOutput()
			if err != nil || !strings.Contains(string(output), "the process is alive") {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}

func serveLockedThread(t *testing.T, name string) {
	mode := lockedThreads[name]
	p := &testProvisioner{fetch: func(_ context.Context, id string) (*flyext.Extension, error) {
		if id == "locked" {
			return &flyext.Extension{}, mode.fetch()
		}
		return &flyext.Extension{}, nil
	}}
	var handler http.Handler = newProvider(t, p, func(c *flyext.Config) { unsigned(c); c.Timeout = 10 * time.Millisecond })
	if mode.middleware {
		next := handler
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			next.ServeHTTP(w, r)
		})
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	for _, id := range []string{"locked", "locked", "another"} {
		answer, err := http.Get(server.URL + "/flyio/extensions/" + id)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if id == "another" && answer.StatusCode != 200 {
			t.Fatalf("another request got %s", answer.Status)
		}
	}
	t.Log("the process is alive")
}
