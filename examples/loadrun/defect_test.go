package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A subject is a provider in the test's process with at most one defect.
type subject struct {
	flyext.Provisioner
	change func(s *subject, id, name string) // applies a change; nil means correctly
	wrap   func(http.Handler) http.Handler
	slow   bool // does not disconnect slow senders

	mu      sync.Mutex
	rows    map[string]row
	secrets map[string]string
	address string
}

func (s *subject) apply(id, name string) {
	r := s.rows[id]
	r.exists, r.changes = true, r.changes+1
	if name != "" {
		r.name = name
	}
	s.rows[id] = r
}

func (s *subject) changed(id, name string) {
	if s.change != nil {
		s.change(s, id, name)
		return
	}
	s.apply(id, name)
}

func (s *subject) Provision(_ context.Context, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := req.Name
	if s.rows[req.ID].exists {
		name = ""
	}
	if s.secrets[req.ID] == "" {
		s.secrets[req.ID] = fmt.Sprint("secret-", rand.Uint64())
	}
	s.changed(req.ID, name)
	return &flyext.Extension{ID: req.ID, Name: s.rows[req.ID].name, Secrets: flyext.Secrets{"URL": s.secrets[req.ID]}}, nil
}

func (s *subject) Update(_ context.Context, id string, req *flyext.UpdateRequest) (*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed(id, req.Name.Value)
	return &flyext.Extension{ID: id, Name: s.rows[id].name}, nil
}

func (s *subject) Fetch(_ context.Context, id string) (*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &flyext.Extension{ID: id, Name: s.rows[id].name, Status: flyext.Ready}, nil
}

func (s *subject) Deprovision(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rows, id)
	return nil
}

func (s *subject) addr() string { return s.address }
func (s *subject) rss() int64   { return residentMemory(os.Getpid()) }

func (s *subject) vitals(context.Context) (vitals, error) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return vitals{Goroutines: runtime.NumGoroutine(), HeapBytes: m.HeapAlloc}, nil
}

// forgetful reports every nonce as fresh.
type forgetful struct{}

func (forgetful) Use(context.Context, flyext.Nonce) (bool, error) { return true, nil }

// trusting accepts every request.
type trusting struct{}

func (trusting) Verify(_ context.Context, m *flyext.Message) (flyext.Verification, error) {
	return flyext.Verification{Generation: flyext.Generation2, Nonces: []flyext.Nonce{
		{Key: flyext.NonceKey(string(m.Body), m.Target, m.Header.Get("Signature")), Expires: time.Now().Add(time.Minute)},
	}}, nil
}

// start serves the subject until the test ends.
func (s *subject) start(t *testing.T, change func(*flyext.Config)) provider {
	t.Helper()
	s.rows, s.secrets = map[string]row{}, map[string]string{}
	credentials := flytest.Credentials{SigningSecret: "signing-secret", BearerToken: "bearer-token"}
	c := flyext.Config{BaseURL: baseURL, Verifier: flyext.AnyOf(
		flyext.XSignature(credentials.SigningSecret),
		flyext.AllOf(flyext.BearerToken(credentials.BearerToken),
			flyext.MessageSignature(flyext.Key{ID: flytest.DefaultKeyID, Secret: credentials.SigningSecret})),
	)}
	if change != nil {
		change(&c)
	}
	handler, err := flyext.New(s, c)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 200 * time.Millisecond, ReadTimeout: 2 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	if s.wrap != nil {
		server.Handler = s.wrap(handler)
	}
	if s.slow {
		server.ReadHeaderTimeout, server.ReadTimeout = time.Hour, time.Hour
	}
	go server.Serve(listener) // until it is closed
	t.Cleanup(func() { server.Close() })
	return provider{
		baseURL: baseURL, credentials: credentials, machines: []machine{s}, sharedReplays: true,
		headers: 200 * time.Millisecond, whole: 2 * time.Second, patience: 3 * time.Second, rest: 3 * time.Second,
		rows: func(context.Context) (map[string]row, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return maps.Clone(s.rows), nil
		},
	}
}

