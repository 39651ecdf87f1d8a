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

// An EventReceiver receives POST {base}/extensions/events: what Fly.io has to
// tell of the customers' machines, as CloudEvents 1.0 over HTTP in binary,
// structured or batched mode. It is a capability of a [Provisioner]; without it
// the route answers 501.
//
// ReceiveEvent returns nil once the event is the receiver's to keep, be it one
// of no interest: events of every type come here, also of types that are not
// known yet. Its error, whichever it is, is answered with a status of 5xx (an
// *[Error] of 5xx keeps its own), so that the sender tries again.
//
// Every event that is answered as a success was received at least once. In one
// process an event, which is its source and id, is never received twice at the
// same time, and not again after ReceiveEvent has returned nil while that is
// remembered: for a day, unless the process ends before or has a million others
// to remember. A copy of it is a success, too. Where [Config.ReplayStore] is a
// [ReplayLookup], that memory is shared by all machines and outlives them; still,
// an event is received twice if two machines get a copy at the same instant, or if
// one stops between having received it and having said so. Make what follows from
// an event idempotent, or keep its source and id beside it.
//
// Events of different ids are received concurrently and arrive in any order;
// those of one batch one after the other, and those that follow an error, too.
// [Config.Timeout] bounds all of a request: events for which a batch has no time
// left are not received before they come again, so keep what takes long for
// later. The context is that of every other call; see [Provisioner].
type EventReceiver interface {
	ReceiveEvent(ctx context.Context, e *Event) error
}

// An Event is a CloudEvent (https://cloudevents.io), and what Fly.io's say of a
// machine.
//
// Which part of it is Fly.io's word depends on the signature. [XSignature]
// covers the body: in structured mode the whole event, in binary mode the data
// (Data, and MachineID and Status while DataContentType is JSON) and not the
// attributes, which are header fields. Who keeps a genuine request from arriving
// can deliver its data under another ID, Source, Type or Time, once and within
// minutes, which would also make the event of that ID a copy; so decide by the
// data where that matters. Since Content-Type is such a field, too, data in binary
// mode that looks like an event in structured mode (it has a "specversion") is
// refused. The same person could send what Fly.io signed to PATCH an extension
// whose ID is "events" as an event, since X-Signature does not cover the method
// either: give no extension that ID. [MessageSignature] covers the attributes as
// well: it refuses an event that has one outside of the signature, whatever the
// mode.
type Event struct {
	ID     string // never empty; unique together with Source
	Source string // never empty; a URI reference
	Type   string // never empty, such as "io.fly.machine.starting"

	SpecVersion     string    // "1.0"
	Subject         string    // or ""
	Time            time.Time // when it happened, or the zero Time
	DataContentType string    // the media type of Data, or ""
	DataSchema      string    // a URI, or ""

	// Extensions are the attributes that CloudEvents does not define, by name,
	// as text: a number in its digits, a boolean as "true" or "false". The
	// parameters of X-Signature (timestamp, nonce, url) are not among them. An
	// optional attribute that cannot be read, such as a time without a zone, is the
	// zero value in its own field and its text is here.
	Extensions map[string]string

	// MachineID and Status are those of the data, such as "5683977ad31768" and
	// "failed", or "" where the data has none.
	MachineID string
	Status    string

	// Data is the event's data as it came: JSON text where that is what it is,
	// else the bytes; nil without any. In binary mode under X-Signature it is the
	// body, and has the signature's parameters among its members.
	Data []byte

	// Undated reports that the signature of the event has no time, nonce and URL,
	// as the example on Fly.io's page has none. Such an event is accepted once, by
	// its MAC, for as long as events are remembered. [Policy.RequireEventTime]
	// refuses it.
	Undated bool

	undated []Nonce  // of the signature
	unread  []string // the names of the attributes that could not be read
}

const (
	routeEvents     = "/extensions/events"
	eventsID        = "events" // the element of that path that could be an id
	eventMemory     = 24 * time.Hour
	maxBatch        = 1000
	maxRememberTime = 5 * time.Second
)

