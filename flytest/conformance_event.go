package flytest

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/flyext/flyext"
)

var eventChecks = []check{
	{Requirement{
		ID: "event", Group: groupEvents,
		Text:   "An event of a machine is received",
		Source: sourceEvents,
		Fix:    "Answer POST {base}/extensions/events with 200; the ce-* fields say what the body is about.",
	}, checkEvent},
	{Requirement{
		ID: "event-type", Group: groupEvents,
		Text:   "An event of a type that is not known is no error",
		Source: sourceDecisions,
		Fix:    "Answer 200 to what you have no use for: with an error, Fly.io would send it again.",
	}, checkEventType},
	{Requirement{
		ID: "event-again", Group: groupEvents,
		Text:   "An event that comes again is a success",
		Source: sourceDecisions,
		Fix:    "Remember source and id of an event, and answer 200 to one that you have: it was sent again because an answer was lost.",
	}, checkEventAgain},
	{Requirement{
		ID: "event-signature", Group: groupEvents,
		Text:   "An event that Fly.io did not sign is refused",
		Source: sourceEvents,
		Fix:    "Verify an event as you verify an order.",
	}, checkEventSignature},
	{Requirement{ // the last of all: webhooks may be late
		ID: "webhooks", Group: groupEvents,
		Text:   "Webhooks are signed, fresh, and have no secrets in them",
		Source: sourceWebhooks,
		Fix:    "Sign the bytes that are sent, with the webhook secret and a new timestamp each time, and send what GET answers.",
	}, checkWebhooks},
}

// event sends one, signed as usual unless it is told otherwise.
func (s *subject) event(ctx context.Context, e flyext.Event, changes ...how) (Exchange, error) {
	r, err := s.signing(http.MethodPost, "/extensions/events", changes...).NewEventRequest(ctx, BinaryMode, e)
	if err != nil {
		return Exchange{}, err
	}
	return s.send(r)
}

// receives is a *skip if the provider does not receive events.
func (s *subject) receives(ctx context.Context) error {
	if s.generation() == flyext.Generation1 {
		return &skip{"generation 1 has no events"}
	}
	e, err := s.event(ctx, s.started())
	if err != nil {
		return err
	}
	switch e.Response.StatusCode {
	case http.StatusNotImplemented, http.StatusNotFound, http.StatusMethodNotAllowed:
		return &skip{fmt.Sprintf("events are not received (%s)", e.Response.Status)}
	}
	return succeeded(e)
}

// started is the event of a machine of nobody's.
func (s *subject) started() flyext.Event {
	return flyext.Event{ID: s.newID(), Type: "io.fly.machine.started", MachineID: "5683977ad31768", Status: "started"}
}

func checkEvent(ctx context.Context, s *subject) error { return s.receives(ctx) }

// succeeds sends an event to a provider that receives the usual one.
func (s *subject) succeeds(ctx context.Context, events ...flyext.Event) error {
	if err := s.receives(ctx); err != nil {
		return skipFailure(err, "events are not received")
	}
	for _, event := range events {
		e, err := s.event(ctx, event)
		if err == nil {
			err = succeeded(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkEventType(ctx context.Context, s *subject) error {
	event := s.started()
	event.Type = "io.fly.flytest.unknown"
	return s.succeeds(ctx, event)
}

func checkEventAgain(ctx context.Context, s *subject) error {
	event := s.started()
	return s.succeeds(ctx, event, event)
}

func checkEventSignature(ctx context.Context, s *subject) error {
	if err := s.succeeds(ctx); err != nil {
		return err
	}
	for what, signer := range map[string]Signer{
		"who signed nothing":            signerFunc(nobody),
		"who signs with another secret": s.with(func(c *Credentials) { c.SigningSecret = another(c.SigningSecret) }),
	} {
		e, err := s.event(ctx, s.started(), signedBy(signer))
		if err == nil {
			err = refused(e, what)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkWebhooks is of what came on the provider's own account. Of a webhook that
// was refused it tells why, and nothing of the body, which may hold secrets.
func checkWebhooks(_ context.Context, s *subject) error {
	if s.Webhooks == nil {
		return &skip{"no played receiver was given that the provider sends its webhooks to"}
	}
	stats := s.Webhooks.Stats()
	if stats.Refused == 0 && stats.Accepted == 0 {
		return &skip{"no webhook came"}
	}
	for _, w := range slices.Backward(s.Webhooks.Webhooks()) {
		if w.Refused != "" {
			return &failure{"webhooks that Fly.io accepts", fmt.Sprintf("%d of %d that it refuses; of the last one, %s", stats.Refused, stats.Refused+stats.Accepted, w.Refused)}
		}
	}
	return nil
}
