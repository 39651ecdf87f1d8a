package flytest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/flyext/flyext"
)

// A WebhookReceiver simulates the endpoint of Fly.io that receives webhooks, from
// [flyext.Webhooks] or from a provider in another language. It verifies each
// webhook, keeps the last webhook of each resource, and records the requests.
//
// It is an [http.Handler]. Configure the provider with its URL and any path as
// [flyext.WebhookConfig.Endpoint]. Secret is required. Set the fields before the first
// method call and do not change them afterwards. All methods are safe for concurrent
// use. They panic if Secret is missing.
//
// The receiver accepts a webhook and answers 200 with {} if:
//
//   - the method is POST, and the body has at most 1 MiB
//   - X-Signature is the HMAC-SHA256 of the body in lower-case hex
//   - the timestamp, a number or a string, is at most 5 minutes old and at most
//     1 minute ahead
//   - the nonce, if there is one, is new
//   - the url, if there is one, is the URL of the request
//   - the action is "resource.created", "resource.updated" or "resource.deleted"
//   - the resource has an "id", and for "resource.created" also an
//     "organization_id" and a "user_id"
//   - the resource has no "config", because a webhook must not contain secrets
//
// Fly.io's own example has neither a nonce nor a url. The receiver refuses all other
// requests with 401, 405, 413 or 422. Because the receiver is for tests, the answer
// contains the reason.
//
// See https://fly.io/docs/reference/extensions_api/#webhooks.
type WebhookReceiver struct {
	// Secret is the webhook secret.
	Secret string

	// URL is the URL for which webhooks must be signed; "" means the scheme, the
	// Host and the path of the request.
	URL string

	// Now is the clock for the age of webhooks; nil means [time.Now].
	Now func() time.Time

	// Observe, if not nil, is called with each recorded webhook before the answer
	// is sent. It must be safe for concurrent use.
	Observe func(Webhook)

	mu        sync.Mutex
	fault     Fault
	received  []Webhook
	held      int // bytes of the bodies in received
	resources map[string]Webhook
	nonces    map[string]time.Time // with the time when each may be deleted
	swept     time.Time
	stats     WebhookStats
	refusals  refusals
}

// refusals counts the refused webhooks for [Conformance]. It leaves out the refused
// requests that no sender of webhooks makes, such as those of a browser. It also counts
// the webhooks that are no longer recorded.
type refusals struct {
	count int
	last  string // the reason of the last one
}

// A Webhook is a request that a [WebhookReceiver] has recorded. A refused webhook has
// only the fields that were read before the refusal.
type Webhook struct {
	// Action is "resource.created", "resource.updated" or "resource.deleted".
	Action string
	// Resource is the resource in the webhook. It has no secrets.
	Resource flyext.Extension
	// Timestamp, Nonce and URL are the signed parameters.
	Timestamp time.Time
	Nonce     string
	URL       string
	// Body is the unchanged body of the request.
	Body []byte
	// Received is the time of the request by the receiver's clock.
	Received time.Time
	// Refused is the reason of the refusal; "" means that the webhook was
	// accepted.
	Refused string
}

// Deleted reports whether the webhook announces that its resource was deleted.
func (w Webhook) Deleted() bool { return w.Action == "resource.deleted" }

// WebhookStats counts the requests to a [WebhookReceiver].
type WebhookStats struct {
	// Received counts all requests: Accepted, Refused, and those that a [Fault]
	// did not pass on.
	Received, Accepted, Refused int
	// Repeated counts the accepted webhooks with the same action and resource as
	// the previous webhook of that resource.
	Repeated int
}

const (
	maxWebhook    = 1 << 20  // bytes
	maxHeld       = 16 << 20 // bytes of all recorded bodies
	webhookMaxAge = 5 * time.Minute
	webhookSkew   = time.Minute
)

// SetFault makes the receiver answer with a fault until the next call of SetFault.
// nil removes the fault. A request that the fault does not pass to the sound handler
// is counted but not recorded. The fault is called for every request, so a fault of
// your own can affect some requests and not others.
func (s *WebhookReceiver) SetFault(f Fault) {
	s.check()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// LostAnswer processes the request as the sound endpoint does, and then closes the
// connection without an answer. The client cannot know that the request was processed.
func LostAnswer() Fault {
	return func(sound http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			sound.ServeHTTP(&keptAnswer{header: make(http.Header)}, r)
			panic(http.ErrAbortHandler)
		})
	}
}

