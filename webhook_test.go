package flyext_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

const (
	webhookSecret   = "canary-of-the-webhooks"
	webhookEndpoint = "https://api.fly.io/api/hooks/extensions/logjam"
)

// A sentWebhook is a request as it arrived.
type sentWebhook struct {
	method, url string
	header      http.Header
	body        string
}

func (s sentWebhook) member(t *testing.T, name string) string {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s.body), &members); err != nil {
		t.Fatal(err)
	}
	return string(members[name])
}

// A flyHooks answers each request with the next of its answers, and the last one
// for ever. It is an [http.RoundTripper].
type flyHooks struct {
	mu      sync.Mutex
	answers []hookAnswer
	sent    []sentWebhook
}

type hookAnswer struct {
	status     int
	retryAfter string
	err        error
}

func (f *flyHooks) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, sentWebhook{r.Method, r.URL.String(), r.Header.Clone(), string(body)})
	answer := hookAnswer{status: 200}
	if len(f.answers) > 0 {
		answer = f.answers[min(len(f.sent), len(f.answers))-1]
	}
	if answer.err != nil {
		return nil, answer.err
	}
	header := make(http.Header)
	if answer.retryAfter != "" {
		header.Set("Retry-After", answer.retryAfter)
	}
	if answer.status/100 == 3 {
		header.Set("Location", "https://evil.example/")
	}
	return &http.Response{
		StatusCode: answer.status, Header: header, Request: r, Body: io.NopCloser(strings.NewReader("canary of the answer")),
	}, nil
}

func (f *flyHooks) all() []sentWebhook {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]sentWebhook(nil), f.sent...)
}

// A webhookTest sends to a flyHooks, on a clock that the waiting moves.
type webhookTest struct {
	fly   *flyHooks
	log   *logBuffer
	hooks *flyext.Webhooks
	mu    sync.Mutex
	now   time.Time
	waits []time.Duration
}

func newWebhookTest(t *testing.T, change func(*flyext.WebhookConfig), answers ...hookAnswer) *webhookTest {
	t.Helper()
	w := &webhookTest{fly: &flyHooks{answers: answers}, log: &logBuffer{}, now: time.Unix(1693513586, 0)}
	c := flyext.WebhookConfig{
		ProviderName: "logjam", Secret: webhookSecret, HTTPClient: &http.Client{Transport: w.fly}, Logger: w.log.logger(),
		Now: func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.now
		},
		Sleep: func(ctx context.Context, d time.Duration) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.now = w.now.Add(d)
			w.waits = append(w.waits, d)
			return ctx.Err()
		},
	}
	if change != nil {
		change(&c)
	}
	var err error
	if w.hooks, err = flyext.NewWebhooks(c); err != nil {
		t.Fatal(err)
	}
	return w
}

// stream is a resource with everything, secrets included.
func stream() *flyext.Extension {
	return &flyext.Extension{
		ID: "5lgmabb3y30", Name: "logjam-1bd03ba", FlyAppName: "logjam-production", Status: flyext.Failed,
		Message: "No room\nin mad.", Secrets: flyext.Secrets{"LOGJAM_URL": "canary"},
		OrganizationID: "M03FclA4m", UserID: "k9d01lp82rky6vo2",
		Extra: map[string]json.RawMessage{"plan": json.RawMessage(`"scaler_pro"`), "members": json.RawMessage(`[1, 2]`)},
	}
}

