package flyext

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext/internal/mac"
)

// A WebhookConfig configures [Webhooks]. ProviderName and Secret are required. Printing
// and logging redact everything.
type WebhookConfig struct {
	hidden `json:"-"`

	// ProviderName is Fly.io's name for the provider, such as "logjam".
	ProviderName string

	// Secret is the webhook secret. It differs from Fly.io's signing secret.
	Secret string

	// Endpoint is the URL to send to; "" means
	// https://api.fly.io/api/hooks/extensions/{ProviderName}. It must be https, or
	// plain http on a loopback address for tests.
	Endpoint string
	// InsecureAllowHTTP allows an Endpoint with plain http on any host. An attacker on
	// the network can then read and change the webhooks. Use it only for tests between
	// containers.
	InsecureAllowHTTP bool

	// HTTPClient sends the webhooks, without following redirects; nil means a client
	// with [http.DefaultTransport].
	HTTPClient *http.Client

	// Attempts is the maximum number of attempts for one webhook; 0 means 5. Set it to
	// 1 if a job queue retries.
	Attempts int

	// Timeout bounds one attempt; 0 means 10 seconds, and the maximum is 24 hours.
	Timeout time.Duration

	// Now is the clock for the timestamps of webhooks; nil means [time.Now].
	Now func() time.Time

	// Sleep replaces the wait between two attempts in tests; nil waits in real time. It
	// must return an error when the context ends.
	Sleep func(ctx context.Context, d time.Duration) error

	// Logger receives a record for each failed attempt that is followed by another;
	// nil means [slog.Default]. Records never contain the resource, the body of a
	// response, or the secret. The final failure is returned, not logged.
	Logger *slog.Logger

	// Observe is called after each attempt, for metrics and traces; nil disables it. It
	// must be safe for concurrent use. A panic is logged.
	Observe func(ctx context.Context, a WebhookAttempt)
}

// A WebhookAttempt describes one attempt to send a webhook, for
// [WebhookConfig.Observe].
type WebhookAttempt struct {
	// Action is "resource.created", "resource.updated" or "resource.deleted".
	Action string
	// ResourceID is the resource that the webhook is about.
	ResourceID string
	// Number counts the attempts of one webhook, from 1.
	Number int
	// Status is the HTTP status of the response, or 0 if there was none.
	Status int
	// Err is the reason for a missing response, or nil.
	Err error
	// Duration is the time that the attempt took.
	Duration time.Duration
}

const (
	webhookURL             = "https://api.fly.io/api/hooks/extensions/"
	defaultWebhookAttempts = 5
	defaultWebhookTimeout  = 10 * time.Second
	maxDrained             = 64 << 10 // bytes of a response that are read, to reuse the connection
)

// Webhooks tell Fly.io about resources that the provider created, changed or removed by
// itself. A webhook has the current state of a resource, so only the latest one counts,
// and duplicates are harmless.
//
// Each method sends one webhook. It returns nil when Fly.io has accepted the webhook
// (2xx), and a *[WebhookError] otherwise. It retries after 408, 425, 429, 5xx or a
// missing response. Before the second attempt it waits 0.5 to 1 second. The wait doubles
// with each attempt, up to 15 to 30 seconds. The response's Retry-After is added. It
// gives up at once:
//
//   - after any other response, such as 422 or a redirect;
//   - after a Retry-After of more than a minute;
//   - when the context ends, or would end before the next attempt.
//
// Use a job queue for webhooks that must survive the process; see
// [WebhookError.Temporary].
//
// A webhook has the resource as in the response to GET, with [Extension.Extra] and
// without secrets. [Extension.ID] is required. Each attempt has the Endpoint as its URL,
// a new timestamp and a new nonce, and is signed with X-Signature over the bytes sent.
//
// Webhooks are safe for concurrent use. To keep the webhooks of one resource in order,
// wait for each call before the next.
//
// See https://fly.io/docs/reference/extensions_api/#webhooks.
type Webhooks struct {
	endpoint string
	key      *mac.Key
	client   *http.Client
	attempts int
	timeout  time.Duration
	now      func() time.Time
	sleep    func(context.Context, time.Duration) error
	log      *slog.Logger
	observe  func(context.Context, WebhookAttempt)
}

