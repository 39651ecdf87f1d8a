package flytest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// TestWebhooksVerdicts checks the verdict on the requests that reach the webhook
// receiver.
func TestWebhooksVerdicts(t *testing.T) {
	t.Parallel()
	hook := func(n int, extra string) *http.Request {
		body := fmt.Sprintf(`{"timestamp":%d,"nonce":"n%d","action":"resource.updated","resource":{"id":"x%d"%s}}`, time.Now().Unix(), n, n, extra)
		r := httptest.NewRequest(http.MethodPost, conformanceHooks, strings.NewReader(body))
		r.Header.Set("X-Signature", hexHMAC(webhookSecret, body))
		return r
	}
	ask := func(method string) *http.Request { return httptest.NewRequest(method, conformanceHooks, nil) }
	signed := ask(http.MethodGet)
	signed.Header.Set("X-Signature", "none")
	for _, c := range []struct {
		name     string
		requests func() []*http.Request
		want     flytest.Verdict
		got      string
	}{
		{"none", func() []*http.Request { return nil }, flytest.Skipped, ""},
		{"a sound one", func() []*http.Request { return []*http.Request{hook(1, "")} }, flytest.Passed, ""},
		{"visits of a browser", func() []*http.Request {
			return []*http.Request{ask(http.MethodGet), hook(1, ""), ask(http.MethodHead), ask(http.MethodOptions)}
		}, flytest.Passed, ""},
		{"only a visit of a browser", func() []*http.Request { return []*http.Request{ask(http.MethodGet)} }, flytest.Skipped, ""},
		{"a signed GET", func() []*http.Request { return []*http.Request{signed} }, flytest.Failed, "1 of 1 webhooks refused; reason for the last: the method must be POST"},
		{"a refused one before many others", func() []*http.Request {
			all := []*http.Request{ask(http.MethodPost)}
			for n := range 1000 {
				all = append(all, hook(n, ""))
			}
			return all
		}, flytest.Failed, "1 of 1001 webhooks refused"},
		{"a secret outside of config", func() []*http.Request {
			return []*http.Request{hook(1, `,"dashboard":"https:\/\/u:`+webhookSecret+`@logjam.example"`)}
		}, flytest.Failed, `a secret, in the webhook resource.updated of the resource "x1"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{format: flytest.FormatXSignature}
				w.testing = func(conformance *flytest.Conformance) {
					conformance.Only = []string{"webhooks"}
					conformance.Webhooks = &flytest.WebhookReceiver{Secret: webhookSecret}
					for _, r := range c.requests() {
						receive(conformance.Webhooks, r)
					}
				}
				got := w.run(t).Results[0]
				if got.Verdict != c.want || !strings.Contains(got.Got, c.got) || strings.Contains(got.String(), webhookSecret) {
					t.Errorf("got %v, want %s: %s", got, c.want, c.got)
				}
			})
		})
	}
}

// TestWebhookOfAnExtensionsSecret checks that the run finds the password of an
// extension in a webhook about it.
func TestWebhookOfAnExtensionsSecret(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{format: flytest.FormatXSignature, telling: func(*flyext.WebhookConfig) {}}
		w.service = &logstore{announce: func(told, made *flyext.Extension) {
			text, err := json.Marshal(made.Secrets["LOGJAM_URL"])
			if err != nil {
				t.Error(err)
			}
			told.Extra = map[string]json.RawMessage{"connection": text}
		}}
		w.testing = func(c *flytest.Conformance) { c.Only = []string{"webhooks"} }
		if got := w.run(t).Results[0]; got.Verdict != flytest.Failed || !strings.Contains(got.Got, "a secret, in the webhook") {
			t.Errorf("got %v, want a failure", got)
		}
	})
}