func TestWebhookOnTheWire(t *testing.T) {
	t.Parallel()
	const shared = `"name":"logjam-1bd03ba","fly_app_name":"logjam-production","status":"error","error_message":"No room in mad."`
	for _, test := range []struct {
		name     string
		send     func(*flyext.Webhooks, context.Context, *flyext.Extension) error
		resource *flyext.Extension
		action   string
		want     string
	}{
		{"created", (*flyext.Webhooks).Created, stream(), "resource.created", `{"id":"5lgmabb3y30",` + shared +
			`,"organization_id":"M03FclA4m","user_id":"k9d01lp82rky6vo2","members":[1,2],"plan":"scaler_pro"}`},
		{"updated", (*flyext.Webhooks).Updated, stream(), "resource.updated", `{"id":"5lgmabb3y30",` + shared + `,"members":[1,2],"plan":"scaler_pro"}`},
		{"updated, and ready", (*flyext.Webhooks).Updated, &flyext.Extension{ID: "x1", Message: "not of an error"}, "resource.updated", `{"id":"x1","status":"ready"}`},
		{"deleted", (*flyext.Webhooks).Deleted, &flyext.Extension{ID: "x1", Secrets: flyext.Secrets{}}, "resource.deleted", `{"id":"x1"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWebhookTest(t, nil)
			if err := test.send(w.hooks, t.Context(), test.resource); err != nil {
				t.Fatal(err)
			}
			sent := w.fly.all()
			if len(sent) != 1 {
				t.Fatalf("%d requests", len(sent))
			}
			r := sent[0]
			nonce := r.member(t, "nonce")
			want := `{"timestamp":"1693513586","nonce":` + nonce + `,"url":"` + webhookEndpoint + `","action":"` + test.action + `","resource":` + test.want + `}`
			if r.body != want || len(nonce) < 20 {
				t.Errorf("got  %s\nwant %s", r.body, want)
			}
			mac := hmac.New(sha256.New, []byte(webhookSecret))
			mac.Write([]byte(r.body))
			if got := r.header.Get("X-Signature"); got != hex.EncodeToString(mac.Sum(nil)) {
				t.Errorf("X-Signature %s is not that of the body", got)
			}
			if r.method != "POST" || r.url != webhookEndpoint || r.header.Get("Content-Type") != "application/json" {
				t.Errorf("got %s %s, %v", r.method, r.url, r.header)
			}
			if r.header.Get("Accept") != "application/json" || r.header.Get("User-Agent") != "flyext" {
				t.Errorf("got %v", r.header)
			}
			if strings.Contains(r.body, "canary") || strings.Contains(r.body, "config") {
				t.Errorf("a secret was sent: %s", r.body)
			}
			if w.log.text() != "" {
				t.Errorf("logged: %s", w.log.text())
			}
		})
	}
}

// What cannot be sent is not, and no second try would help.
func TestWebhookThatCannotBe(t *testing.T) {
	t.Parallel()
	changed := func(change func(*flyext.Extension)) *flyext.Extension {
		x := stream()
		change(x)
		return x
	}
	extra := func(name, value string) *flyext.Extension {
		return changed(func(x *flyext.Extension) { x.Extra = map[string]json.RawMessage{name: json.RawMessage(value)} })
	}
	for _, test := range []struct {
		name     string
		resource *flyext.Extension
		want     string
	}{
		{"none", nil, "the resource is nil"},
		{"without an id", changed(func(x *flyext.Extension) { x.ID = "" }), "has no ID"},
		{"without an organization", changed(func(x *flyext.Extension) { x.OrganizationID = "" }), "needs an OrganizationID and a UserID"},
		{"without a user", changed(func(x *flyext.Extension) { x.UserID = "" }), "needs an OrganizationID and a UserID"},
		{"with its secrets as an extra", extra("config", `{"LOGJAM_URL":"canary"}`), `"config"`},
		{"with another id as an extra", extra("id", `"x2"`), `"id"`},
		{"with another organization as an extra", extra("organization_id", `"o2"`), `"organization_id"`},
		{"with an extra that is no JSON", extra("plan", `canary`), ""},
		{"with an extra of two values", extra("plan", `1,"config":{}`), ""},
		{"with an empty extra", extra("plan", ``), ""},
		{"that is not UTF-8", changed(func(x *flyext.Extension) { x.Name = "\xff" }), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWebhookTest(t, nil)
			err := w.hooks.Created(t.Context(), test.resource)
			e, ok := errors.AsType[*flyext.WebhookError](err)
			if !ok || e.Attempts != 0 || e.Status != 0 || e.Temporary() || !strings.Contains(e.Error(), test.want) || errors.Unwrap(e) == nil {
				t.Errorf("got %v", err)
			}
			if len(w.fly.all()) != 0 {
				t.Error("it was sent")
			}
			if test.resource != nil && e.ResourceID != test.resource.ID {
				t.Errorf("resource id %q", e.ResourceID)
			}
		})
	}
}

func TestGETAnswersTheExtras(t *testing.T) {
	t.Parallel()
	x := stream()
	p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) { return x, nil }}
	provider := newProvider(t, p, unsigned)
	const want = `{"id":"5lgmabb3y30","config":{"LOGJAM_URL":"canary"},"name":"logjam-1bd03ba","fly_app_name":"logjam-production",` +
		`"status":"error","error_message":"No room in mad.","members":[1,2],"plan":"scaler_pro"}`
	if w := do(provider, fetchRequest("x1")); w.Code != 200 || w.Body.String() != want {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	for _, name := range []string{"id", "config", "name", "fly_app_name", "status", "error_message", "organization_id", "user_id"} {
		x.Extra = map[string]json.RawMessage{name: json.RawMessage(`"another"`)}
		if w := do(provider, fetchRequest("x1")); w.Code != 500 {
			t.Errorf("an extra %q: %d %s", name, w.Code, w.Body)
		}
	}
}

// Which answers are tried again, and how that ends.
func TestWebhookAnswers(t *testing.T) {
	t.Parallel()
	lost := errors.New("connection reset by peer")
	for _, test := range []struct {
		name     string
		answers  []hookAnswer
		attempts int
		status   int // of the error; 0 and no err is a success
		err      error
		again    bool
	}{
		{"200", []hookAnswer{{status: 200}}, 1, 0, nil, false},
		{"202", []hookAnswer{{status: 202}}, 1, 0, nil, false},
		{"204", []hookAnswer{{status: 204}}, 1, 0, nil, false},
		{"301", []hookAnswer{{status: 301}, {status: 200}}, 1, 301, nil, false},
		{"304", []hookAnswer{{status: 304}, {status: 200}}, 1, 304, nil, false},
		{"307", []hookAnswer{{status: 307}, {status: 200}}, 1, 307, nil, false},
		{"308", []hookAnswer{{status: 308}, {status: 200}}, 1, 308, nil, false},
		{"400", []hookAnswer{{status: 400}, {status: 200}}, 1, 400, nil, false},
		{"401", []hookAnswer{{status: 401}, {status: 200}}, 1, 401, nil, false},
		{"404", []hookAnswer{{status: 404}, {status: 200}}, 1, 404, nil, false},
		{"409", []hookAnswer{{status: 409}, {status: 200}}, 1, 409, nil, false},
		{"422", []hookAnswer{{status: 422, retryAfter: "1"}, {status: 200}}, 1, 422, nil, false},
		{"425", []hookAnswer{{status: 425}, {status: 200}}, 2, 0, nil, false},
		{"408", []hookAnswer{{status: 408}, {status: 200}}, 2, 0, nil, false},
		{"429, then 200", []hookAnswer{{status: 429}, {status: 200}}, 2, 0, nil, false},
		{"500, then 200", []hookAnswer{{status: 500}, {status: 200}}, 2, 0, nil, false},
		{"501, then 200", []hookAnswer{{status: 501}, {status: 200}}, 2, 0, nil, false},
		{"503, then 200", []hookAnswer{{status: 503}, {status: 200}}, 2, 0, nil, false},
		{"599, then 200", []hookAnswer{{status: 599}, {status: 200}}, 2, 0, nil, false},
		{"no answer, then 200", []hookAnswer{{err: lost}, {status: 200}}, 2, 0, nil, false},
		{"everything, then 200", []hookAnswer{{err: lost}, {status: 502}, {status: 429}, {status: 500}, {status: 200}}, 5, 0, nil, false},
		{"500, then 422", []hookAnswer{{status: 500}, {status: 422}, {status: 200}}, 2, 422, nil, false},
		{"500 for ever", []hookAnswer{{status: 500}}, 5, 500, nil, true},
		{"429 for ever", []hookAnswer{{status: 429}}, 5, 429, nil, true},
		{"no answer for ever", []hookAnswer{{err: lost}}, 5, 0, lost, true},
		{"500, then no answer for ever", []hookAnswer{{status: 500}, {err: lost}}, 5, 0, lost, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWebhookTest(t, nil, test.answers...)
			err := w.hooks.Updated(t.Context(), stream())
			if got := len(w.fly.all()); got != test.attempts {
				t.Errorf("%d attempts, want %d", got, test.attempts)
			}
			if len(w.waits) != test.attempts-1 {
				t.Errorf("waits %v", w.waits)
			}
			if test.status == 0 && test.err == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e, ok := errors.AsType[*flyext.WebhookError](err)
			if !ok || e.Action != "resource.updated" || e.ResourceID != "5lgmabb3y30" || e.Attempts != test.attempts ||
				e.Status != test.status || e.Temporary() != test.again || !errors.Is(e.Err, test.err) {
				t.Errorf("got %#v", err)
			}
			for _, text := range []string{err.Error(), w.log.text(), fmt.Sprintf("%+v", err)} {
				if strings.Contains(text, "canary") || strings.Contains(text, "evil") {
					t.Errorf("it says too much: %s", text)
				}
			}
		})
	}
}

// A nonce works once, so each attempt has its own, and is dated when it is made.
func TestWebhookAttemptsAreFresh(t *testing.T) {
	t.Parallel()
	w := newWebhookTest(t, func(c *flyext.WebhookConfig) { c.Attempts = 8 }, hookAnswer{status: 503})
	if err := w.hooks.Updated(t.Context(), stream()); err == nil {
		t.Fatal("accepted")
	}
	seen := make(map[string]bool)
	now := time.Unix(1693513586, 0)
	for i, r := range w.fly.all() {
		seen[r.member(t, "nonce")] = true
		if got, want := r.member(t, "timestamp"), fmt.Sprintf("%q", fmt.Sprint(now.Unix())); got != want {
			t.Errorf("attempt %d is dated %s, want %s", i+1, got, want)
		}
		if i < len(w.waits) {
			now = now.Add(w.waits[i])
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d nonces", len(seen))
	}
	if got := strings.Count(w.log.text(), "webhook failed; will retry"); got != 7 {
		t.Errorf("%d records: %s", got, w.log.text())
	}
}

// The waits double, and spread over the later half of each.
func TestWebhookWaits(t *testing.T) {
	t.Parallel()
	latest := []time.Duration{1, 2, 4, 8, 16, 30, 30}
	early, late := 0, 0
	for range 100 {
		w := newWebhookTest(t, func(c *flyext.WebhookConfig) { c.Attempts = 8 }, hookAnswer{status: 503})
		if err := w.hooks.Updated(t.Context(), stream()); err == nil {
			t.Fatal("accepted")
		}
		for i, wait := range w.waits {
			d := latest[i] * time.Second
			if wait < d/2 || wait > d {
				t.Fatalf("wait %d is %v", i+1, wait)
			}
			if wait < d*3/4 {
				early++
			} else {
				late++
			}
		}
	}
	if early < 200 || late < 200 {
		t.Errorf("%d early, %d late", early, late)
	}
}

func TestWebhookRetryAfter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, retryAfter string
		status           int
		earliest         time.Duration
		attempts         int
	}{
		{"seconds", "7", 429, 7 * time.Second, 2},
		{"of a 503", "7", 503, 7 * time.Second, 2},
		{"a date", "Thu, 31 Aug 2023 20:26:56 GMT", 429, 30 * time.Second, 2},
		{"the longest", "60", 429, time.Minute, 2},
		{"too long", "61", 429, 0, 1},
		{"a date too far", "Thu, 31 Aug 2023 21:26:56 GMT", 503, 0, 1},
		{"no time", "tomorrow", 429, 0, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWebhookTest(t, nil, hookAnswer{status: test.status, retryAfter: test.retryAfter}, hookAnswer{status: 200})
			err := w.hooks.Updated(t.Context(), stream())
			if got := len(w.fly.all()); got != test.attempts {
				t.Fatalf("%d attempts: %v", got, err)
			}
			if test.attempts == 1 {
				e, ok := errors.AsType[*flyext.WebhookError](err)
				if !ok || !e.Temporary() || e.RetryAfter <= time.Minute || e.Status != test.status {
					t.Errorf("got %#v", err)
				}
				return
			}
			if err != nil || w.waits[0] < test.earliest+time.Second/2 || w.waits[0] > test.earliest+time.Second {
				t.Errorf("waited %v, %v", w.waits, err)
			}
		})
	}
}

func TestNewWebhooksFailsClosed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*flyext.WebhookConfig){
		"no name":                    func(c *flyext.WebhookConfig) { c.ProviderName = "" },
		"this very path":             func(c *flyext.WebhookConfig) { c.ProviderName = "." },
		"an endpoint with a ?":       func(c *flyext.WebhookConfig) { c.Endpoint = "https://api.fly.io/?" },
		"an endpoint with a #":       func(c *flyext.WebhookConfig) { c.Endpoint = "https://api.fly.io/#canary" },
		"a step in the path":         func(c *flyext.WebhookConfig) { c.ProviderName = ".." },
		"a name that is not UTF-8":   func(c *flyext.WebhookConfig) { c.ProviderName = "\xff" },
		"no secret":                  func(c *flyext.WebhookConfig) { c.Secret = "" },
		"negative attempts":          func(c *flyext.WebhookConfig) { c.Attempts = -1 },
		"a negative timeout":         func(c *flyext.WebhookConfig) { c.Timeout = -1 },
		"a timeout of days":          func(c *flyext.WebhookConfig) { c.Timeout = 25 * time.Hour },
		"plain http":                 func(c *flyext.WebhookConfig) { c.Endpoint = "http://api.fly.io/api/hooks/extensions/logjam" },
		"an endpoint of no scheme":   func(c *flyext.WebhookConfig) { c.Endpoint = "api.fly.io" },
		"an endpoint of no host":     func(c *flyext.WebhookConfig) { c.Endpoint = "https:///hooks" },
		"an endpoint with a user":    func(c *flyext.WebhookConfig) { c.Endpoint = "https://u:canary@api.fly.io/" },
		"an endpoint with a query":   func(c *flyext.WebhookConfig) { c.Endpoint = "https://api.fly.io/?a=canary" },
		"an endpoint that is broken": func(c *flyext.WebhookConfig) { c.Endpoint = "https://[canary" },
	} {
		c := flyext.WebhookConfig{ProviderName: "logjam", Secret: webhookSecret}
		change(&c)
		if w, err := flyext.NewWebhooks(c); err == nil || w != nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, %v", name, w, err)
		}
	}
}

func TestWebhookEndpoint(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, endpoint, want string }{
		{"logjam", "", webhookEndpoint},
		{"log/jam?", "", "https://api.fly.io/api/hooks/extensions/log%2Fjam%3F"},
		{"logjam", "http://localhost:8080/hooks", "http://localhost:8080/hooks"},
		{"logjam", "http://[::1]:8080", "http://[::1]:8080"},
		{"logjam", "https://fly.example/a%2Fb", "https://fly.example/a%2Fb"},
	} {
		w := newWebhookTest(t, func(c *flyext.WebhookConfig) { c.ProviderName, c.Endpoint = test.name, test.endpoint })
		if err := w.hooks.Updated(t.Context(), stream()); err != nil {
			t.Fatal(err)
		}
		r := w.fly.all()[0]
		if signed := r.member(t, "url"); r.url != test.want || signed != fmt.Sprintf("%q", test.want) {
			t.Errorf("sent to %s, signed for %s, want %s", r.url, signed, test.want)
		}
	}
}

// A secret must not be printed, whichever way somebody tries to.
func TestWebhooksRedactThemselves(t *testing.T) {
	t.Parallel()
	c := flyext.WebhookConfig{ProviderName: "logjam", Secret: webhookSecret}
	hooks, err := flyext.NewWebhooks(c)
	if err != nil {
		t.Fatal(err)
	}
	log := &logBuffer{}
	for _, v := range []any{c, &c, hooks, []flyext.WebhookConfig{c}} {
		text := fmt.Sprintf("%v %+v %#v %s %q %x", v, v, v, v, v, v)
		log.logger().Info("m", "v", v)
		slog.New(slog.NewTextHandler(log, nil)).Info("m", "v", v)
		if marshalled, err := json.Marshal(v); err == nil {
			text += string(marshalled)
		}
		if text += log.text(); strings.Contains(text, "canary") || strings.Contains(text, hex.EncodeToString([]byte("canary"))) {
			t.Errorf("%T shows the secret: %s", v, text)
		}
	}
}

func TestWebhookErrorSays(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]*flyext.WebhookError{
		`flyext: webhook resource.updated of "x1" failed after 5 attempts: status 503`: {Action: "resource.updated", ResourceID: "x1", Attempts: 5, Status: 503},
		`flyext: webhook resource.deleted of "x1" failed after 1 attempt: EOF`:         {Action: "resource.deleted", ResourceID: "x1", Attempts: 1, Err: io.EOF},
		"a nil *flyext.WebhookError": nil,
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err == nil && (err.Temporary() || err.Unwrap() != nil) {
			t.Error("nil is something")
		}
	}
}
