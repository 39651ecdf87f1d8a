package flyext

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
)

// An EventReceiver handles POST {base}/extensions/events: the events of the customers'
// machines, as CloudEvents 1.0 over HTTP in binary, structured or batched mode. It is
// an optional capability of a [Provisioner].
//
// Return nil once you have taken responsibility for the event, even if you ignore it:
// events of unknown types arrive, too. After an error the client gets 5xx (an *[Error]
// of 5xx keeps its status), so that Fly.io sends the event again.
//
// Delivery is at least once. Within one process, events are de-duplicated by source
// and id: a duplicate is never delivered concurrently, nor within a day after
// ReceiveEvent returned nil (or until the process exits, or half a million newer
// events have been seen). If [Config.ReplayStore] is a [ReplayLookup], duplicates are
// detected across all machines. A duplicate is still delivered if two machines receive
// the event at the same instant, or if a machine stops after the delivery and before its
// record. Make the consequences of an event idempotent.
//
// Events with different ids are delivered concurrently and in any order. The events of
// a batch, 1,000 at most, are delivered in sequence; an error does not stop the others.
// [Config.Timeout] bounds the whole request. Events of a batch that have no time left
// are delivered when Fly.io sends the batch again.
type EventReceiver interface {
	ReceiveEvent(ctx context.Context, e *Event) error
}

// An Event is a CloudEvent (https://cloudevents.io) about a customer's machine.
//
// The signature determines which parts are proven to be Fly.io's:
//
//   - [XSignature] covers the body. In structured mode that is the whole event. In
//     binary mode it is the data (Data, and MachineID and Status if DataContentType
//     is JSON). The attributes are header fields and are not covered: an attacker who
//     intercepts a genuine request can deliver its data once, within minutes (if
//     Undated, at any time), with another ID, Source, Type or Time. If that matters,
//     rely on the data only. Data in binary mode with a member "specversion" is
//     refused: it could be an event in structured mode, because Content-Type is not
//     covered.
//   - [MessageSignature] also covers the attributes. In each mode it refuses an event
//     with an unsigned attribute.
//
// X-Signature does not cover the method, so give no extension the ID "events": a PATCH
// of that extension could be replayed as an event.
type Event struct {
	ID     string // never empty; unique together with Source
	Source string // never empty; a URI reference
	Type   string // never empty, such as "io.fly.machine.starting"

	SpecVersion     string    // "1.0"
	Subject         string    // or ""
	Time            time.Time // the time of the event, or the zero Time
	DataContentType string    // the media type of Data, or ""
	DataSchema      string    // a URI, or ""

	// Extensions are the attributes that CloudEvents does not define, by name. Numbers
	// and booleans are text, such as "7" and "true". The parameters of X-Signature
	// (timestamp, nonce, url) are excluded. If an optional attribute is malformed, such
	// as a time without a zone, its own field is zero and its text is here.
	Extensions map[string]string

	// MachineID and Status are members of the data, such as "5683977ad31768" and
	// "failed", or "".
	MachineID string
	Status    string

	// Data is the raw data of the event, or nil. In binary mode with X-Signature, its
	// members include the parameters of the signature.
	Data []byte

	// Undated reports whether the X-Signature lacks a timestamp, a nonce or a URL, as in
	// the example on Fly.io's page. Its MAC is its nonce, which is remembered for a day
	// or longer. [Policy.RequireEventTime] refuses such an event.
	Undated bool

	undated []Nonce  // the nonces of an undated signature
	unread  []string // the names of malformed attributes
}

const (
	routeEvents     = "/extensions/events"
	eventsID        = "events" // the last element of routeEvents, which an extension could have as its id
	eventMemory     = 24 * time.Hour
	maxBatch        = 1000
	maxRememberTime = 5 * time.Second
)

// nonce returns the nonce that marks the event as received.
func (e *Event) nonce(now time.Time) Nonce {
	return Nonce{Key: NonceKey("cloudevent", e.Source, e.ID), Expires: now.Add(eventMemory), OnReceipt: true}
}

// A delivery passes events to the receiver and remembers them.
type delivery struct {
	received ReplayLookup
	now      func() time.Time
	locks    lockTable
}

func newDelivery(store ReplayStore, now func() time.Time) *delivery {
	d := &delivery{now: now}
	var ok bool
	if d.received, ok = store.(ReplayLookup); !ok {
		d.received = newMemoryLookup(now)
	}
	return d
}

