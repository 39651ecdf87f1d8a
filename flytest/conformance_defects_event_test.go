package flytest_test

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/flyext/flyext"
)

var eventDefects = []defect{
	{id: "event", breaks: serving(&logstore{receive: func(*logstore, *flyext.Event) error { return errInternal }})},
	{id: "event-type", breaks: serving(&logstore{receive: func(_ *logstore, e *flyext.Event) error {
		if e.Type != "io.fly.machine.started" {
			return flyext.Invalid("There is no such type.")
		}
		return nil
	}})},
	{id: "event-again", breaks: func(w *world) {
		received := map[string]bool{}
		w.handling = func(provider http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if id := r.Header.Get("Ce-Id"); id != "" {
					if received[id] {
						rw.WriteHeader(http.StatusConflict)
						return
					}
					received[id] = true
				}
				provider.ServeHTTP(rw, r)
			})
		}
	}},
	{id: "event-signature", name: "nothing is verified", breaks: func(w *world) {
		w.config.EventVerifier = verifierFunc(func(context.Context, *flyext.Message) (flyext.Verification, error) {
			return flyext.Verification{Generation: flyext.Generation2}, nil
		})
	}},
	{id: "webhooks", name: "another secret", breaks: func(w *world) {
		w.telling = func(c *flyext.WebhookConfig) { c.Secret = "another-" + webhookSecret }
	}},
	{id: "webhooks", name: "one without a signature", breaks: func(w *world) {
		w.telling = func(c *flyext.WebhookConfig) {
			var sent atomic.Int32
			fly := c.HTTPClient.Transport
			c.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				if sent.Add(1) == 3 {
					r.Header.Set("X-Signature", "none")
				}
				return fly.RoundTrip(r)
			})}
		}
	}},
	{id: "event-signature", name: "all are accepted", breaks: func(w *world) {
		w.spoil = func(_ *world, r *http.Request, a *answered) {
			if r.URL.Path == "/flyio/extensions/events" {
				a.status, a.body = http.StatusAccepted, nil
			}
		}
	}},
	{id: "event-signature", name: "another secret is accepted", breaks: func(w *world) {
		w.config.EventVerifier = flyext.XSignature(secret, "another-"+secret)
	}},
}
