package flyext

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// An envelope is generation 2's answer, and the resource that GET answers in
// both generations: the first one's flat object has no place for a status. A
// webhook carries that resource too. What is empty is left out. No published
// page names the member for an error's message; ours is a guess.
type envelope struct {
	id             string
	hasConfig      bool
	config         Secrets
	name           string
	flyAppName     string
	status         Status
	message        string
	organizationID string
	userID         string
	extra          map[string]json.RawMessage
}

// envelopeMembers are the names that no extra member may have. That of the
// secrets is the one that matters: what is left out must not come in by the
// other door.
var envelopeMembers = []string{
	"id", "config", "name", "fly_app_name", "status", "error_message", "organization_id", "user_id",
}

var errExtraName = errors.New("flyext: Extension.Extra has a member that the protocol names")

func (e *envelope) encode() ([]byte, error) {
	w := newObjectWriter()
	w.text("id", e.id)
	if e.hasConfig {
		w.name("config")
		w.buf = append(w.buf, '{')
		w.secrets(e.config)
		w.buf = append(w.buf, '}')
	}
	for _, m := range [...]struct{ name, value string }{
		{"name", e.name}, {"fly_app_name", e.flyAppName}, {"status", string(e.status)}, {"error_message", e.message},
		{"organization_id", e.organizationID}, {"user_id", e.userID},
	} {
		if m.value != "" {
			w.text(m.name, m.value)
		}
	}
	if len(e.extra) == 0 { // of which there is no iterator without allocations
		return w.end()
	}
	for _, name := range slices.Sorted(maps.Keys(e.extra)) {
		if slices.Contains(envelopeMembers, name) {
			return nil, fmt.Errorf("%w: %q", errExtraName, name)
		}
		w.value(name, e.extra[name])
	}
	return w.end()
}

// An objectWriter writes a JSON object, member by member, without reflection,
// which takes nearly twice as long.
type objectWriter struct {
	buf []byte
	err error
}

func newObjectWriter() objectWriter {
	return objectWriter{buf: append(make([]byte, 0, 192), '{')}
}

// end returns the object, or why there is none: a text that is not UTF-8, a
// value that is not JSON.
func (w *objectWriter) end() ([]byte, error) {
	if w.err != nil {
		return nil, w.err
	}
	return append(w.buf, '}'), nil
}

func (w *objectWriter) quote(text string) {
	w.append(jsontext.AppendQuote(w.buf, text))
}

func (w *objectWriter) append(buf []byte, err error) {
	if w.buf = buf; w.err == nil {
		w.err = err
	}
}

func (w *objectWriter) comma() {
	if w.buf[len(w.buf)-1] != '{' {
		w.buf = append(w.buf, ',')
	}
}

// name begins a member. Nothing in its name needs escaping: it is one of the
// protocol's, or a secret's that was checked.
func (w *objectWriter) name(name string) {
	w.comma()
	w.buf = append(append(append(w.buf, '"'), name...), '"', ':')
}

func (w *objectWriter) text(name, value string) {
	w.name(name)
	w.quote(value)
}

// value writes any value; nil is null, as it is to encoding/json.
func (w *objectWriter) value(name string, value json.RawMessage) {
	if value == nil {
		value = json.RawMessage("null")
	}
	w.comma()
	w.quote(name)
	w.append(jsontext.AppendFormat(append(w.buf, ':'), value))
}

// secrets writes a member for each secret, in the order of their names.
func (w *objectWriter) secrets(s Secrets) {
	names := make([]string, 0, 16)
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		w.text(name, s[name])
	}
}

// An answer is what an operation's success is answered with.
type answer int

const (
	nothing     answer = iota // an empty object
	flatSecrets               // generation 1's secrets
	enveloped                 // generation 2's secrets
	resource                  // the secrets only where the Fetcher chose to return them
)

// answerSecrets is the answer to POST and PATCH.
func answerSecrets(g Generation) answer {
	if g == Generation1 {
		return flatSecrets
	}
	return enveloped
}

var (
	errNoExtension = errors.New("flyext: the Provisioner returned neither an Extension nor an error")
	errNoSecrets   = errors.New("flyext: Provision returned nil Secrets, which nobody asks for again; return Secrets{} if there are none")
)

// encode writes an answer, about the extension of that id.
func (a answer) encode(id string, x *Extension) ([]byte, error) {
	if a == nothing {
		return []byte("{}"), nil
	}
	if x == nil {
		return nil, errNoExtension
	}
	if err := x.Secrets.check(); err != nil {
		return nil, err
	}
	if a == flatSecrets {
		w := newObjectWriter()
		w.secrets(x.Secrets)
		return w.end()
	}
	e := newEnvelope(id, x)
	e.hasConfig, e.config = true, x.Secrets
	if a == resource {
		e.hasConfig, e.extra = x.Secrets != nil, x.Extra
		if e.status == "" {
			e.status = Ready
		}
	}
	return e.encode()
}

func newEnvelope(id string, x *Extension) envelope {
	e := envelope{id: id, name: x.Name, flyAppName: x.FlyAppName, status: x.Status}
	if x.ID != "" {
		e.id = x.ID
	}
	if x.Status == Failed {
		e.message = oneLine(x.Message)
	}
	return e
}

func marshal(v any) ([]byte, error) { return jsonv2.Marshal(v, jsonv2.Deterministic(true)) }

// writeJSON answers. What an answer holds is nobody's to keep.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	// One allocation for all of the values, which are the handlers' around this
	// one to change.
	values := []string{"application/json", "no-store", "nosniff", "Signature"}
	h := w.Header()
	h["Content-Type"] = values[0:1:1]
	h["Cache-Control"] = values[1:2:2]
	h["X-Content-Type-Options"] = values[2:3:3]
	if status == http.StatusUnauthorized {
		h["Www-Authenticate"] = values[3:4:4]
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever left before the answer cannot be told so
}

// writeError answers with the one shape that errors have.
func writeError(w http.ResponseWriter, e *Error) {
	if e.Code == CodeUnauthenticated && e.Message == unauthenticatedMessage {
		writeJSON(w, e.Status, unauthenticatedBody)
		return
	}
	writeJSON(w, e.Status, encodeError(e))
}

func encodeError(e *Error) []byte {
	w := newObjectWriter()
	w.text("error", e.Code)
	w.text("message", e.Message)
	body, err := w.end()
	if err != nil { // a code or a message that is not UTF-8
		return []byte(`{"error":"internal","message":"Internal Server Error"}`)
	}
	return body
}

// What a stranger is told costs less than what Fly.io is: it is there already.
const unauthenticatedMessage = "The request is not authenticated."

var unauthenticatedBody = encodeError(&Error{Code: CodeUnauthenticated, Message: unauthenticatedMessage})

// isEnvName says whether a shell can have a variable of that name
// (POSIX.1-2017, section 8.1).
func isEnvName(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

func isEnvValue(value string) bool {
	return utf8.ValidString(value) && strings.IndexByte(value, 0) < 0
}
