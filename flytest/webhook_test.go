package flytest_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const (
	webhookSecret = "canary-of-the-webhooks"
	webhookURL    = "http://api.fly.test/api/hooks/extensions/logjam"
	webhookTime   = 1_693_513_586
)

// hook returns a signed webhook, made without package flyext.
func hook(body string) *http.Request { return hookSignedWith(webhookSecret, body) }

func hookSignedWith(secret, body string) *http.Request {
	r := httptest.NewRequest("POST", webhookURL, strings.NewReader(body))
	r.Header.Set("X-Signature", hexHMAC(secret, body))
	return r
}

func hexHMAC(secret, body string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(body))
	return hex.EncodeToString(h.Sum(nil))
}

// sayBody returns the body of a webhook with the signed parameters.
func sayBody(nonce, action, resource string) string {
	return fmt.Sprintf(`{"timestamp":"%d","nonce":%q,"url":%q,"action":%q,"resource":%s}`, webhookTime, nonce, webhookURL, action, resource)
}

func newReceiver() *flytest.WebhookReceiver {
	return &flytest.WebhookReceiver{Secret: webhookSecret, Now: func() time.Time { return time.Unix(webhookTime, 0) }}
}

func receive(s *flytest.WebhookReceiver, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// TestWebhookAsPublished sends Fly.io's own example, which has neither a nonce nor a
// URL. The receiver accepts it twice, because without a nonce a replay looks like a
// second webhook.
func TestWebhookAsPublished(t *testing.T) {
	t.Parallel()
	s := newReceiver()
	const body = `{"timestamp": "1693513586", "action": "resource.updated", "resource": {"id": "5lgmabb3y30", "plan": "scaler_pro", "status": "ready"}}`
	for range 2 {
		if w := receive(s, hook(body)); w.Code != 200 || w.Body.String() != "{}" {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
	}
	want := flytest.Webhook{
		Action: "resource.updated", Timestamp: time.Unix(webhookTime, 0), Received: time.Unix(webhookTime, 0), Body: []byte(body),
		Resource: flyext.Extension{
			ID: "5lgmabb3y30", Status: flyext.Ready, Extra: map[string]json.RawMessage{"plan": json.RawMessage(`"scaler_pro"`)},
		},
	}
	if got, ok := s.Resource("5lgmabb3y30"); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := s.Stats(), (flytest.WebhookStats{Received: 2, Accepted: 2, Repeated: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestWebhookRefusals(t *testing.T) {
	t.Parallel()
	const resource = `{"id":"x1"}`
	dated := func(timestamp string) *http.Request {
		return hook(`{"timestamp":` + timestamp + `,"action":"resource.updated","resource":{"id":"x1"}}`)
	}
	with := func(change func(*http.Request)) *http.Request {
		r := hook(sayBody("n", "resource.updated", resource))
		change(r)
		return r
	}
	sign := func(signatures ...string) *http.Request {
		return with(func(r *http.Request) { r.Header["X-Signature"] = signatures })
	}
	right := hexHMAC(webhookSecret, sayBody("n", "resource.updated", resource))
	for _, test := range []struct {
		name    string
		request *http.Request
		status  int
		want    string
	}{
		{"a GET", httptest.NewRequest("GET", webhookURL, nil), 405, "the method must be POST"},
		{"a huge body", hook(strings.Repeat(" ", 1<<20+1)), 413, "the body is too large or incomplete"},
		{"no signature", sign(), 401, "X-Signature is not the HMAC-SHA256"},
		{"two signatures", sign(right, right), 401, "X-Signature is not the HMAC-SHA256"},
		{"another secret's", hookSignedWith("another", sayBody("n", "resource.updated", resource)), 401, "X-Signature is not the HMAC-SHA256"},
		{"in upper case", sign(strings.ToUpper(right)), 401, "X-Signature is not the HMAC-SHA256"},
		{"of another body", with(func(r *http.Request) { r.Body = http.NoBody }), 401, "X-Signature is not the HMAC-SHA256"},
		{"no JSON", hook("{"), 422, "the body is not a JSON object"},
		{"an array", hook("[]"), 422, "the body is not a JSON object"},
		{"a member twice", hook(`{"timestamp":1,"timestamp":2}`), 422, "the body is not a JSON object"},
		{"no timestamp", hook(`{"action":"resource.updated","resource":{"id":"x1"}}`), 422, "the timestamp is missing"},
		{"a timestamp with a fraction", dated("1693513586.5"), 422, "the timestamp is missing or not in Unix seconds"},
		{"a timestamp in words", dated(`"now"`), 422, "the timestamp is missing or not in Unix seconds"},
		{"stale", dated("1693513285"), 401, "the timestamp is 5m1s old"},
		{"from the future", dated("1693513647"), 401, "the timestamp is 1m1s ahead"},
		{"an empty nonce", hook(sayBody("", "resource.updated", resource)), 422, "the nonce must be a non-empty string"},
		{"a nonce that is a number", hook(strings.Replace(sayBody("n", "resource.updated", resource), `"n"`, "7", 1)), 422, "the nonce must be a non-empty string"},
		{"another URL", with(func(r *http.Request) { r.Host = "evil.example" }), 401, `but the webhook was sent to "http://evil.example/api/hooks/extensions/logjam"`},
		{"another provider's", with(func(r *http.Request) { r.URL.Path = "/api/hooks/extensions/other" }), 401, `/api/hooks/extensions/other"`},
		{"another action", hook(sayBody("n", "resource.moved", resource)), 422, `unknown action "resource.moved"`},
		{"no resource", hook(sayBody("n", "resource.updated", "null")), 422, "the resource is not a JSON object"},
		{"a resource that is a text", hook(sayBody("n", "resource.updated", `"x1"`)), 422, "the resource is not a JSON object"},
		{"no id", hook(sayBody("n", "resource.updated", `{"status":"ready"}`)), 422, `the resource has no "id"`},
		{"an id that is a number", hook(sayBody("n", "resource.updated", `{"id":7}`)), 422, `the resource has no "id"`},
		{"its secrets", hook(sayBody("n", "resource.updated", `{"id":"x1","config":{"LOGJAM_URL":"u"}}`)), 422, `the resource has a "config"`},
		{"a status that is a number", hook(sayBody("n", "resource.updated", `{"id":"x1","status":1}`)), 422, `the resource's "status" is a number, not a string`},
		{"created without a user", hook(sayBody("n", "resource.created", `{"id":"x1","organization_id":"o1"}`)), 422, `requires the resource's "user_id"`},
		{"created without an organization", hook(sayBody("n", "resource.created", `{"id":"x1","user_id":"u1"}`)), 422, `requires the resource's "organization_id"`},
		{"a user who is a number", hook(sayBody("n", "resource.updated", `{"id":"x1","user_id":1}`)), 422, `"user_id" is not a string`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newReceiver()
			w := receive(s, test.request)
			var answer struct{ Error, Message string }
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != test.status || !strings.Contains(answer.Message, test.want) {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if _, ok := s.Resource("x1"); ok {
				t.Error("the refused webhook changed the state of the resource")
			}
			if all := s.Webhooks(); len(all) != 1 || all[0].Refused != answer.Message {
				t.Errorf("recorded %+v, want one webhook with the reason", all)
			}
			if got, want := s.Stats(), (flytest.WebhookStats{Received: 1, Refused: 1}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// TestWebhookNonce checks that a nonce works once while its webhook can be fresh, and
// that a refused webhook does not use up its nonce.
func TestWebhookNonce(t *testing.T) {
	t.Parallel()
	now := time.Unix(webhookTime, 0)
	s := newReceiver()
	s.Now = func() time.Time { return now }
	for i, step := range []struct {
		nonce, resource string
		after           time.Duration
		status          int
	}{
		{"n", `{}`, 0, 422},
		{"n", `{"id":"x1"}`, 0, 200},
		{"n", `{"id":"x1"}`, 0, 401},
		{"m", `{"id":"x1"}`, 5 * time.Minute, 200},
		{"n", `{"id":"x1"}`, 5 * time.Minute, 401},
	} {
		now = time.Unix(webhookTime, 0).Add(step.after)
		if w := receive(s, hook(sayBody(step.nonce, "resource.updated", step.resource))); w.Code != step.status {
			t.Errorf("step %d: %d %s", i, w.Code, w.Body)
		}
	}
}

// TestWebhookState checks that the last webhook of a resource is its state.
func TestWebhookState(t *testing.T) {
	t.Parallel()
	var seen []string
	s := newReceiver()
	s.Observe = func(w flytest.Webhook) { seen = append(seen, w.Action+" "+w.Resource.ID+w.Refused) }
	for i, step := range [][2]string{
		{"resource.created", `{"id":"x2","name":"two","organization_id":"o1","user_id":"u1"}`},
		{"resource.created", `{"id":"x1","organization_id":"o1","user_id":"u1"}`},
		{"resource.updated", `{"id":"x1","status":"error","error_message":"No room."}`},
		{"resource.updated", `{"id":"x2"}`},
		{"resource.deleted", `{"id":"x2"}`},
		{"resource.deleted", `{"id":"x2"}`},
	} {
		if w := receive(s, hook(sayBody(fmt.Sprint(i), step[0], step[1]))); w.Code != 200 {
			t.Errorf("step %d: %d %s", i, w.Code, w.Body)
		}
	}
	all := s.Resources()
	if len(all) != 2 || all[0].Resource.ID != "x1" || all[1].Resource.ID != "x2" {
		t.Fatalf("got %+v", all)
	}
	if x := all[0]; x.Deleted() || x.Resource.Status != flyext.Failed || x.Resource.Message != "No room." {
		t.Errorf("got %+v", x)
	}
	if x := all[1]; !x.Deleted() || x.Resource.Name != "" {
		t.Errorf("got %+v", x)
	}
	if x := s.Webhooks()[0].Resource; x.OrganizationID != "o1" || x.UserID != "u1" || x.Name != "two" || x.Extra != nil {
		t.Errorf("got %+v", x)
	}
	if got := strings.Join(seen, ","); got != "resource.created x2,resource.created x1,resource.updated x1,resource.updated x2,resource.deleted x2,resource.deleted x2" {
		t.Errorf("observed %s", got)
	}
	if got := s.Stats().Repeated; got != 1 {
		t.Errorf("Repeated is %d, want 1", got)
	}
}

func TestWebhookRecordIsBounded(t *testing.T) {
	t.Parallel()
	s := newReceiver()
	for i := range 1100 {
		receive(s, hook(sayBody(fmt.Sprint("n", i), "resource.updated", fmt.Sprintf(`{"id":"x%d"}`, i))))
	}
	if all := s.Webhooks(); len(all) != 1000 || all[999].Resource.ID != "x1099" {
		t.Errorf("got %d webhooks, want the last 1000", len(all))
	}
	if got := len(s.Resources()); got != 1100 {
		t.Errorf("got %d resources, want 1100", got)
	}
}

// TestWebhookBytesAreBounded checks that large webhooks of an attacker do not fill the
// memory.
func TestWebhookBytesAreBounded(t *testing.T) {
	t.Parallel()
	s := newReceiver()
	large := strings.Repeat("x", 1<<20)
	for range 40 {
		receive(s, hookSignedWith("another secret", large))
	}
	held := 0
	for _, w := range s.Webhooks() {
		held += len(w.Body)
	}
	if held > 16<<20 || held == 0 {
		t.Errorf("the record of 40 webhooks of 1 MiB has %d bytes", held)
	}
}

// TestWebhookFaults checks the effect of each fault on a sender of webhooks.
func TestWebhookFaults(t *testing.T) {
	t.Parallel()
	s := &flytest.WebhookReceiver{Secret: webhookSecret}
	server := httptest.NewTLSServer(s)
	defer server.Close()
	s.URL = server.URL + "/api/hooks/extensions/logjam"
	hooks, err := flyext.NewWebhooks(flyext.WebhookConfig{
		ProviderName: "logjam", Secret: webhookSecret, Endpoint: s.URL, HTTPClient: server.Client(), Attempts: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	for _, test := range []struct {
		name   string
		fault  flytest.Fault
		status int
		known  bool
	}{
		{"refuses", flytest.StatusAnswer(http.StatusForbidden), 403, false},
		{"fails", flytest.StatusAnswer(http.StatusBadGateway), 502, false},
		{"hangs", flytest.SlowAnswer(nil), 0, false},
		{"loses its answer", flytest.LostAnswer(), 0, true},
		{"redirects", flytest.RedirectLoop(), 307, false},
	} {
		s.SetFault(test.fault)
		ctx, cancel := context.WithCancel(t.Context())
		if test.name == "hangs" {
			time.AfterFunc(50*time.Millisecond, cancel)
		}
		err := hooks.Updated(ctx, &flyext.Extension{ID: test.name})
		if e, ok := errors.AsType[*flyext.WebhookError](err); !ok || e.Status != test.status {
			t.Errorf("%s: got %v", test.name, err)
		}
		if _, known := s.Resource(test.name); known != test.known {
			t.Errorf("%s: the resource is known: %t, want %t", test.name, known, test.known)
		}
		cancel()
	}
	s.SetFault(flytest.SlowAnswer(release))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := hooks.Updated(t.Context(), &flyext.Extension{ID: "slow"}); err != nil {
			t.Error(err)
		}
	})
	close(release)
	wg.Wait()
	s.SetFault(nil)
	if err := hooks.Updated(t.Context(), &flyext.Extension{ID: "sound"}); err != nil {
		t.Error(err)
	}
	if got, want := s.Stats(), (flytest.WebhookStats{Received: 7, Accepted: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestWebhookReceiverRedactsAndPanics(t *testing.T) {
	t.Parallel()
	s := newReceiver()
	if text := fmt.Sprintf("%v %+v %#v", s, s, s) + s.LogValue().String(); strings.Contains(text, "canary") {
		t.Error(text)
	}
	defer func() {
		if recover() == nil {
			t.Error("a receiver without a secret did not panic")
		}
	}()
	receive(&flytest.WebhookReceiver{}, hook("{}"))
}
