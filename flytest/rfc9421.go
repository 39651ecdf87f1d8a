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

// RFC9421 signs with an HTTP message signature (RFC 9421) under HMAC-SHA256,
// tagged "flyio", with a nonce. It covers the method, the target URI and the
// authority, Authorization and the fields of an event where they are there, and
// of a body its type, length and Content-Digest (RFC 9530).
//
// The signature is made by github.com/common-fate/httpsig, with an HMAC of ours
// plugged in: the library's own does not hash the message, so that whoever has
// seen one of its signatures can forge every other.
func RFC9421(key flyext.Key) Signer { return RFC9421Options{}.RFC9421(key) }

// RFC9421Options are what senders of RFC 9421 signatures do differently, and
// what their verifiers may insist on. The zero value is what [RFC9421] does.
type RFC9421Options struct {
	// Components are covered, in this order, instead of those that [RFC9421]
	// covers: "@method", "@target-uri", "@authority", "@scheme", "@path", "@query"
	// and the names of fields in lower case. nil means the usual ones.
	Components []string
	// PathAndQuery covers "@path" and "@query" in the place of "@target-uri", for
	// verifiers that do not know the whole URL at which they are called, as behind
	// a proxy that ends TLS. It changes nothing of Components, if they are given.
	PathAndQuery bool
	// WithoutTag leaves out the parameter "tag", which not every verifier knows.
	WithoutTag bool
	// Expires is how long after "created" the signature says that it "expires",
	// in whole seconds. 0 says nothing of it; less than 0 makes a signature that
	// has expired already.
	Expires time.Duration
}

// RFC9421 is [RFC9421] with these options.
func (o RFC9421Options) RFC9421(key flyext.Key) Signer {
	return o.messageSigner(key, "Content-Digest", func(body []byte) string {
		return "sha-256=:" + base64SHA256(body) + ":"
	})
}

// Draft05 signs as draft-ietf-httpbis-message-signatures-05 does, which the
// proposal names: as [RFC9421], but with the body protected by a Digest
// (RFC 3230), and without a tag, which the draft does not have.
func Draft05(key flyext.Key) Signer {
	return RFC9421Options{WithoutTag: true}.messageSigner(key, "Digest", digest)
}

// digest is the value of a Digest field (RFC 3230, section 4.3.2).
func digest(body []byte) string { return "SHA-256=" + base64SHA256(body) }

func (o RFC9421Options) messageSigner(key flyext.Key, digestField string, digestOf func(body []byte) string) Signer {
	return keyedSigner(key, func(r *http.Request, body []byte, now time.Time) error {
		if len(body) > 0 {
			// The digest's field is set because the library computes what
			// Content-Digest would be, and does not send it.
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
		// Content-Length is covered here alone: net/http sends none with a GET or
		// a DELETE.
		usual = append(usual, "content-type", "content-length", digestField)
	}
	return append(usual, eventFields(r.Header, usual)...)
}

// sign adds the signature that t makes of the covered components.
func (o RFC9421Options) sign(r *http.Request, body []byte, now time.Time, covered []string, t *signer.Transport) error {
	defer SetBody(r, body) // the library reads it up
	set, err := sigset.Unmarshal(r)
	if err != nil {
		return fmt.Errorf("the request has a signature of another format: %w", err)
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

// derived are the components (RFC 9421, sections 2.2.6 and 2.2.7) that the
// library does not know.
var derived = map[string]func(r *http.Request) string{
	"@path": func(r *http.Request) string {
		if r.URL.Path == "" {
			return "/"
		}
		return r.URL.EscapedPath()
	},
	"@query": func(r *http.Request) string { return "?" + r.URL.RawQuery },
}

// resign signs again what signer.Transport.Sign cannot, in its steps: that has
// the real clock and takes no other, and a test needs stale signatures and ones
// from the future; it says nothing of "expires", and does not know all
// components.
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

// An algorithm is HMAC-SHA256 (RFC 9421, section 3.3.3) as the library wants
// it. It is not the library's alg_hmac, which signs with
// HMAC(key, "") whatever the message.
type algorithm struct {
	secret string
	base   *string // is set to what was signed last
}

func (algorithm) Type() string { return "hmac-sha256" }

func (a algorithm) Sign(_ context.Context, base string) ([]byte, error) {
	*a.base = base
	return hmacSHA256(a.secret, []byte(base)), nil
}

func (algorithm) ContentDigest() contentdigest.Digester { return contentdigest.SHA256 }
