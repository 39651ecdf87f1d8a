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

// A Format names a way to sign requests, for flags and settings. Each format
// belongs to one generation of the protocol.
type Format string

// The formats.
const (
	FormatXSignature Format = "x-signature" // [XSignature], generation 2
	FormatRFC9421    Format = "rfc9421"     // [RFC9421], generation 1
	FormatDraft05    Format = "draft-05"    // [Draft05], generation 1
	FormatCavage     Format = "cavage"      // [Cavage], generation 1
)

// Formats returns all formats. The first one is the format that Fly.io uses today.
func Formats() []Format {
	return []Format{FormatXSignature, FormatRFC9421, FormatDraft05, FormatCavage}
}

// ParseFormat returns the format called name, such as "x-signature". The error for an
// unknown name lists all names.
func ParseFormat(name string) (Format, error) {
	if f := Format(name); slices.Contains(Formats(), f) {
		return f, nil
	}
	names := make([]string, 0, 4)
	for _, f := range Formats() {
		names = append(names, string(f))
	}
	return "", fmt.Errorf("unknown format %q; choose one of %s", name, strings.Join(names, ", "))
}

// Generation returns the generation of the protocol that uses the format:
// [flyext.Generation2] for [FormatXSignature], [flyext.Generation1] for the others.
func (f Format) Generation() flyext.Generation {
	if f == FormatXSignature {
		return flyext.Generation2
	}
	return flyext.Generation1
}

// DefaultKeyID is the key id in Fly.io's proposal.
const DefaultKeyID = "flyio-signing-secret"

// Credentials holds the secrets that Fly.io and a provider share for signed
// requests. Printing, logging and marshaling it give a placeholder without secrets.
type Credentials struct {
	// SigningSecret is the key of the signature in every format.
	SigningSecret string
	// BearerToken is sent in addition to the signature in generation 1; "" means
	// no token.
	BearerToken string
	// KeyID is the id of SigningSecret in generation 1; "" means [DefaultKeyID].
	KeyID string
}

// Format implements [fmt.Formatter]. It prints a placeholder for every verb.
func (c Credentials) Format(f fmt.State, _ rune) { fmt.Fprint(f, redactedCredentials) }

// LogValue implements [slog.LogValuer]. It returns a placeholder.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(redactedCredentials) }

// MarshalText implements [encoding.TextMarshaler]. It returns a placeholder.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(redactedCredentials), nil }

const redactedCredentials = "Credentials([redacted])"

func (c Credentials) key() flyext.Key {
	id := c.KeyID
	if id == "" {
		id = DefaultKeyID
	}
	return flyext.Key{ID: id, Secret: c.SigningSecret}
}

// Signer returns a [Signer] for the format that uses the credentials c. In generation
// 1 it first adds the bearer token, if there is one. [Signer.Sign] returns an error if
// the format is unknown or a credential is invalid.
func (f Format) Signer(c Credentials) Signer {
	switch f {
	case FormatXSignature:
		return XSignature(c.SigningSecret)
	case FormatRFC9421:
		return c.withToken(RFC9421(c.key()))
	case FormatDraft05:
		return c.withToken(Draft05(c.key()))
	case FormatCavage:
		return c.withToken(Cavage(c.key()))
	}
	return signerFunc(func(*http.Request, time.Time) error { return fmt.Errorf("flytest: unknown format %q", string(f)) })
}

// withToken adds the bearer token before s signs, so that the signature covers the
// token if its format does.
func (c Credentials) withToken(s Signer) Signer {
	if c.BearerToken == "" {
		return s
	}
	return All(BearerToken(c.BearerToken), s)
}