// nowAndThen returns true one time in twenty.
func nowAndThen() bool { return rand.N(20) == 0 }

// TestDefects checks that each defect is found, and that a correct provider has no
// violation. The cases run one at a time, because goroutines and memory are those
// of the process.
func TestDefects(t *testing.T) {
	if testing.Short() { // as in .ci/run with -race
		t.Skip("the race detector is too slow for the load that finds a defect in time")
	}
	quick := plan{duration: 300 * time.Millisecond, connections: 4, hostilePart: 20, requests: 250}
	for _, test := range []struct {
		name    string
		subject *subject
		config  func(*flyext.Config)
		want    []violation // any of these, and no others
	}{
		{"none", &subject{}, nil, nil},
		{"an acknowledged write is lost", &subject{change: func(s *subject, id, name string) {
			if !nowAndThen() {
				s.apply(id, name)
			}
		}}, nil, []violation{lost}},
		{"an extension is lost", &subject{change: func(s *subject, id, name string) {
			s.apply(id, name)
			for id := range s.rows {
				if len(s.rows) > 3 && rand.N(200) == 0 {
					delete(s.rows, id)
				}
			}
		}}, nil, []violation{lost}},
		{"a write is applied twice", &subject{change: func(s *subject, id, name string) {
			s.apply(id, name)
			if nowAndThen() {
				s.apply(id, name)
			}
		}}, nil, []violation{twice}},
		{"the second response has other secrets", &subject{change: func(s *subject, id, name string) {
			s.apply(id, name)
			s.secrets[id] = fmt.Sprint("secret-", rand.Uint64())
		}}, nil, []violation{lost}},
		{"replays are accepted", &subject{}, func(c *flyext.Config) { c.ReplayStore = forgetful{} }, []violation{admitted, lost, twice}},
		{"everything is accepted", &subject{}, func(c *flyext.Config) { c.Verifier = trusting{} }, []violation{admitted, lost, twice}},
		{"bodies of any size are accepted", &subject{}, func(c *flyext.Config) { c.MaxBodyBytes = 8 << 20 }, []violation{admitted}},
		{"genuine requests are refused", &subject{}, func(c *flyext.Config) { c.Verifier = flyext.XSignature("signing-secret") }, []violation{refused, lost}},
		{"slow senders are not disconnected", &subject{slow: true}, nil, []violation{held}},
		{"goroutines leak", &subject{wrap: func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				go time.Sleep(20 * time.Second)
				h.ServeHTTP(w, r)
			})
		}}, nil, []violation{leaked}},
		{"memory leaks", &subject{wrap: func(h http.Handler) http.Handler {
			var kept [][]byte
			var mu sync.Mutex
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				kept = append(kept, bytes.Repeat([]byte("x"), 256<<10))
				mu.Unlock()
				h.ServeHTTP(w, r)
			})
		}}, nil, []violation{leaked}},
	} {
		t.Run(test.name, func(t *testing.T) {
			on := test.subject.start(t, test.config)
			r, err := run(t.Context(), quick, on, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			found := slices.Sorted(maps.Keys(r.Violations))
			for _, v := range found {
				if !slices.Contains(test.want, v) {
					t.Errorf("%s: %.5q", v, r.Violations[v])
				}
			}
			if len(found) == 0 && len(test.want) > 0 {
				var text strings.Builder
				r.print(&text)
				t.Errorf("no violation found, want %v:\n%s", test.want, &text)
			}
		})
	}
}

