package flytest

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/flyext/flyext"
)

// A Format is a way to sign requests, by the name that a person types. Each
// belongs to one generation of the protocol.
type Format string

// The formats.
const (
	FormatXSignature Format = "x-signature" // [XSignature], generation 2
	FormatRFC9421    Format = "rfc9421"     // [RFC9421], generation 1
	FormatDraft05    Format = "draft-05"    // [Draft05], generation 1
	FormatCavage     Format = "cavage"      // [Cavage], generation 1
)

// Formats returns all formats, of which the first is what Fly.io uses today.
func Formats() []Format {
	return []Format{FormatXSignature, FormatRFC9421, FormatDraft05, FormatCavage}
}

// ParseFormat returns the format of a name. The error lists those that exist.
func ParseFormat(name string) (Format, error) {
	if f := Format(name); slices.Contains(Formats(), f) {
		return f, nil
	}
	names := make([]string, 0, 4)
	for _, f := range Formats() {
		names = append(names, string(f))
	}
	return "", fmt.Errorf("there is no format %q; choose one of %s", name, strings.Join(names, ", "))
}

// Generation returns the generation of the protocol that signs so.
func (f Format) Generation() flyext.Generation {
	if f == FormatXSignature {
		return flyext.Generation2
	}
	return flyext.Generation1
}

// DefaultKeyID is the id of the signing key in Fly.io's proposal.
const DefaultKeyID = "flyio-signing-secret"

// Credentials are the secrets that Fly.io and a provider share for signed
// requests. They print and log without the secrets.
type Credentials struct {
	// SigningSecret is what requests are signed with, in every format.
	SigningSecret string
	// BearerToken is sent beside a signature of generation 1; "" sends none.
	BearerToken string
	// KeyID names the signing secret in generation 1; "" means [DefaultKeyID].
	KeyID string
}

// Format implements [fmt.Formatter]: whatever the verb, no secret is printed.
func (c Credentials) Format(f fmt.State, _ rune) { fmt.Fprint(f, redactedCredentials) }

// LogValue implements [slog.LogValuer].
func (c Credentials) LogValue() slog.Value { return slog.StringValue(redactedCredentials) }

// MarshalText implements [encoding.TextMarshaler]. It leaves everything out.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(redactedCredentials), nil }

const redactedCredentials = "Credentials([redacted])"

func (c Credentials) key() flyext.Key {
	id := c.KeyID
	if id == "" {
		id = DefaultKeyID
	}
	return flyext.Key{ID: id, Secret: c.SigningSecret}
}

// Signer returns what signs in this format with the credentials: in generation
// 1 the bearer token, if there is one, and the message signature. What is wrong
// with either is told by [Signer.Sign].
func (f Format) Signer(c Credentials) Signer {
	switch f {
	case FormatXSignature:
		return XSignature(c.SigningSecret)
	case FormatRFC9421:
		return c.beside(RFC9421(c.key()))
	case FormatDraft05:
		return c.beside(Draft05(c.key()))
	case FormatCavage:
		return c.beside(Cavage(c.key()))
	}
	return signerFunc(func(*http.Request, time.Time) error { return fmt.Errorf("flytest: unknown format %q", string(f)) })
}

// beside puts the bearer token before a signature, which then covers it where
// its format does that.
func (c Credentials) beside(s Signer) Signer {
	if c.BearerToken == "" {
		return s
	}
	return All(BearerToken(c.BearerToken), s)
}
