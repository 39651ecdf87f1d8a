package flytest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/common-fate/httpsig/contentdigest"
	"github.com/common-fate/httpsig/sigbase"
	"github.com/common-fate/httpsig/signature"
	"github.com/common-fate/httpsig/signer"
	"github.com/common-fate/httpsig/sigset"

	"github.com/flyext/flyext"
)

// RFC9421 returns a Signer for HTTP message signatures (RFC 9421) with HMAC-SHA256,
// a nonce and the tag "flyio". The signature covers:
//
//   - the method, the target URI and the authority
//   - of a body, Content-Type, Content-Length and Content-Digest (RFC 9530)
//   - Authorization, if the request has it
//   - the headers that describe an event, if the request has them
//
// github.com/common-fate/httpsig makes the signature, with an HMAC of this package.
// The library's own HMAC does not hash the message, so an attacker who sees one
// signature can forge every other.
func RFC9421(key flyext.Key) Signer { return RFC9421Options{}.RFC9421(key) }

// RFC9421Options changes the signatures of [RFC9421] to those of other senders, or
// to those that a verifier requires. The zero value changes nothing.
type RFC9421Options struct {
	// Components lists what the signature covers, in this order: "@method",
	// "@target-uri", "@authority", "@scheme", "@path", "@query" and header names
	// in lower case. nil means the components that [RFC9421] covers.
	Components []string
	// PathAndQuery covers "@path" and "@query" instead of "@target-uri". Some
	// verifiers do not know their whole URL, for example behind a proxy that
	// terminates TLS. PathAndQuery has no effect if Components is not nil.
	PathAndQuery bool
	// WithoutTag omits the parameter "tag", which some verifiers do not know.
	WithoutTag bool
	// Expires is the time from "created" to "expires", in whole seconds. 0 omits
	// "expires". A negative time makes a signature that has already expired.
	Expires time.Duration
}

// RFC9421 returns an RFC 9421 Signer that applies o. See the function [RFC9421].
func (o RFC9421Options) RFC9421(key flyext.Key) Signer {
	return o.messageSigner(key, "Content-Digest", func(body []byte) string {
		return "sha-256=:" + base64SHA256(body) + ":"
	})
}

// Draft05 returns a Signer for draft-ietf-httpbis-message-signatures-05, the draft
// that Fly.io's proposal names. It signs as [RFC9421] does, with two differences: a
// Digest (RFC 3230) protects the body, and there is no tag, because the draft does
// not have one.
func Draft05(key flyext.Key) Signer {
	return RFC9421Options{WithoutTag: true}.messageSigner(key, "Digest", digest)
}

// digest returns the value of a Digest header (RFC 3230, section 4.3.2).
func digest(body []byte) string { return "SHA-256=" + base64SHA256(body) }

func (o RFC9421Options) messageSigner(key flyext.Key, digestField string, digestOf func(body []byte) string) Signer {
	return keyedSigner(key, func(r *http.Request, body []byte, now time.Time) error {
		if len(body) > 0 {
			// The library computes the value of Content-Digest but does not send it.
			r.Header.Set(digestField, digestOf(body))
		}
		covered := o.Components
		if covered == nil {
			covered = o.usualComponents(r, body, strings.ToLower(digestField))
			covered = append(covered, eventFields(r.Header, covered)...)
		}
		tag := "flyio"
		if o.WithoutTag {
			tag = ""
		}
		alg := algorithm{key.Secret, new(string)}
		if err := o.sign(r, body, now, covered, &signer.Transport{KeyID: key.ID, Tag: tag, Alg: alg}); err != nil {
			return fmt.Errorf("flytest: %w", err)
		}
		keepSignatureBase(r, *alg.base)
		return nil
	})
}

func (o RFC9421Options) usualComponents(r *http.Request, body []byte, digestField string) []string {
	usual := []string{"@method", "@target-uri", "@authority"}
	if o.PathAndQuery {
		usual = []string{"@method", "@authority", "@path", "@query"}
	}
	if r.Header.Get("Authorization") != "" {
		usual = append(usual, "authorization")
	}
	if len(body) > 0 {
		// net/http sends Content-Length only with a body.
		usual = append(usual, "content-type", "content-length", digestField)
	}
	return append(usual, eventFields(r.Header, usual)...)
}

// sign adds the signature that t makes over the covered components.
func (o RFC9421Options) sign(r *http.Request, body []byte, now time.Time, covered []string, t *signer.Transport) error {
	defer SetBody(r, body) // because the library consumes the body
	set, err := sigset.Unmarshal(r)
	if err != nil {
		return fmt.Errorf("the request already has a signature in another format: %w", err)
	}
	t.CoveredComponents = slices.DeleteFunc(slices.Clone(covered), func(name string) bool {
		_, ok := derived[name]
		return ok
	})
	message, err := t.Sign(r)
	if err != nil {
		return err
	}
	if message.Input.Created.Unix() != now.Unix() || o.Expires != 0 || len(t.CoveredComponents) != len(covered) {
		SetBody(r, body)
		message.Input.Created = now
		if o.Expires != 0 {
			message.Input.Expires = now.Add(o.Expires)
		}
		if err := resign(message, r, covered, t.Alg); err != nil {
			return err
		}
	}
	set.Add(message)
	return set.Include(r)
}

// derived computes the components that the library does not know (RFC 9421,
// sections 2.2.6 and 2.2.7).
var derived = map[string]func(r *http.Request) string{
	"@path": func(r *http.Request) string {
		if r.URL.Path == "" {
			return "/"
		}
		return r.URL.EscapedPath()
	},
	"@query": func(r *http.Request) string { return "?" + r.URL.RawQuery },
}

// resign repeats the steps of signer.Transport.Sign for signatures that Sign cannot
// make: with another clock than the real one, with "expires", or with the components
// in derived.
func resign(m *signature.Message, r *http.Request, covered []string, a signer.Algorithm) error {
	base, err := sigbase.Derive(m.Input, nil, r, a.ContentDigest())
	if err != nil {
		return err
	}
	for name, valueOf := range derived {
		base.Values[name] = valueOf(r)
	}
	m.Input.CoveredComponents = covered
	text, err := base.CanonicalString(m.Input)
	if err != nil {
		return err
	}
	m.Signature, err = a.Sign(r.Context(), text)
	return err
}

// An algorithm implements HMAC-SHA256 (RFC 9421, section 3.3.3) for the library. It
// replaces the library's alg_hmac, which signs every message with HMAC(key, "").
type algorithm struct {
	secret string
	base   *string // receives the signature base
}

func (algorithm) Type() string { return "hmac-sha256" }

func (a algorithm) Sign(_ context.Context, base string) ([]byte, error) {
	*a.base = base
	return hmacSHA256(a.secret, []byte(base)), nil
}

func (algorithm) ContentDigest() contentdigest.Digester { return contentdigest.SHA256 }
