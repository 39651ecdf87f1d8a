package flyext

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// A ProvisionRequest is the body of POST {base}/extensions: Fly.io's request for a new
// extension. Only ID and OrganizationID are always present.
//
// A service may store a request as JSON. The names are those of the protocol. Read the
// JSON with the package that wrote it: encoding/json has Extra as a member of its own.
//
// See https://fly.io/docs/reference/extensions_api/#resource-provisioning.
type ProvisionRequest struct {
	// ID is Fly.io's unique id for the extension. A repeated request has the same ID
	// and must get the same extension with the same secrets.
	ID string `json:"id"`
	// Name is the extension's name, such as "collider-prod". It may be empty and may
	// change, so use ID as the key.
	Name string `json:"name"`

	OrganizationID   string `json:"organization_id"`
	OrganizationName string `json:"organization_name"`
	// OrganizationEmail is a permanent alias for the organization's admins. Fly.io
	// sends it as "organization_email" or "email".
	OrganizationEmail string `json:"organization_email"`

	// UserID, UserName, UserEmail and UserRole ("admin" or "member") describe the
	// provisioning user. Key users by UserID: the e-mail is an alias.
	UserID    string `json:"user_id"`
	UserName  string `json:"user_name"`
	UserEmail string `json:"user_email"`
	UserRole  string `json:"user_role"`

	// PrimaryRegion is the three-letter code of the region from which the app
	// writes, such as "mad". ReadRegions are the regions for replicas.
	PrimaryRegion string   `json:"primary_region"`
	ReadRegions   []string `json:"read_regions"`
	// IPAddress is the extension's IPv6 address on the customer's network
	// (Flycast), or the zero Addr if Fly.io sent none.
	IPAddress netip.Addr `json:"ip_address"`

	// Extra holds the raw values of all other members, such as your own options that
	// flyctl sends. It excludes timestamp, nonce and url, the parameters of X-Signature.
	// In generation 1 these are ordinary members, unless the request has all three.
	Extra map[string]json.RawMessage `json:",embed"`
}

// An UpdateRequest is the body of PATCH {base}/extensions/{id}: Fly.io's request to
// change an extension. It has only the members that change, so each field is an
// [Optional].
//
// See https://fly.io/docs/reference/extensions_api/#updating-extensions.
type UpdateRequest struct {
	Name              Optional[string] `json:"name,omitzero"`
	OrganizationID    Optional[string] `json:"organization_id,omitzero"`
	OrganizationName  Optional[string] `json:"organization_name,omitzero"`
	OrganizationEmail Optional[string] `json:"organization_email,omitzero"`
	UserID            Optional[string] `json:"user_id,omitzero"`
	UserName          Optional[string] `json:"user_name,omitzero"`
	UserEmail         Optional[string] `json:"user_email,omitzero"`
	UserRole          Optional[string] `json:"user_role,omitzero"`
	PrimaryRegion     Optional[string] `json:"primary_region,omitzero"`
	// ReadRegions lists all replicas: an empty list removes every replica.
	ReadRegions Optional[[]string]   `json:"read_regions,omitzero"`
	IPAddress   Optional[netip.Addr] `json:"ip_address,omitzero"`

	// Extra holds the raw values of all other members; see [ProvisionRequest].
	Extra map[string]json.RawMessage `json:",embed"`
}

// An Optional is a member that is absent, null, or has a value. Its zero value is
// absent.
type Optional[T any] struct {
	// Value is the member's value, or the zero T if it is absent or null.
	Value T
	// Present reports whether the field was in the request, including as null.
	Present bool
	// Null reports whether the field was in the request as null.
	Null bool
}

// OptionalOf returns an Optional with a value.
func OptionalOf[T any](value T) Optional[T] { return Optional[T]{Value: value, Present: true} }

// OptionalNull returns an Optional that is null.
func OptionalNull[T any]() Optional[T] { return Optional[T]{Present: true, Null: true} }

// MarshalJSON implements [json.Marshaler]. It writes null for an absent member, which a
// struct field with the option omitzero leaves out.
func (o Optional[T]) MarshalJSON() ([]byte, error) {
	if !o.Present || o.Null {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value)
}

// UnmarshalJSON implements [json.Unmarshaler]. It keeps null apart from a value.
func (o *Optional[T]) UnmarshalJSON(text []byte) error {
	*o = Optional[T]{Present: true, Null: string(text) == "null"}
	if o.Null {
		return nil
	}
	return json.Unmarshal(text, &o.Value)
}

