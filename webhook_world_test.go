package flyext_test

import (
	"context"
	"encoding/json"
	"io"
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

// A sentWebhook is a request that Fly.io received.
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

// A flyHooks is an [http.RoundTripper]. It answers each request with the next of its
// answers, and repeats the last one.
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

// A webhookTest sends webhooks to a flyHooks. Its clock advances only in Sleep.
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

// stream returns a resource with every field set, including secrets.
func stream() *flyext.Extension {
	return &flyext.Extension{
		ID: "5lgmabb3y30", Name: "logjam-1bd03ba", FlyAppName: "logjam-production", Status: flyext.Failed,
		Message: "No room\nin mad.", Secrets: flyext.Secrets{"LOGJAM_URL": "canary"},
		OrganizationID: "M03FclA4m", UserID: "k9d01lp82rky6vo2",
		Extra: map[string]json.RawMessage{"plan": json.RawMessage(`"scaler_pro"`), "members": json.RawMessage(`[1, 2]`)},
	}
}
