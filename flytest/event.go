package flytest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
)

// An EventMode selects how CloudEvents are sent over HTTP.
type EventMode int

// The modes (CloudEvents HTTP Protocol Binding 1.0, section 3).
const (
	BinaryMode     EventMode = iota // attributes in ce-… headers, data in the body
	StructuredMode                  // one event as a JSON object in the body
	BatchedMode                     // a JSON array of events in the body
)

// String returns "binary", "structured" or "batched".
func (m EventMode) String() string {
	switch m {
	case BinaryMode:
		return "binary"
	case StructuredMode:
		return "structured"
	case BatchedMode:
		return "batched"
	}
	return fmt.Sprintf("EventMode(%d)", int(m))
}

// SendEvent sends an event: POST {base}/extensions/events. It returns an answer
// with a status other than 2xx as a *[flyext.Error].
//
// Empty fields of e get these defaults:
//
//   - ID: a random text
//   - Source: "https://api.fly.io"
//   - Type: "io.fly.machine.started"
//   - SpecVersion: "1.0"
//   - Time: the time of [Platform.Now]
//   - DataContentType: "application/json"
//   - Data, if nil: a JSON object with MachineID and Status
//
// The platform's Signer must support the mode. [XSignature] adds its parameters to
// a JSON object in the body. It therefore cannot sign a batch, or binary mode with
// data that is not a JSON object.
func (p *Platform) SendEvent(ctx context.Context, e flyext.Event, mode EventMode) error {
	return p.sendEvents(ctx, mode, e)
}

// SendEvents sends several events in one request, in [BatchedMode]. Defaults and
// errors are those of [Platform.SendEvent].
func (p *Platform) SendEvents(ctx context.Context, events ...flyext.Event) error {
	return p.sendEvents(ctx, BatchedMode, events...)
}

func (p *Platform) sendEvents(ctx context.Context, mode EventMode, events ...flyext.Event) error {
	r, err := p.NewEventRequest(ctx, mode, events...)
	if err != nil {
		return err
	}
	x, err := p.exchange(r)
	if err != nil {
		return err
	}
	if x.Response.StatusCode/100 != 2 {
		return decodeError(x.Response.StatusCode, x.ResponseBody)
	}
	return nil
}

// NewEventRequest returns the signed request of [Platform.SendEvent] or
// [Platform.SendEvents] without sending it. A test can change the request before it
// calls [Platform.Do], or send it twice. Modes other than [BatchedMode] take
// exactly one event.
func (p *Platform) NewEventRequest(ctx context.Context, mode EventMode, events ...flyext.Event) (*http.Request, error) {
	if len(events) != 1 && mode != BatchedMode {
		return nil, fmt.Errorf("flytest: %v mode takes one event, not %d", mode, len(events))
	}
	now := time.Now
	if p.Now != nil {
		now = p.Now
	}
	filled := make([]flyext.Event, len(events))
	for i, e := range events {
		var err error
		if filled[i], err = fillEvent(e, now()); err != nil {
			return nil, err
		}
	}
	header, body, err := encodeEvents(mode, filled)
	if err != nil {
		return nil, err
	}
	// Set the headers before signing, because the signature may cover them.
	signs := &Platform{BaseURL: p.BaseURL, Now: p.Now}
	if p.Signer != nil {
		signs.Signer = signerFunc(func(r *http.Request, now time.Time) error {
			maps.Copy(r.Header, header)
			return p.Signer.Sign(r, now)
		})
	}
	return signs.NewRequest(ctx, http.MethodPost, "/extensions/events", body)
}

