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
		Text:   "A machine event is accepted",
		Source: sourceEvents,
		Fix:    "Answer POST {base}/extensions/events with 200. The ce-* headers describe the event, and the body is its data.",
	}, checkEvent},
	{Requirement{
		ID: "event-type", Group: groupEvents,
		Text:   "An event of an unknown type is accepted",
		Source: sourceDecisions,
		Fix:    "Answer 200 to events that you do not use. After an error, Fly.io would send the event again.",
	}, checkEventType},
	{Requirement{
		ID: "event-again", Group: groupEvents,
		Text:   "A duplicate event is answered with success",
		Source: sourceDecisions,
		Fix:    "Remember the source and id of each event, and answer 200 to a duplicate: Fly.io sends an event again if your answer was lost.",
	}, checkEventAgain},
	{Requirement{
		ID: "event-signature", Group: groupEvents,
		Text:   "An event that Fly.io did not sign is refused",
		Source: sourceEvents,
		Fix:    "Verify the signature of an event as you do for provision requests.",
	}, checkEventSignature},
	{Requirement{ // the last requirement, because webhooks may arrive late
		ID: "webhooks", Group: groupEvents,
		Text:   "Webhooks are signed, fresh and free of secrets",
		Source: sourceWebhooks,
		Fix:    "Send the same resource as GET does, without secrets, with a new timestamp in each webhook. Sign the bytes that you send with the webhook secret.",
	}, checkWebhooks},
}

// event sends an event that is signed as Fly.io does, except for the changes.
func (s *subject) event(ctx context.Context, e flyext.Event, changes ...how) (Exchange, error) {
	r, err := s.signing(http.MethodPost, "/extensions/events", changes...).NewEventRequest(ctx, BinaryMode, e)
	if err != nil {
		return Exchange{}, err
	}
	return s.send(r)
}

// receives returns a *skip if the provider does not offer events.
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
		return &skip{fmt.Sprintf("events are not offered (%s)", e.Response.Status)}
	}
	return succeeded(e)
}

// started returns a new event of a machine that belongs to no extension.
func (s *subject) started() flyext.Event {
	return flyext.Event{ID: s.newID(), Type: "io.fly.machine.started", MachineID: "5683977ad31768", Status: "started"}
}

func checkEvent(ctx context.Context, s *subject) error { return s.receives(ctx) }

// succeeds sends events, which must be accepted. It returns a *skip if the provider does
// not accept the usual event.
func (s *subject) succeeds(ctx context.Context, events ...flyext.Event) error {
	if err := s.receives(ctx); err != nil {
		return skipFailure(err, "the usual event is not accepted")
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
		"an unsigned event":                   signsNothing,
		"an event signed with another secret": s.with(func(c *Credentials) { c.SigningSecret = another(c.SigningSecret) }),
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

// checkWebhooks examines the webhooks that the provider has sent during the run. The
// report has the reason of a refusal, but no body, because a body may hold secrets. The
// receiver itself refuses a webhook with a "config".
func checkWebhooks(_ context.Context, s *subject) error {
	if s.Webhooks == nil {
		return &skip{"no webhook receiver is configured; set Conformance.Webhooks or pass --webhook-addr 127.0.0.1:4001 to flysim"}
	}
	accepted, refused := s.Webhooks.Stats().Accepted, s.Webhooks.refused()
	if refused.count == 0 && accepted == 0 {
		return &skip{"the provider sent no webhook"}
	}
	if refused.count > 0 {
		return &failure{"webhooks that Fly.io accepts", fmt.Sprintf("%d of %d webhooks refused; reason for the last: %s", refused.count, refused.count+accepted, refused.last)}
	}
	s.conformanceRun.mu.Lock()
	defer s.conformanceRun.mu.Unlock()
	for _, w := range slices.Backward(s.Webhooks.Webhooks()) {
		if s.hasSecret(string(w.Body)) {
			return &failure{"webhooks without secrets", fmt.Sprintf("a secret, in the webhook %s of the resource %q", w.Action, w.Resource.ID)}
		}
	}
	return nil
}