// NewWebhooks returns a sender of webhooks. It returns an error for an invalid or
// insecure configuration, such as a missing secret, or an endpoint with plain http on a
// host other than loopback.
func NewWebhooks(c WebhookConfig) (*Webhooks, error) {
	switch {
	case c.ProviderName == "" || c.ProviderName == "." || c.ProviderName == ".." || !utf8.ValidString(c.ProviderName):
		return nil, errors.New("flyext: WebhookConfig.ProviderName is missing or invalid")
	case c.Secret == "":
		return nil, errors.New("flyext: WebhookConfig.Secret is missing")
	case c.Attempts < 0:
		return nil, errors.New("flyext: WebhookConfig.Attempts must not be negative")
	}
	if err := checkDuration("WebhookConfig.Timeout", c.Timeout); err != nil {
		return nil, err
	}
	if c.Endpoint == "" {
		c.Endpoint = webhookURL + url.PathEscape(c.ProviderName)
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || !isAllowedURL(u, c.InsecureAllowHTTP) || hasMoreThanPath(u) {
		return nil, errors.New("flyext: WebhookConfig.Endpoint must be an https URL, or http on a loopback address, without user, query and fragment")
	}
	w := &Webhooks{
		endpoint: u.String(), key: mac.New(c.Secret), client: clientFor(c.HTTPClient),
		attempts: cmp.Or(c.Attempts, defaultWebhookAttempts), timeout: cmp.Or(c.Timeout, defaultWebhookTimeout),
		now: clock(c.Now), sleep: c.Sleep, log: cmp.Or(c.Logger, slog.Default()), observe: c.Observe,
	}
	if w.sleep == nil {
		w.sleep = sleep
	}
	return w, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Format implements [fmt.Formatter]. It redacts everything, whatever the verb.
func (w *Webhooks) Format(f fmt.State, verb rune) { hidden{}.Format(f, verb) }

// The actions of webhooks, in [WebhookError.Action].
const (
	actionCreated = "resource.created"
	actionUpdated = "resource.updated"
	actionDeleted = "resource.deleted"
)

// Created tells Fly.io about a resource that it did not request, such as one that a
// customer created on the provider's own dashboard. OrganizationID and UserID are
// required.
func (w *Webhooks) Created(ctx context.Context, resource *Extension) error {
	return w.send(ctx, actionCreated, resource)
}

// Updated tells Fly.io the current state of a resource: its name, its status, and the
// members of Extra, such as a plan.
func (w *Webhooks) Updated(ctx context.Context, resource *Extension) error {
	return w.send(ctx, actionUpdated, resource)
}

// Deleted tells Fly.io that a resource no longer exists. Its ID is enough.
func (w *Webhooks) Deleted(ctx context.Context, resource *Extension) error {
	return w.send(ctx, actionDeleted, resource)
}

var (
	errNoResource   = errors.New("flyext: the resource is nil")
	errNoResourceID = errors.New("flyext: the resource has no ID")
	errNoOwner      = errors.New("flyext: Webhooks.Created needs an OrganizationID and a UserID")
)

// encodeWebhookResource writes the resource as in the response to GET, without secrets.
func encodeWebhookResource(action string, x *Extension) (jsontext.Value, error) {
	if x == nil {
		return nil, errNoResource
	}
	if x.ID == "" {
		return nil, errNoResourceID
	}
	e := newEnvelope(x.ID, x)
	if action != actionDeleted && e.Status == "" {
		e.Status = Ready
	}
	if action == actionCreated {
		if x.OrganizationID == "" || x.UserID == "" {
			return nil, errNoOwner
		}
		e.OrganizationID, e.UserID = x.OrganizationID, x.UserID
	}
	e.Extra = x.Extra
	return e.encode()
}

// send sends one webhook until Fly.io accepts it or send gives up.
func (w *Webhooks) send(ctx context.Context, action string, x *Extension) error {
	failed := &WebhookError{Action: action}
	if x != nil {
		failed.ResourceID = x.ID
	}
	content, err := encodeWebhookResource(action, x)
	if err != nil {
		failed.Err, failed.permanent = err, true
		return failed
	}
	for {
		if err := ctx.Err(); err != nil {
			failed.Err = err
			return failed
		}
		failed.Attempts++
		start := time.Now()
		failed.Status, failed.RetryAfter, failed.Err = w.attempt(ctx, action, content)
		w.observed(ctx, failed, time.Since(start))
		if failed.Status/100 == 2 {
			return nil
		}
		wait := backoff(failed.Attempts, randomFraction()) + failed.RetryAfter
		if !failed.Temporary() || failed.Attempts >= w.attempts || failed.RetryAfter > maxRetryAfter || endsWithin(ctx, wait) {
			return failed
		}
		w.logAttempt(ctx, failed, wait)
		if err := w.sleep(ctx, wait); err != nil {
			failed.Err = err
			return failed
		}
	}
}

// observed calls WebhookConfig.Observe.
func (w *Webhooks) observed(ctx context.Context, failed *WebhookError, took time.Duration) {
	if w.observe == nil {
		return
	}
	a := WebhookAttempt{
		Action: failed.Action, ResourceID: failed.ResourceID, Number: failed.Attempts,
		Status: failed.Status, Err: failed.Err, Duration: took,
	}
	if err := catch(func() error { w.observe(ctx, a); return nil }); err != nil {
		w.log.LogAttrs(ctx, slog.LevelError, "WebhookConfig.Observe panicked", slog.String("error", err.Error()))
	}
}

func (w *Webhooks) logAttempt(ctx context.Context, failed *WebhookError, wait time.Duration) {
	attrs := append(make([]slog.Attr, 0, 5),
		slog.String("action", failed.Action), slog.String("resource_id", failed.ResourceID),
		slog.Int("attempt", failed.Attempts), slog.Duration("wait", wait))
	if failed.Err != nil {
		attrs = append(attrs, slog.String("error", failed.Err.Error()))
	} else {
		attrs = append(attrs, slog.Int("status", failed.Status))
	}
	w.log.LogAttrs(ctx, slog.LevelWarn, "webhook failed; will retry", attrs...)
}

// A webhook is the body, with the order and the types of the example on Fly.io's page.
type webhook struct {
	Timestamp string         `json:"timestamp"`
	Nonce     string         `json:"nonce"`
	URL       string         `json:"url"`
	Action    string         `json:"action"`
	Resource  jsontext.Value `json:"resource"`
}

// attempt sends a webhook once. Without a response, status is 0 and err is the reason.
func (w *Webhooks) attempt(ctx context.Context, action string, resource jsontext.Value) (status int, retryAfter time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	body, err := marshal(webhook{
		Timestamp: strconv.FormatInt(w.now().Unix(), 10), Nonce: rand.Text(), URL: w.endpoint,
		Action: action, Resource: resource,
	})
	if err != nil {
		return 0, 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.endpoint, bytes.NewReader(body))
	if err != nil {
		return 0, 0, err
	}
	sum := w.key.Sum(body)
	r.Header.Set("X-Signature", hex.EncodeToString(sum[:]))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "flyext")
	answer, err := w.client.Do(r)
	if err != nil {
		return 0, 0, quiet(err)
	}
	defer answer.Body.Close()
	// The body is read only so that the connection can be reused.
	_, _ = io.CopyN(io.Discard, answer.Body, maxDrained)
	return answer.StatusCode, parseRetryAfter(answer.Header, w.now()), nil
}