// Get returns the value, and reports whether there is one: false for absent and null.
func (o Optional[T]) Get() (value T, ok bool) { return o.Value, o.Present && !o.Null }

// An Extension is the result of a [Provisioner] and the resource of a webhook. The
// signature's [Generation] determines its JSON form: in [Generation1] the responses to
// POST and PATCH consist of the Secrets alone.
type Extension struct {
	// ID is the provider's own id of the extension. Fly.io uses it in the paths of
	// later requests. If it is empty, Fly.io keeps using its own id.
	ID string
	// Name overrides the requested name, unless it is empty.
	Name string
	// Secrets become the app's environment variables. Provision must return them in
	// every call, even before the extension is ready: flyctl keeps the secrets of the
	// first response and never asks again. A nil map from Provision is an error, because
	// it usually means the secrets were forgotten. Use Secrets{} for an extension without
	// secrets. Webhooks never contain secrets.
	Secrets Secrets
	// FlyAppName is the app on Fly.io that receives the traffic of the customer's
	// private network (Flycast).
	FlyAppName string
	// Status is the progress of the extension. Empty means Ready.
	Status Status
	// Message tells the customer in one line why the extension failed. It is sent
	// only with the status Failed, and cut to 500 characters.
	Message string

	// Extra holds further members of the resource by name, such as "plan". They are
	// sent in the responses to GET and in [Webhooks], not in the responses to POST and
	// PATCH. A name that the protocol defines is an error.
	Extra map[string]json.RawMessage

	// OrganizationID and UserID are the owner and the creator of the resource. Only
	// [Webhooks.Created] sends them.
	OrganizationID string
	UserID         string
}

// A Status is the progress of an extension. If Fly.io registered the provider as
// asynchronous, flyctl polls every two seconds for up to four minutes. It stops at
// [Ready] and [Failed]; any other text, such as [Provisioning], means that the work
// continues.
type Status string

// The statuses of an extension.
const (
	Ready        Status = "ready"
	Provisioning Status = "provisioning"
	Failed       Status = "error" // flyctl's own word; it does not know "failed"
)

// Secrets are environment variables by name. Printing, logging and marshalling redact
// the values; only the response to Fly.io contains them.
//
// A name consists of letters, digits and underscores and does not start with a digit
// (POSIX.1-2017, section 8.1). A value is UTF-8 without NUL. Anything else is an
// error, and nothing is sent.
type Secrets map[string]string

const redacted = "[redacted]"

func (s Secrets) redact() map[string]string {
	names := make(map[string]string, len(s))
	for name := range s {
		names[name] = redacted
	}
	return names
}

// Format implements [fmt.Formatter]. It redacts the values, whatever the verb.
func (s Secrets) Format(f fmt.State, verb rune) { fmt.Fprint(f, s.redact()) }

// LogValue implements [slog.LogValuer]. It redacts the values.
func (s Secrets) LogValue() slog.Value { return slog.AnyValue(s.redact()) }

// MarshalJSON implements [json.Marshaler]. It redacts the values.
func (s Secrets) MarshalJSON() ([]byte, error) { return json.Marshal(s.redact()) }

const (
	digits  = "0123456789"
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
)

// isEnvName reports whether a shell accepts the name of a variable (POSIX.1-2017,
// section 8.1).
func isEnvName(name string) bool {
	return strings.Trim(name, letters+digits) == "" && strings.TrimLeft(name, digits) == name && name != ""
}

// check returns an error for a name or a value that cannot be an environment variable.
// The error has the name, never the value.
func (s Secrets) check() error {
	for name, value := range s {
		if !isEnvName(name) {
			return fmt.Errorf("secret name %q cannot be an environment variable; use letters, digits and underscores", name)
		}
		if !utf8.ValidString(value) || strings.Contains(value, "\x00") {
			return fmt.Errorf("value of secret %s must be UTF-8 without NUL", name)
		}
	}
	return nil
}

// hidden redacts a type that embeds it, because the type holds a secret.
type hidden struct{}

// Format implements [fmt.Formatter]. It redacts everything, whatever the verb.
func (hidden) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue implements [slog.LogValuer]. It redacts everything.
func (hidden) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements [encoding.TextMarshaler]. It redacts everything.
func (hidden) MarshalText() ([]byte, error) { return []byte(redacted), nil }
