package flyext

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// An envelope is the resource in the response to GET, in webhooks and, in generation 2,
// in the responses to POST and PATCH. Empty members are left out. No published page
// names the member for an error's message; error_message is a guess.
type envelope struct {
	ID             string                     `json:"id"`
	Config         map[string]string          `json:"config,omitzero"` // Secrets would redact itself
	Name           string                     `json:"name,omitempty"`
	FlyAppName     string                     `json:"fly_app_name,omitempty"`
	Status         Status                     `json:"status,omitempty"`
	Message        string                     `json:"error_message,omitempty"`
	OrganizationID string                     `json:"organization_id,omitempty"`
	UserID         string                     `json:"user_id,omitempty"`
	Extra          map[string]json.RawMessage `json:",embed"`
}

// envelopeMembers are the names that an extra member must not have. An extra config
// could carry secrets.
var envelopeMembers = []string{
	"id", "config", "name", "fly_app_name", "status", "error_message", "organization_id", "user_id",
}

var errExtraName = errors.New("flyext: Extension.Extra must not have a member that the protocol defines")

func (e *envelope) encode() ([]byte, error) {
	for name := range e.Extra {
		if slices.Contains(envelopeMembers, name) {
			return nil, fmt.Errorf("%w: %q", errExtraName, name)
		}
	}
	return marshal(e)
}

func marshal(v any) ([]byte, error) { return jsonv2.Marshal(v, jsonv2.Deterministic(true)) }

var (
	errNoExtension = errors.New("flyext: the Provisioner returned neither an Extension nor an error")
	errNoSecrets   = errors.New("flyext: Provision returned nil Secrets; return Secrets{} for an extension without secrets")
	errNoListID    = errors.New("flyext: List returned an Extension without an ID")
)

// encodeSecrets writes the response to POST and PATCH: flat secrets in generation 1, an
// envelope in generation 2.
func encodeSecrets(g Generation, id string, x *Extension) ([]byte, error) {
	if err := x.check(); err != nil {
		return nil, err
	}
	secrets := map[string]string(x.Secrets)
	if secrets == nil {
		secrets = map[string]string{}
	}
	if g == Generation1 {
		return marshal(secrets)
	}
	e := newEnvelope(id, x)
	e.Config = secrets
	return e.encode()
}

// encodeResource writes the response to GET, with the secrets if the Fetcher returned
// them.
func encodeResource(id string, x *Extension) ([]byte, error) {
	if err := x.check(); err != nil {
		return nil, err
	}
	e := newEnvelope(id, x)
	e.Config, e.Extra = x.Secrets, x.Extra
	if e.Status == "" {
		e.Status = Ready
	}
	return e.encode()
}

// encodeList writes the response of a Lister.
func encodeList(all []*Extension) ([]byte, error) {
	list := make([]jsontext.Value, len(all))
	for i, x := range all {
		if x != nil && x.ID == "" {
			return nil, errNoListID
		}
		resource, err := encodeResource("", x)
		if err != nil {
			return nil, err
		}
		list[i] = resource
	}
	return marshal(list)
}

// check returns an error for an extension that must not be sent.
func (x *Extension) check() error {
	if x == nil {
		return errNoExtension
	}
	return x.Secrets.check()
}

func newEnvelope(id string, x *Extension) envelope {
	e := envelope{ID: id, Name: x.Name, FlyAppName: x.FlyAppName, Status: x.Status}
	if x.ID != "" {
		e.ID = x.ID
	}
	if x.Status == Failed {
		e.Message = oneLine(x.Message)
	}
	return e
}

// writeJSON writes a response that caches must not keep.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Signature")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has disconnected
}

func writeError(w http.ResponseWriter, e *Error) {
	if e.Code == CodeUnauthenticated && e.Message == unauthenticatedMessage {
		writeJSON(w, e.Status, unauthenticatedBody) // unauthenticated requests must stay cheap
		return
	}
	writeJSON(w, e.Status, encodeError(e))
}

func encodeError(e *Error) []byte {
	body, err := marshal(struct {
		Code    string `json:"error"`
		Message string `json:"message"`
	}{e.Code, e.Message})
	if err != nil { // the Message is not UTF-8
		return []byte(`{"error":"internal","message":"Internal Server Error"}`)
	}
	return body
}

const unauthenticatedMessage = "The request is not authenticated."

var unauthenticatedBody = encodeError(&Error{Code: CodeUnauthenticated, Message: unauthenticatedMessage})
