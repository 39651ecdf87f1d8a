package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const eventHelp = `Event simulates a machine of the customer that started, stopped or failed. It
sends the provider a CloudEvent, POST {base}/extensions/events. The provider must
answer with a 2xx status, including for types that it does not know and for
duplicates (--again). Fly.io repeats an event after an error.

Flysim makes up the values that you do not set: a new id each time, and a machine
that started.`

// eventOptions holds the flags of event.
type eventOptions struct {
	flyext.Event
	data, mode string
	count      int
	again      bool
}

const (
	defaultEventType   = "io.fly.machine.started"
	defaultEventSource = "https://api.fly.io"
	defaultMachine     = "5683977ad31768"
	maxEvents          = 10_000
	maxShownIDs        = 5 // of a batch
)

func (p *program) eventCommand() *cobra.Command {
	var o eventOptions
	cmd := &cobra.Command{
		Use: "event [flags]", Short: "Send machine events", Long: eventHelp, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.event(cmd, &o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Type, "type", defaultEventType, "the `type` of the event")
	flags.StringVar(&o.ID, "id", "", "the `id` of the event, which with the source identifies duplicates (default a new one)")
	flags.StringVar(&o.Source, "source", defaultEventSource, "the source of the event, a `URI`")
	flags.StringVar(&o.Subject, "subject", "", "the `subject` of the event")
	flags.StringVar(&o.MachineID, "machine", defaultMachine, "the `id` of the machine, in the data")
	flags.StringVar(&o.Status, "status", "", "the `status` of the machine, in the data (default the last word of the type)")
	flags.StringVar(&o.data, "data", "", "the data of the event, instead of machine and status: `JSON`, @FILE, or - for standard input")
	flags.StringVar(&o.mode, "mode", flytest.BinaryMode.String(), "the `mode` of sending: binary, structured or batched; x-signature cannot sign batches")
	flags.IntVar(&o.count, "count", 1, "the `number` of events to send; batched mode sends them in one request")
	flags.BoolVar(&o.again, "again", false, "send each request twice, signed anew; the provider must answer the duplicate with a success too")
	return cmd
}

func (p *program) event(cmd *cobra.Command, o *eventOptions) error {
	fly, err := p.platform()
	if err != nil {
		return err
	}
	mode, err := parseMode(o.mode)
	if err != nil {
		return err
	}
	events, err := p.events(cmd, o)
	if err != nil {
		return err
	}
	var batches [][]flyext.Event
	if mode == flytest.BatchedMode {
		batches = [][]flyext.Event{events}
	} else {
		for i := range events {
			batches = append(batches, events[i:i+1])
		}
	}
	if err := p.checkSigns(cmd.Context(), fly, mode, batches[0]); err != nil {
		return err
	}
	return p.sendEvents(cmd.Context(), fly, mode, batches, o.again)
}

func parseMode(name string) (flytest.EventMode, error) {
	for _, mode := range []flytest.EventMode{flytest.BinaryMode, flytest.StructuredMode, flytest.BatchedMode} {
		if mode.String() == name {
			return mode, nil
		}
	}
	return 0, usagef("unknown mode %q; --mode is binary, structured or batched", name)
}

// events returns the events to send, with ids.
func (p *program) events(cmd *cobra.Command, o *eventOptions) ([]flyext.Event, error) {
	switch {
	case o.count < 1 || o.count > maxEvents:
		return nil, usagef("--count must be 1 to %d", maxEvents)
	case o.count > 1 && o.ID != "":
		return nil, usagef("--id is for one event, but --count is %d; use --again to send an event twice", o.count)
	case o.Type == "" || o.Source == "":
		return nil, usagef("--type and --source must not be empty")
	}
	first := o.Event
	if cmd.Flags().Changed("data") {
		if cmd.Flags().Changed("machine") || cmd.Flags().Changed("status") {
			return nil, usagef(`--data excludes --machine and --status; put "machine_id" and "status" into the data`)
		}
		var err error
		if first.Data, err = p.readData(o.data); err != nil {
			return nil, err
		}
		first.MachineID = ""
	} else if !cmd.Flags().Changed("status") {
		first.Status = first.Type[strings.LastIndexByte(first.Type, '.')+1:]
	}
	events := make([]flyext.Event, o.count)
	for i := range events {
		events[i] = first
		events[i].ID = cmp.Or(o.ID, strings.ToLower(rand.Text()))
	}
	return events, nil
}

func (p *program) readData(data string) ([]byte, error) {
	text, where := []byte(data), "the text"
	var err error
	switch name, isFile := strings.CutPrefix(data, "@"); {
	case data == "-":
		where = "standard input"
		text, err = io.ReadAll(p.stdin)
	case isFile:
		where = name
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, usagef("--data: %w", err)
	}
	var value any
	if err := jsonv2.Unmarshal(text, &value); err != nil {
		return nil, usagef("--data: %s is not valid JSON", where)
	}
	return bytes.TrimSpace(text), nil
}

// checkSigns returns an error for events that the format cannot sign, before
// flysim sends a request.
func (p *program) checkSigns(ctx context.Context, fly *flytest.Platform, mode flytest.EventMode, events []flyext.Event) error {
	_, err := fly.NewEventRequest(ctx, mode, events...)
	if err == nil {
		return nil
	}
	reason := strings.TrimPrefix(err.Error(), "flytest: ")
	if p.format != flytest.FormatXSignature {
		return usagef("cannot send the event: %s", reason)
	}
	const why = "x-signature cannot sign this event. It adds a timestamp, a nonce and the URL to a JSON object in the body"
	switch mode {
	case flytest.BatchedMode:
		return usagef("%s, but a batch is an array. Use --mode structured, or a format of generation 1 such as --format rfc9421", why)
	case flytest.BinaryMode:
		return usagef("%s, which in binary mode is the data (%s). Use --mode structured", why, reason)
	}
	return usagef("%s (%s)", why, reason)
}

// A sending is one request with events.
type sending struct {
	events   []flyext.Event
	again    bool
	exchange flytest.Exchange
}

// sendEvents sends events until the provider refuses a request.
func (p *program) sendEvents(ctx context.Context, fly *flytest.Platform, mode flytest.EventMode, batches [][]flyext.Event, again bool) error {
	var all []sending
	observe := fly.Observe
	fly.Observe = func(e flytest.Exchange) {
		all[len(all)-1].exchange = e
		observe(e)
	}
	send := func(events []flyext.Event, again bool) (err error) {
		all = append(all, sending{events: events, again: again})
		if mode == flytest.BatchedMode {
			err = fly.SendEvents(ctx, events...)
		} else {
			err = fly.SendEvent(ctx, events[0], mode)
		}
		if last := &all[len(all)-1]; !p.json && last.exchange.Response != nil {
			p.showSending(mode, last)
		}
		return err
	}
	var err error
	for _, events := range batches {
		if err = send(events, false); err == nil && again {
			if err = send(events, true); isType[*flyext.Error](err) {
				err = &duplicateError{err}
			}
		}
		if err != nil {
			break
		}
	}
	if !p.json || ctx.Err() != nil {
		return err
	}
	p.writeJSON(p.newJSONSendings(mode, all, err))
	if err != nil {
		return &reportedError{err}
	}
	return nil
}

// A duplicateError is the refusal of a duplicate event.
type duplicateError struct{ reason error }

func (e *duplicateError) Error() string { return e.reason.Error() }
func (e *duplicateError) Unwrap() error { return e.reason }

// showSending shows a request with events and its answer.
func (p *program) showSending(mode flytest.EventMode, s *sending) {
	first := s.events[0]
	label := func(text string) string { return fmt.Sprintf("%-9s", text) }
	what := first.Type + ", " + mode.String()
	if n := len(s.events); n > 1 {
		what = fmt.Sprintf("%s, %d events, %s", first.Type, n, mode)
	}
	if s.again {
		what += ", duplicate"
	}
	p.out.hangAs(dim, label("event"), plain, what)
	for _, e := range s.events[:min(len(s.events), maxShownIDs)] {
		p.out.hangAs(dim, label("id"), plain, e.ID)
	}
	if more := len(s.events) - maxShownIDs; more > 0 {
		p.out.hangAs(dim, label("id"), plain, fmt.Sprintf("… and %d more", more))
	}
	p.out.hangAs(dim, label("source"), plain, first.Source)
	if first.Subject != "" {
		p.out.hangAs(dim, label("subject"), plain, first.Subject)
	}
	p.out.hangAs(dim, label("data"), plain, dataOf(first))
	style := green
	if s.exchange.Response.StatusCode/100 != 2 {
		style = red
	}
	p.out.hangAs(dim, label("answer"), style, s.exchange.Response.Status)
	p.out.blank()
}

// dataOf describes the data briefly.
func dataOf(e flyext.Event) string {
	if e.Data == nil {
		return "machine " + cmp.Or(e.MachineID, "none") + ", " + cmp.Or(e.Status, "no status")
	}
	if len(e.Data) > maxSent {
		return strings.ToValidUTF8(string(e.Data[:maxSent]), "") + fmt.Sprintf(" … (%d bytes)", len(e.Data))
	}
	return string(e.Data)
}

// A jsonSendings is the output of event --json.
type jsonSendings struct {
	Mode     string        `json:"mode"`
	Requests []jsonSending `json:"requests"`
	Error    *jsonError    `json:"error,omitempty"`
}

type jsonSending struct {
	Again   bool        `json:"again,omitempty"`
	Events  []jsonEvent `json:"events"`
	Status  int         `json:"status,omitempty"` // absent if there was no answer
	Seconds float64     `json:"seconds"`
}

type jsonEvent struct {
	ID        string `json:"id"`
	Source    string `json:"source"`
	Type      string `json:"type"`
	Subject   string `json:"subject,omitempty"`
	MachineID string `json:"machine_id,omitempty"`
	Status    string `json:"status,omitempty"`
}

func (p *program) newJSONSendings(mode flytest.EventMode, all []sending, err error) *jsonSendings {
	doc := &jsonSendings{Mode: mode.String()}
	for _, s := range all {
		one := jsonSending{Again: s.again, Seconds: seconds(s.exchange.Duration)}
		for _, e := range s.events {
			one.Events = append(one.Events, jsonEvent{e.ID, e.Source, e.Type, e.Subject, e.MachineID, e.Status})
		}
		if s.exchange.Response != nil {
			one.Status = s.exchange.Response.StatusCode
		}
		doc.Requests = append(doc.Requests, one)
	}
	if err != nil {
		doc.Error = p.newJSONError(err)
	}
	return doc
}