// TestLedger compares ledgers with the provider's records.
func TestLedger(t *testing.T) {
	t.Parallel()
	status := func(code int) error { return &flyext.Error{Status: code} }
	type step struct {
		name, secret string
		err          error
	}
	for _, test := range []struct {
		name  string
		steps []step
		row   row
		want  violation // "" means none
	}{
		{"answered and there", []step{{"a", "s", nil}, {"b", "", nil}}, row{true, "b", 2}, ""},
		{"answered and not there", []step{{"a", "s", nil}}, row{}, lost},
		{"answered and an older one is there", []step{{"a", "s", nil}, {"b", "", nil}}, row{true, "a", 2}, lost},
		{"answered and only half of it is there", []step{{"a", "s", nil}, {"b", "", nil}}, row{true, "b", 1}, lost},
		{"applied twice", []step{{"a", "s", nil}}, row{true, "a", 2}, twice},
		{"not answered and not there", []step{{"a", "", io.ErrUnexpectedEOF}}, row{}, ""},
		{"not answered and there", []step{{"a", "", io.ErrUnexpectedEOF}}, row{true, "a", 1}, ""},
		{"not answered and applied twice", []step{{"a", "", io.ErrUnexpectedEOF}}, row{true, "a", 2}, twice},
		{"failed and not there", []step{{"a", "s", nil}, {"b", "", status(500)}}, row{true, "a", 1}, ""},
		{"failed and there", []step{{"a", "s", nil}, {"b", "", status(503)}}, row{true, "b", 2}, ""},
		{"failed, and undone by the next one", []step{{"a", "s", nil}, {"b", "", status(500)}, {"c", "", nil}}, row{true, "b", 3}, lost},
		{"too late, and after the next one", []step{{"a", "s", nil}, {"b", "", status(504)}, {"c", "", nil}}, row{true, "b", 3}, ""},
		{"never sent, and applied", []step{{"a", "s", nil}, {"b", "", errDown}}, row{true, "b", 2}, twice},
		{"refused", []step{{"a", "s", nil}, {"b", "", status(401)}}, row{true, "a", 1}, refused},
		{"other secrets", []step{{"a", "s", nil}, {"a", "t", nil}}, row{true, "a", 2}, lost},
		{"unusable", []step{{"a", "s", errors.New("the answer has no secrets")}}, row{}, refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLedger()
			for _, s := range test.steps {
				f, _ := resultOf(s.err, false)
				l.change("update", "x", s.name, s.secret, f, s.err)
			}
			l.settle(map[string]row{"x": test.row})
			found := slices.Collect(maps.Keys(l.violations))
			if test.want == "" && len(found) > 0 || test.want != "" && !slices.Contains(found, test.want) {
				t.Errorf("found %v, want %q", l.violations, test.want)
			}
		})
	}
	l := newLedger()
	l.settle(map[string]row{hostileID(): {changes: 1}})
	if len(l.violations[admitted]) != 1 {
		t.Errorf("an extension that was not requested: got %v", l.violations)
	}
	for resent, want := range map[bool]result{false: rejected, true: unknown} {
		if f, _ := resultOf(status(401), resent); f != want {
			t.Errorf("401, resent %t: got %v", resent, f)
		}
	}
}

// TestCheckLog checks that forbidden lines in a log are found.
func TestCheckLog(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]violation{
		"level=WARN msg=\"request refused\" request_id=ABCDEFGHIJKLMNOPQRSTUVWXYZ": "",
		"level=WARN msg=x password=MMHQG36WFFIIYPDWDXL3BSIDYA":                     told,
		"level=WARN msg=x secret=the-secret":                                       told,
		"level=ERROR msg=panic stack=x":                                            crashed,
		"fatal error: all goroutines are asleep":                                   crashed,
	} {
		p := &process{log: t.TempDir() + "/log"}
		if err := os.WriteFile(p.log, []byte("first\n"+line+"\nlast\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		l := newLedger()
		if err := p.checkLog(l, []string{"the-secret"}, map[string]bool{"MMHQG36WFFIIYPDWDXL3BSIDYA": true}); err != nil {
			t.Fatal(err)
		}
		if found := slices.Collect(maps.Keys(l.violations)); len(found) > 1 || want != "" && !slices.Equal(found, []violation{want}) || want == "" && len(found) > 0 {
			t.Errorf("%s: found %v, want %q", line, found, want)
		}
	}
	p := &process{log: t.TempDir() + "/log", unexpected: []string{"exit status 2"}}
	if err := os.WriteFile(p.log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	if err := p.checkLog(l, nil, nil); err != nil || len(l.violations[crashed]) != 1 {
		t.Errorf("a machine exited: got %v, %v", l.violations, err)
	}
}