// encodeEvents returns the header and the body of a request with events. Modes other
// than [BatchedMode] have exactly one event.
func encodeEvents(mode EventMode, events []flyext.Event) (header http.Header, body []byte, err error) {
	header = make(http.Header)
	switch mode {
	case BinaryMode:
		body, err = events[0].Data, binaryHeader(header, events[0])
	case StructuredMode:
		header.Set("Content-Type", "application/cloudevents+json")
		body, err = structuredEvent(events[0])
	case BatchedMode:
		header.Set("Content-Type", "application/cloudevents-batch+json")
		body, err = batchedEvents(events)
	default:
		err = fmt.Errorf("flytest: unknown mode %v", mode)
	}
	return header, body, err
}

func fillEvent(e flyext.Event, now time.Time) (flyext.Event, error) {
	e.ID = cmp.Or(e.ID, rand.Text())
	e.Source = cmp.Or(e.Source, "https://api.fly.io")
	e.Type = cmp.Or(e.Type, "io.fly.machine.started")
	e.SpecVersion = cmp.Or(e.SpecVersion, "1.0")
	if e.Time.IsZero() {
		e.Time = now
	}
	e.DataContentType = cmp.Or(e.DataContentType, "application/json")
	if e.Data != nil {
		return e, nil
	}
	w := newBodyWriter()
	w.member("machine_id", e.MachineID)
	w.member("status", e.Status)
	var err error
	e.Data, err = w.close(nil)
	return e, err
}

// eventAttributes returns the attributes of an event in the order of the
// specification, without datacontenttype.
func eventAttributes(e flyext.Event) [][2]string {
	all := [][2]string{{"specversion", e.SpecVersion}, {"id", e.ID}, {"source", e.Source}, {"type", e.Type}}
	for _, a := range [][2]string{{"subject", e.Subject}, {"time", e.Time.Format(time.RFC3339Nano)}, {"dataschema", e.DataSchema}} {
		if a[1] != "" {
			all = append(all, a)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		all = append(all, [2]string{name, e.Extensions[name]})
	}
	return all
}

func binaryHeader(h http.Header, e flyext.Event) error {
	for _, a := range eventAttributes(e) {
		if !utf8.ValidString(a[1]) {
			return fmt.Errorf("flytest: the event's %q is not UTF-8", a[0])
		}
		h.Set("Ce-"+a[0], escapeFieldValue(a[1]))
	}
	h.Set("Content-Type", e.DataContentType)
	return nil
}

// escapeFieldValue escapes the characters that section 3.1.3.2 of the binding
// lists: space, double quote, percent, and everything except printable ASCII.
func escapeFieldValue(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if c := value[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func structuredEvent(e flyext.Event) ([]byte, error) {
	w := newBodyWriter()
	for _, a := range eventAttributes(e) {
		w.member(a[0], a[1])
	}
	w.member("datacontenttype", e.DataContentType)
	media, _, _ := strings.Cut(e.DataContentType, ";")
	isJSON := strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
	switch {
	case isJSON && jsontext.Value(e.Data).IsValid():
		w.member("data", jsontext.Value(e.Data))
	case !isJSON && utf8.Valid(e.Data):
		w.member("data", string(e.Data))
	default:
		w.member("data_base64", base64.StdEncoding.EncodeToString(e.Data))
	}
	return w.close(nil)
}

func batchedEvents(events []flyext.Event) ([]byte, error) {
	all := make([][]byte, len(events))
	for i, e := range events {
		var err error
		if all[i], err = structuredEvent(e); err != nil {
			return nil, err
		}
	}
	return slices.Concat([]byte("["), bytes.Join(all, []byte(",")), []byte("]")), nil
}

// eventFields returns the lower-case names of the headers that describe an event
// and that covered lacks. A message signature must cover them.
func eventFields(h http.Header, covered []string) []string {
	var names []string
	for field := range h {
		if name := strings.ToLower(field); strings.HasPrefix(name, "ce-") {
			names = append(names, name)
		}
	}
	contentType := h.Get("Content-Type")
	if strings.HasPrefix(contentType, "application/cloudevents") || len(names) > 0 && contentType != "" {
		names = append(names, "content-type")
	}
	slices.Sort(names)
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(covered, name) })
}
