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

// A WebhookReceiver is the end of Fly.io that providers send webhooks to
// ([flyext.Webhooks], or what a provider in another language has). It is an
// [http.Handler], whose URL, with any path, is the provider's
// [flyext.WebhookConfig.Endpoint]. It verifies each webhook, keeps what it says
// of its resource, and remembers all requests for a test or a person to look at.
//
// Secret is required. The fields are set before the first call of a method and
// then left alone; what a test changes as it goes on has a method. All methods are
// safe for concurrent use, and panic without a Secret.
//
// A webhook is accepted, with 200 and {}, if its X-Signature is the HMAC-SHA256 of
// the body in lower-case hex; if its timestamp, which may be a number or a text, is
// at most 5 minutes old and 1 minute ahead; if its nonce and its url, where it has
// them, were not used before and are the URL that it was sent to (Fly.io's own
// example has neither); and if its action is one of the three, with a resource
// that has an id and no "config": secrets have no business there. Otherwise it is
// answered with 401 or 422 and, as this is for tests, with the reason.
//
// See https://fly.io/docs/reference/extensions_api/#webhooks.
type WebhookReceiver struct {
	// Secret is the webhook secret.
	Secret string

	// URL is the URL that webhooks must be signed for; "" means the one that the
	// request came to: its scheme, its Host and its path.
	URL string

	// Now is the clock that webhooks are judged by; nil means [time.Now].
	Now func() time.Time

	// Observe, if it is not nil, is shown every webhook when it is recorded,
	// before it is answered. It must be safe for concurrent use.
	Observe func(Webhook)

	mu        sync.Mutex
	fault     Fault
	received  []Webhook
	held      int // bytes of the bodies in received
	resources map[string]Webhook
	nonces    map[string]time.Time // and when they may be forgotten
	swept     time.Time
	stats     WebhookStats
}

// A Webhook is a request that a [WebhookReceiver] received. Of one that was
// refused, what is known of it is there.
type Webhook struct {
	// Action is "resource.created", "resource.updated" or "resource.deleted".
	Action string
	// Resource is what it says of the resource. It has no secrets.
	Resource flyext.Extension
	// Timestamp, Nonce and URL are what was signed.
	Timestamp time.Time
	Nonce     string
	URL       string
	// Body is the body as it came.
	Body []byte
	// Received is when it came, by the receiver's clock.
	Received time.Time
	// Refused says why it was not accepted; "" means that it was.
	Refused string
}

// Deleted says that its resource is no more.
func (w Webhook) Deleted() bool { return w.Action == "resource.deleted" }

// WebhookStats count what came to a [WebhookReceiver].
type WebhookStats struct {
	// Received counts all requests: Accepted, Refused, and those that a [Fault]
	// kept from being looked at.
	Received, Accepted, Refused int
	// Repeated counts those accepted ones that said of their resource what was
	// known already.
	Repeated int
}

const (
	maxWebhook    = 1 << 20  // bytes
	maxHeld       = 16 << 20 // bytes of the bodies that are remembered
	webhookMaxAge = 5 * time.Minute
	webhookSkew   = time.Minute
)

// SetFault spoils the answers until the next call; nil mends them. What a fault
// keeps from the sound handler is not recorded, but counted. A fault is asked for
// every request, so that one of a test's own may strike now and then.
func (s *WebhookReceiver) SetFault(f Fault) {
	s.check()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// LostAnswer does all that the sound endpoint does, and then breaks the
// connection: the client cannot know that it was heard.
func LostAnswer() Fault {
	return func(sound http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			sound.ServeHTTP(&keptAnswer{header: make(http.Header)}, r)
			panic(http.ErrAbortHandler)
		})
	}
}

// Webhooks returns the webhooks received so far, the oldest first, accepted or
// refused. It returns the last thousand at most, and fewer if they are large.
func (s *WebhookReceiver) Webhooks() []Webhook {
	s.check()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.received)
}

// Resource returns the last webhook that was accepted about a resource: what
// Fly.io believes of it. ok is false if there was none.
func (s *WebhookReceiver) Resource(id string) (w Webhook, ok bool) {
	s.check()
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok = s.resources[id]
	return w, ok
}

// Resources returns the last webhook that was accepted about every resource,
// also about those that were deleted, in the order of their ids.
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

// Stats returns the counts so far.
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
	// Before any fault: a server notices that the client left once it has read the
	// body, and not before.
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

// A webhookRefusal is the status and the reason of a webhook that is not accepted.
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

// serve answers a request whose body could be read, or failed to be with unread.
func (s *WebhookReceiver) serve(w http.ResponseWriter, r *http.Request, body []byte, unread error) {
	now := time.Now()
	if s.Now != nil {
		now = s.Now()
	}
	hook := Webhook{Received: now, Body: body}
	var err error = &webhookRefusal{http.StatusRequestEntityTooLarge, "the body is too large, or was cut off"}
	if unread == nil {
		err = s.accept(&hook, w, r)
	}
	if err != nil {
		hook.Refused = err.Error()
	}
	s.record(hook)
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

func (s *WebhookReceiver) record(hook Webhook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hook.Refused != "" {
		s.stats.Refused++
	} else {
		s.stats.Accepted++
	}
	s.received = append(s.received, hook)
	s.held += len(hook.Body)
	for len(s.received) > maxRequests || s.held > maxHeld {
		s.held -= len(s.received[0].Body)
		s.received = slices.Delete(s.received, 0, 1)
	}
}

// Format implements [fmt.Formatter]: whatever the verb, no secret is printed.
func (s *WebhookReceiver) Format(f fmt.State, _ rune) { io.WriteString(f, redactedWebhookReceiver) }

// LogValue implements [slog.LogValuer].
func (s *WebhookReceiver) LogValue() slog.Value { return slog.StringValue(redactedWebhookReceiver) }

const redactedWebhookReceiver = "WebhookReceiver([redacted])"
