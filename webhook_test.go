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
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

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
				t.Fatalf("%d requests were sent, want 1", len(sent))
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
				t.Errorf("X-Signature %s is not the MAC of the body", got)
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
				t.Errorf("a success was logged: %s", w.log.text())
			}
		})
	}
}

// An invalid resource is not sent, and its error is not temporary.
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
		{"nil", nil, "the resource is nil"},
		{"without an id", changed(func(x *flyext.Extension) { x.ID = "" }), "has no ID"},
		{"without an organization", changed(func(x *flyext.Extension) { x.OrganizationID = "" }), "needs an OrganizationID and a UserID"},
		{"without a user", changed(func(x *flyext.Extension) { x.UserID = "" }), "needs an OrganizationID and a UserID"},
		{"with its secrets as an extra", extra("config", `{"LOGJAM_URL":"canary"}`), `"config"`},
		{"with another id as an extra", extra("id", `"x2"`), `"id"`},
		{"with another organization as an extra", extra("organization_id", `"o2"`), `"organization_id"`},
		{"with an extra that is not JSON", extra("plan", `canary`), ""},
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
				t.Error("the resource was sent")
			}
			if test.resource != nil && e.ResourceID != test.resource.ID {
				t.Errorf("the error has the resource id %q, want %q", e.ResourceID, test.resource.ID)
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
			t.Errorf("an extra %q: got %d %s, want 500", name, w.Code, w.Body)
		}
	}
}

// Retries depend on the answer: a temporary failure is retried up to the maximum
// number of attempts, and any other failure is final.
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
		{"always 500", []hookAnswer{{status: 500}}, 5, 500, nil, true},
		{"always 429", []hookAnswer{{status: 429}}, 5, 429, nil, true},
		{"never an answer", []hookAnswer{{err: lost}}, 5, 0, lost, true},
		{"500, then never an answer", []hookAnswer{{status: 500}, {err: lost}}, 5, 0, lost, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWebhookTest(t, nil, test.answers...)
			err := w.hooks.Updated(t.Context(), stream())
			if got := len(w.fly.all()); got != test.attempts {
				t.Errorf("%d attempts, want %d", got, test.attempts)
			}
			if len(w.waits) != test.attempts-1 {
				t.Errorf("waits %v, want %d", w.waits, test.attempts-1)
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
					t.Errorf("the error or the log has text of the answer: %s", text)
				}
			}
		})
	}
}

// Each attempt has its own nonce and timestamp.
func TestWebhookAttemptsAreFresh(t *testing.T) {
	t.Parallel()
	w := newWebhookTest(t, func(c *flyext.WebhookConfig) { c.Attempts = 8 }, hookAnswer{status: 503})
	if err := w.hooks.Updated(t.Context(), stream()); err == nil {
		t.Fatal("Updated succeeded, want an error")
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
		t.Errorf("%d different nonces, want 8", len(seen))
	}
	if got := strings.Count(w.log.text(), "webhook failed; will retry"); got != 7 {
		t.Errorf("%d records of failed attempts, want 7: %s", got, w.log.text())
	}
}

// The longest wait doubles with each attempt. The actual wait is random, between half
// of it and all of it.
func TestWebhookWaits(t *testing.T) {
	t.Parallel()
	latest := []time.Duration{1, 2, 4, 8, 16, 30, 30}
	early, late := 0, 0
	for range 100 {
		w := newWebhookTest(t, func(c *flyext.WebhookConfig) { c.Attempts = 8 }, hookAnswer{status: 503})
		if err := w.hooks.Updated(t.Context(), stream()); err == nil {
			t.Fatal("Updated succeeded, want an error")
		}
		for i, wait := range w.waits {
			d := latest[i] * time.Second
			if wait < d/2 || wait > d {
				t.Fatalf("wait %d is %v, want %v to %v", i+1, wait, d/2, d)
			}
			if wait < d*3/4 {
				early++
			} else {
				late++
			}
		}
	}
	if early < 200 || late < 200 {
		t.Errorf("%d early and %d late waits, want at least 200 of each", early, late)
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
				t.Fatalf("%d attempts, want %d: %v", got, test.attempts, err)
			}
			if test.attempts == 1 {
				e, ok := errors.AsType[*flyext.WebhookError](err)
				if !ok || !e.Temporary() || e.RetryAfter <= time.Minute || e.Status != test.status {
					t.Errorf("got %#v", err)
				}
				return
			}
			if err != nil || w.waits[0] < test.earliest+time.Second/2 || w.waits[0] > test.earliest+time.Second {
				t.Errorf("waited %v, want about %v; error %v", w.waits, test.earliest, err)
			}
		})
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
			t.Error("a nil *WebhookError is temporary or wraps an error")
		}
	}
}