// nonce is under what an event is remembered.
func (e *Event) nonce(now time.Time) Nonce {
	return Nonce{Key: NonceKey("cloudevent", e.Source, e.ID), Expires: now.Add(eventMemory)}
}

// A delivery brings events to their receiver, each once as far as it can know.
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

// receive decodes an admitted request for the receiver of events.
func (p *Provider) receive(m *Message, v Verification, rec *record) (operation, error) {
	receiver, ok := p.provisioner.(EventReceiver)
	if !ok {
		return operation{}, Unsupported("This provider does not receive events.")
	}
	events, err := decodeEvents(m, v.Generation)
	if err != nil {
		return operation{}, err
	}
	for _, e := range events {
		for _, n := range v.Nonces {
			if n.OnReceipt {
				e.undated, e.Undated = append(e.undated, n), true
			}
		}
	}
	return operation{run: func(ctx context.Context) ([]byte, error) {
		return noAnswer, p.delivery.all(ctx, rec, receiver, events)
	}}, nil
}

// all delivers the events of one request. One that fails holds up none of the
// others: when they all come again, they are duplicates and it is not. One that
// takes all of the time does hold up those behind it.
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

// one delivers one event unless it was delivered before, and remembers it
// afterwards. A ReplayStore takes nothing back, so an entry before the delivery
// would turn a crash into a lost event.
func (d *delivery) one(ctx context.Context, rec *record, receiver EventReceiver, e *Event) error {
	nonces := append(slices.Clone(e.undated), e.nonce(d.now())) // the locks are taken in this order
	for _, n := range nonces {
		lock := string(n.Key[:])
		if err := d.locks.lock(ctx, lock); err != nil {
			return timedOut(fmt.Errorf("waiting for another copy of the event: %w", err))
		}
		defer d.locks.unlock(lock)
	}
	if err := ctx.Err(); err != nil { // the events before it in the batch took all the time
		return timedOut(err)
	}
	switch received, err := d.wasReceived(ctx, e, nonces); {
	case err != nil:
		rec.unreplayable(err)
		return err
	case received:
		rec.write(ctx, slog.LevelInfo, "event received before")
		return nil
	}
	if len(e.unread) > 0 {
		rec.write(ctx, slog.LevelWarn, "event has parts that cannot be read", slog.String("parts", strings.Join(e.unread, ", ")))
	}
	if err := catch(func() error { return receiver.ReceiveEvent(ctx, e) }); err != nil {
		return eventError(err)
	}
	for _, n := range nonces {
		d.remember(ctx, rec, n)
	}
	return nil
}

// wasReceived reports whether an event was received before. A signature without a
// time that comes with another event is a copy, and refused.
func (d *delivery) wasReceived(ctx context.Context, e *Event, nonces []Nonce) (bool, error) {
	for i := len(nonces) - 1; i >= 0; i-- { // the event's own nonce first
		used, err := d.received.Used(ctx, nonces[i])
		switch {
		case err != nil:
			return false, replayUnavailable(err)
		case used && nonces[i].OnReceipt:
			return false, unauthenticated(ErrReplayed)
		case used:
			return true, nil
		}
	}
	return false, nil
}

// remember does not fail the event: it was received, and whatever is answered
// cannot undo that. The deadline may have come; the memory is worth a moment
// more.
func (d *delivery) remember(ctx context.Context, rec *record, nonce Nonce) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxRememberTime)
	defer cancel()
	switch fresh, err := d.received.Use(ctx, nonce); {
	case err != nil:
		rec.write(ctx, slog.LevelError, "event received and not remembered", slog.String("error", err.Error()))
	case !fresh:
		rec.write(ctx, slog.LevelWarn, "event received twice, by two machines at once")
	}
}

// eventError makes of a receiver's error one that the sender takes for a reason
// to try again: a 4xx would tell it that the event is not wanted.
func eventError(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e != nil && e.Status >= 500 && e.Status <= 599 {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return timedOut(err)
	}
	return &Error{Status: http.StatusInternalServerError, Code: CodeInternal, Err: err}
}
