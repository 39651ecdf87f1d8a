package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
)

// run lets the console poll until the test ends.
func (w *world) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.console.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// The page shows how long the call took, whether the console or the client gave
// up.
func TestNoAnswerInTime(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		timeout time.Duration // of the client
		want    string
	}{
		{"console", 0, "No answer within 30s"},
		{"client", 2500 * time.Millisecond, "No answer within 2.5s"},
		{"patient client", time.Minute, "No answer within 30s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, func(c *console.Config) {
					c.Client = &http.Client{Timeout: test.timeout, Transport: transport(func(r *http.Request) (*http.Response, error) {
						<-r.Context().Done()
						return nil, r.Context().Err()
					})}
				})
				w.wantAll(w.page(w.provision("ext1")), test.want+"<")
			})
		})
	}
}

// The console polls as flyctl does, and shows the output for the customer.
func TestPolls(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		finished flyext.Status // after a minute
		terminal string
		want     []string
		requests int // to the provider, in ten minutes
	}{
		{"until it is ready", flyext.Ready, "Your Example extension (collider-ext1) is ready.", []string{"✓</span> ready", "30 times", "It is ready", "LOGJAM_TOKEN: ••••••••"}, 1 + 31},
		{"until it failed", flyext.Failed, "Error: The region is full.", []string{"✕</span> error", "30 times", "The status is “error”", "It tells the customer: The region is full."}, 1 + 31},
		{"for four minutes", "", "Error: timed out waiting for provisioning to complete", []string{"✕</span> error", "119 times", "flyctl gave up: not ready after 4m0s"}, 1 + 120},
		{"past words that it does not know", "indexing", "Error: timed out waiting for provisioning to complete", []string{"Not ready yet: the status is “indexing”", "flyctl gave up"}, 1 + 120},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLogjam()
				l.slow = true
				var requests atomic.Int32
				provider := l.handler(t, providerBase, "")
				w := newWorld(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					provider.ServeHTTP(rw, r)
				}))
				defer w.run(t)()
				path := w.provision("ext1")
				synctest.Wait()
				w.wantAll(w.page(path), "…</span> provisioning", "Polling every 2 s", "Waiting for provisioning to complete …", "Not ready yet: the status is “provisioning”")
				time.Sleep(time.Minute - time.Second)
				l.set(func(l *logjam) { l.finished = test.finished })
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				page := w.page(path)
				w.wantAll(page, append(test.want, test.terminal)...)
				if got := int(requests.Load()); got != test.requests {
					t.Errorf("%d requests, want %d", got, test.requests)
				}
				if strings.Contains(page, "Polling every 2 s") {
					t.Error("the page says that it still waits")
				}
			})
		})
	}
}

// The output for the customer is that of [flytest.Platform.Create], word for
// word.
func TestTerminal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLogjam()
		l.slow, l.finished = true, flyext.Failed
		provider := l.handler(t, providerBase, "")
		p := flytest.Platform{BaseURL: providerBase, Signer: flytest.XSignature(signingSecret), Client: directly(provider), Registration: flytest.Registration{Async: true}}
		creation, err := p.Create(t.Context(), flyext.ProvisionRequest{ID: "ext1", Name: "collider-ext1", OrganizationID: "o1"})
		if err == nil {
			t.Fatal("the extension was created")
		}
		w := newWorld(t, provider)
		defer w.run(t)()
		path := w.provision("ext1")
		synctest.Wait()
		w.wantAll(w.page(path), strings.TrimSpace(creation.Terminal))
	})
}

const polledAway = "</b> Refused with 404"

func TestPollingEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		act  func(w *world, l *logjam, path string)
		want string // on the page; "" if there is no page any more
	}{
		{"when it is deprovisioned", func(w *world, _ *logjam, path string) { w.post(path+"/deprovision", nil) }, "−</span> gone"},
		{"when it is forgotten", func(w *world, _ *logjam, path string) {
			w.do(formRequest(path+"/forget", nil))
		}, ""},
		{"when the provider cannot be asked", func(_ *world, l *logjam, _ string) { l.set(func(l *logjam) { clear(l.streams) }) }, polledAway},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLogjam()
				l.slow = true
				var requests atomic.Int32
				provider := l.handler(t, providerBase, "")
				w := newWorld(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					provider.ServeHTTP(rw, r)
				}))
				defer w.run(t)()
				path := w.provision("ext1")
				time.Sleep(5 * time.Second)
				test.act(w, l, path)
				time.Sleep(2 * time.Second)
				before := requests.Load()
				time.Sleep(time.Minute)
				if got := requests.Load() - before; got != 0 {
					t.Errorf("%d more requests", got)
				}
				if test.want != "" {
					w.wantAll(w.page(path), test.want)
					if test.want != polledAway && strings.Contains(w.page(path), polledAway) {
						t.Error("it was polled")
					}
				} else if rec := w.get(path); rec.Code != http.StatusNotFound {
					t.Errorf("got %d", rec.Code)
				}
			})
		})
	}
}

// Run polls an extension that was provisioned before it ran. A fetch starts the
// polling again after it was given up.
func TestPollingBegins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLogjam()
		l.slow = true
		w := newWorld(t, l.handler(t, providerBase, ""))
		path := w.provision("ext1")
		w.post(path+"/provision", nil) // one polling, not two
		time.Sleep(time.Minute)
		defer w.run(t)()
		time.Sleep(5 * time.Minute)
		w.wantAll(w.page(path), "flyctl gave up", "119 times")
		w.post(path+"/fetch", nil)
		l.set(func(l *logjam) { l.finished = flyext.Ready })
		time.Sleep(3 * time.Second)
		w.wantAll(w.page(path), "✓</span> ready")
	})
}

func TestRunOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, answering(200, "{}"))
	stop := w.run(t)
	stop()
	if err := w.console.Run(t.Context()); err == nil {
		t.Error("Run ran twice")
	}
}

// Several people use forms, polls and pages at once.
func TestRace(t *testing.T) {
	t.Parallel()
	l := newLogjam()
	l.slow = true
	w := newWorld(t, l.handler(t, providerBase, ""))
	stop := w.run(t)
	var failed atomic.Int32
	var people sync.WaitGroup
	for person := range 8 {
		people.Go(func() {
			for round := range 10 {
				id := fmt.Sprint("ext", person/2) // two people share one
				rec := w.do(formRequest("/extensions", url.Values{"id": {id}, "customer": {nathan}}))
				path := rec.Header().Get("Location")
				for _, r := range []*http.Request{
					formRequest(path+"/fetch", nil), formRequest(path+"/update", url.Values{"name": {fmt.Sprint("round", round)}}),
					formRequest("/users", userForm("name", fmt.Sprint("Nathan", round))), formRequest(path+"/deprovision", nil), formRequest(path+"/forget", nil),
				} {
					if code := w.do(r).Code; code != http.StatusSeeOther && code != http.StatusNotFound {
						failed.Add(1)
					}
				}
				w.get("/")
				w.get(path)
				w.get("/users")
			}
		})
	}
	people.Wait()
	stop()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d forms failed", n)
	}
}