// Webhooks returns the recorded webhooks, accepted or refused, oldest first. The
// receiver keeps at most the last 1000 webhooks, or 16 MiB of bodies.
func (s *WebhookReceiver) Webhooks() []Webhook {
	s.check()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.received)
}

// Resource returns the last accepted webhook of a resource by its id: the state that
// Fly.io knows. ok reports whether there was such a webhook.
func (s *WebhookReceiver) Resource(id string) (w Webhook, ok bool) {
	s.check()
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok = s.resources[id]
	return w, ok
}

// Resources returns the last accepted webhook of each resource, including deleted
// resources, sorted by the id of the resource.
func (s *WebhookReceiver) Resources() []Webhook {
	s.check()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Webhook, 0, len(s.resources))
	for _, w := range s.resources {
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b Webhook) int { return cmp.Compare(a.Resource.ID, b.Resource.ID) })
	return all
}

// Stats returns the current counts.
func (s *WebhookReceiver) Stats() WebhookStats {
	s.check()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// ServeHTTP implements [http.Handler].
func (s *WebhookReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.check()
	s.mu.Lock()
	s.stats.Received++
	fault := s.fault
	s.mu.Unlock()
	setNoStore(w.Header())
	// Read the body before the fault runs: net/http detects a disconnected client
	// only after the body has been read.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWebhook))
	r.Body = io.NopCloser(bytes.NewReader(body))
	var sound http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, body, err) })
	if fault != nil {
		sound = fault(sound)
	}
	sound.ServeHTTP(w, r)
}

func (s *WebhookReceiver) check() {
	if s.Secret == "" {
		panic("flytest: WebhookReceiver.Secret is missing")
	}
}

// A webhookRefusal is the status and the reason of a refusal.
type webhookRefusal struct {
	status int
	reason string
}

func (e *webhookRefusal) Error() string { return e.reason }

func forbidden(format string, args ...any) error {
	return &webhookRefusal{http.StatusUnauthorized, fmt.Sprintf(format, args...)}
}

func unusable(format string, args ...any) error {
	return &webhookRefusal{http.StatusUnprocessableEntity, fmt.Sprintf(format, args...)}
}

// serve answers a request. unread is the error from reading the body, if any.
func (s *WebhookReceiver) serve(w http.ResponseWriter, r *http.Request, body []byte, unread error) {
	now := time.Now()
	if s.Now != nil {
		now = s.Now()
	}
	hook := Webhook{Received: now, Body: body}
	var err error = &webhookRefusal{http.StatusRequestEntityTooLarge, "the body is too large or incomplete"}
	if unread == nil {
		err = s.accept(&hook, w, r)
	}
	if err != nil {
		hook.Refused = err.Error()
	}
	s.record(hook, isWebhook(r))
	if s.Observe != nil {
		s.Observe(hook)
	}
	if refused, ok := errors.AsType[*webhookRefusal](err); ok {
		writeJSON(w, refused.status, struct {
			Code    string `json:"error"`
			Message string `json:"message"`
		}{"refused", refused.reason})
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

// isWebhook reports whether a request looks like a webhook. A browser or a probe of the
// port sends a request that has neither a method for data nor a signature.
func isWebhook(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return len(r.Header["X-Signature"]) > 0
	}
	return true
}

// refused returns the count of the refused webhooks.
func (s *WebhookReceiver) refused() refusals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusals
}

func (s *WebhookReceiver) record(hook Webhook, counts bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hook.Refused != "" {
		s.stats.Refused++
	} else {
		s.stats.Accepted++
	}
	if hook.Refused != "" && counts {
		s.refusals.count++
		s.refusals.last = hook.Refused
	}
	s.received = append(s.received, hook)
	s.held += len(hook.Body)
	for len(s.received) > maxRequests || s.held > maxHeld {
		s.held -= len(s.received[0].Body)
		s.received = slices.Delete(s.received, 0, 1)
	}
}

// Format implements [fmt.Formatter]. It prints a placeholder without secrets for
// every verb.
func (s *WebhookReceiver) Format(f fmt.State, _ rune) { io.WriteString(f, redactedWebhookReceiver) }

// LogValue implements [slog.LogValuer]. It returns a placeholder without secrets.
func (s *WebhookReceiver) LogValue() slog.Value { return slog.StringValue(redactedWebhookReceiver) }

const redactedWebhookReceiver = "WebhookReceiver([redacted])"
