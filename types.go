package flyext

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
)

// A ProvisionRequest is Fly.io's request for a new extension: the body of
// POST {base}/extensions. Only ID and OrganizationID are sure to be there.
//
// See https://fly.io/docs/reference/extensions_api/#resource-provisioning.
type ProvisionRequest struct {
	// ID is Fly.io's unique id for the extension, and the key of everything:
	// a request that comes again carries the same one and wants the same
	// extension, with the same secrets.
	ID string
	// Name is unique across Fly.io, such as "collider-prod". It may be blank
	// and may change.
	Name string

	OrganizationID   string
	OrganizationName string
	// OrganizationEmail is an alias that reaches the organization's admins and
	// does not change. Fly.io sends it as "organization_email" or "email".
	OrganizationEmail string

	// UserID, UserName, UserEmail and UserRole ("admin" or "member") describe the
	// provisioning user. Key users by UserID: the e-mail is an alias.
	UserID    string
	UserName  string
	UserEmail string
	UserRole  string

	// PrimaryRegion is the three-letter code of the region that the app writes
	// from, such as "mad"; ReadRegions are those where it wants replicas.
	PrimaryRegion string
	ReadRegions   []string
	// IPAddress is the extension's IPv6 address on the customer's network
	// (Flycast). It is the zero Addr where Fly.io sent none.
	IPAddress netip.Addr

	// Extra holds the members that this struct does not know, such as the
	// options of your own that flyctl sends, as they came. In generation 2 the
	// parameters of the signature (timestamp, nonce, url) are not among them.
	Extra map[string]json.RawMessage
}

// An UpdateRequest is Fly.io's request to change an extension: the body of
// PATCH {base}/extensions/{id}. It carries only what changes, so every member
// is an [Optional].
//
// See https://fly.io/docs/reference/extensions_api/#updating-extensions.
type UpdateRequest struct {
	Name              Optional[string]
	OrganizationID    Optional[string]
	OrganizationName  Optional[string]
	OrganizationEmail Optional[string]
	UserID            Optional[string]
	UserName          Optional[string]
	UserEmail         Optional[string]
	UserRole          Optional[string]
	PrimaryRegion     Optional[string]
	// ReadRegions set to an empty list removes every replica; absent, it
	// changes nothing.
	ReadRegions Optional[[]string]
	IPAddress   Optional[netip.Addr]

	// Extra holds the members that this struct does not know, as they came.
	Extra map[string]json.RawMessage
}

// An Optional is a member that may be absent, null, or have a value, which may
// be the empty one. Its zero value is absent.
type Optional[T any] struct {
	// Value is the member's value, or the zero T where it is absent or null.
	Value T
	// Present says that the member is there, be it null.
	Present bool
	// Null says that the member is there and is null.
	Null bool
}

// OptionalOf returns an Optional with a value.
func OptionalOf[T any](value T) Optional[T] { return Optional[T]{Value: value, Present: true} }

// OptionalNull returns an Optional that is null.
func OptionalNull[T any]() Optional[T] { return Optional[T]{Present: true, Null: true} }

// Get returns the value, and whether there is one: neither an absent member
// nor a null one has.
func (o Optional[T]) Get() (value T, ok bool) { return o.Value, o.Present && !o.Null }

// An Extension is what a [Provisioner] answers with, and the resource that
// [Webhooks] tell Fly.io about. In an answer, the generation of the signature
// that admitted the request chooses its shape on the wire; see [Generation].
type Extension struct {
	// ID is the provider's own id of the extension. Where it is set, Fly.io
	// uses it in the paths of later requests; where it is empty, the id that
	// Fly.io sent is kept.
	ID string
	// Name overrides the name that was asked for, unless it is empty.
	Name string
	// Secrets become the app's environment variables. Provision must return
	// them every time, also while the extension is still being made: flyctl
	// keeps those of the first answer and never asks again. A nil map is taken
	// for having been forgotten, and is an error; Secrets{} says that there
	// are none.
	Secrets Secrets
	// FlyAppName is the app on Fly.io that is to receive the traffic of the
	// customer's private network (Flycast).
	FlyAppName string
	// Status is what GET answers while flyctl polls. Empty means Ready.
	Status Status
	// Message tells the customer, in one line, what went wrong. It is sent with
	// the status Failed alone.
	Message string

	// Extra holds further members of the resource, such as "plan": a name and a
	// JSON value each. GET answers with them and [Webhooks] send them; the
	// answers to POST and PATCH have none. A name that one of the protocol's own
	// members has is an error.
	Extra map[string]json.RawMessage

	// OrganizationID and UserID say whose the resource is and who made it.
	// [Webhooks.Created] sends them, and nothing else does.
	OrganizationID string
	UserID         string
}

// A Status says how far an extension is. flyctl polls every two seconds for up
// to four minutes and understands exactly [Ready] and [Failed]; every other
// text, such as [Provisioning], means that the work goes on.
type Status string

// The statuses.
const (
	Ready        Status = "ready"
	Provisioning Status = "provisioning"
	Failed       Status = "error"
)

// Secrets are names and values of environment variables. They print, log and
// marshal as their names alone; only the answer to Fly.io carries the values.
//
// A name consists of letters, digits and underscores and does not start with a
// digit (POSIX.1-2017, section 8.1); a value is UTF-8 without NUL.
type Secrets map[string]string

const redacted = "[redacted]"

// redact returns a copy that shows names and no value.
func (s Secrets) redact() map[string]string {
	names := make(map[string]string, len(s))
	for name := range s {
		names[name] = redacted
	}
	return names
}

// Format implements [fmt.Formatter]: whatever the verb, no value is printed.
func (s Secrets) Format(f fmt.State, verb rune) { fmt.Fprint(f, s.redact()) }

// LogValue implements [slog.LogValuer].
func (s Secrets) LogValue() slog.Value { return slog.AnyValue(s.redact()) }

// MarshalJSON implements [json.Marshaler]. It redacts.
func (s Secrets) MarshalJSON() ([]byte, error) { return json.Marshal(s.redact()) }

// check reports the first name or value that cannot be an environment
// variable. It names the name, never the value.
func (s Secrets) check() error {
	for name, value := range s {
		if !isEnvName(name) {
			return fmt.Errorf("secret name %q cannot be an environment variable", name)
		}
		if !isEnvValue(value) {
			return fmt.Errorf("value of secret %s is not UTF-8 without NUL", name)
		}
	}
	return nil
}

// redactedFormat prints what holds a secret and must not show it.
func redactedFormat(f fmt.State, name string) { io.WriteString(f, name+"("+redacted+")") }