// receive decodes the events of an admitted request.
func (p *Provider) receive(ctx context.Context, rec *record, m *Message, v Verification) ([]byte, error) {
	receiver, ok := p.provisioner.(EventReceiver)
	if !ok {
		return nil, Unsupported("This provider does not receive events.")
	}
	events, err := decodeEvents(m, v.Generation)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		for _, n := range v.Nonces {
			if n.OnReceipt {
				e.undated, e.Undated = append(e.undated, n), true
			}
		}
	}
	return p.call(ctx, rec, "", func(ctx context.Context) ([]byte, error) {
		return noAnswer, p.delivery.all(ctx, rec, receiver, events)
	})
}

// all delivers the events of one request. A failure does not stop the others: when
// Fly.io sends the request again, the delivered events are duplicates.
func (d *delivery) all(ctx context.Context, rec *record, receiver EventReceiver, events []*Event) error {
	var failed error
	failures := 0
	for i, e := range events {
		err := d.one(ctx, rec, receiver, e)
		if err == nil {
			continue
		}
		if len(events) > 1 {
			err = fmt.Errorf("event %d of %d: %w", i+1, len(events), err)
		}
		if failures++; failures == 1 {
			failed = err
		}
	}
	if failures > 1 {
		rec.write(ctx, slog.LevelWarn, "several events failed", slog.Int("failures", failures), slog.Int("events", len(events)))
	}
	return failed
}

// one delivers an event unless it is a duplicate, and then remembers it. A ReplayStore
// cannot remove an entry, so an entry before the delivery would lose the event in a
// crash.
func (d *delivery) one(ctx context.Context, rec *record, receiver EventReceiver, e *Event) error {
	nonces := append(slices.Clone(e.undated), e.nonce(d.now())) // a fixed order of locks prevents deadlocks
	for _, n := range nonces {
		lock := string(n.Key[:])
		if err := d.locks.lock(ctx, lock); err != nil {
			return timedOut(fmt.Errorf("waiting for another copy of the event: %w", err))
		}
		defer d.locks.unlock(lock)
	}
	if err := ctx.Err(); err != nil { // earlier events of the batch took all the time
		return timedOut(err)
	}
	switch received, err := d.wasReceived(ctx, e, nonces); {
	case err != nil:
		rec.unreplayable(err)
		return err
	case received:
		rec.write(ctx, slog.LevelInfo, "duplicate event not delivered")
		return nil
	}
	if len(e.unread) > 0 {
		rec.write(ctx, slog.LevelWarn, "event has malformed parts", slog.String("parts", strings.Join(e.unread, ", ")))
	}
	if err := catch(func() error { return receiver.ReceiveEvent(ctx, e) }); err != nil {
		return eventError(err)
	}
	for _, n := range nonces {
		d.remember(ctx, rec, n)
	}
	return nil
}

// wasReceived reports whether an event is a duplicate. A used undated signature with
// another event is a replay, and an error.
func (d *delivery) wasReceived(ctx context.Context, e *Event, nonces []Nonce) (bool, error) {
	for i := len(nonces) - 1; i >= 0; i-- { // the event's own nonce first
		used, err := d.received.Used(ctx, nonces[i])
		switch {
		case err != nil:
			return false, replayUnavailable(err)
		case used && i < len(e.undated):
			return false, unauthenticated(ErrReplayed)
		case used:
			return true, nil
		}
	}
	return false, nil
}

// remember records that an event was received, even after the deadline. A failure is
// only logged: an error response would cause a second delivery.
func (d *delivery) remember(ctx context.Context, rec *record, nonce Nonce) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxRememberTime)
	defer cancel()
	switch fresh, err := d.received.Use(ctx, nonce); {
	case err != nil:
		rec.write(ctx, slog.LevelError, "event delivered but not remembered", slog.String("error", err.Error()))
	case !fresh:
		rec.write(ctx, slog.LevelWarn, "event delivered by two machines at once")
	}
}

// eventError makes a receiver's error a 5xx, so that Fly.io tries again. A 4xx would
// mean that the event is unwanted.
func eventError(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e != nil && e.Status >= 500 && e.Status <= 599 {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return timedOut(err)
	}
	return &Error{Status: http.StatusInternalServerError, Code: CodeInternal, Err: err}
}
