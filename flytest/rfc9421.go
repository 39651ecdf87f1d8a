package flytest

import (
	"context"
	"fmt"
	"net/http"
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
func RFC9421(key flyext.Key) Signer {
	return messageSigner(key, "flyio", "Content-Digest", func(body []byte) string {
		return "sha-256=:" + base64SHA256(body) + ":"
	})
}

// Draft05 signs as draft-ietf-httpbis-message-signatures-05 does, which the
// proposal names: as [RFC9421], but with the body protected by a Digest
// (RFC 3230), and without a tag, which the draft does not have.
func Draft05(key flyext.Key) Signer {
	return messageSigner(key, "", "Digest", digest)
}

// digest is the value of a Digest field (RFC 3230, section 4.3.2).
func digest(body []byte) string { return "SHA-256=" + base64SHA256(body) }

func messageSigner(key flyext.Key, tag, digestField string, digestOf func(body []byte) string) Signer {
	return keyedSigner(key, func(r *http.Request, body []byte, now time.Time) error {
		covered := []string{"@method", "@target-uri", "@authority"}
		if r.Header.Get("Authorization") != "" {
			covered = append(covered, "authorization")
		}
		if len(body) > 0 {
			// Content-Length is covered here alone: net/http sends none with a
			// GET or a DELETE. The digest's field is set because the library
			// computes what Content-Digest would be, and does not send it.
			r.Header.Set(digestField, digestOf(body))
			covered = append(covered, "content-type", "content-length", strings.ToLower(digestField))
		}
		covered = append(covered, eventFields(r.Header, covered)...)
		err := sign(r, body, now, &signer.Transport{KeyID: key.ID, Tag: tag, Alg: algorithm{key.Secret}, CoveredComponents: covered})
		if err != nil {
			return fmt.Errorf("flytest: %w", err)
		}
		return nil
	})
}

// sign adds the signature that t makes.
func sign(r *http.Request, body []byte, now time.Time, t *signer.Transport) error {
	defer SetBody(r, body) // the library reads it up
	set, err := sigset.Unmarshal(r)
	if err != nil {
		return fmt.Errorf("the request has a signature of another format: %w", err)
	}
	message, err := t.Sign(r)
	if err != nil {
		return err
	}
	if message.Input.Created.Unix() != now.Unix() {
		SetBody(r, body)
		if err := redate(message, r, now, t.Alg); err != nil {
			return err
		}
	}
	set.Add(message)
	return set.Include(r)
}

// redate signs again as of another time, in the steps of signer.Transport.Sign:
// that has the real clock and takes no other, and a test needs stale signatures
// and ones from the future.
func redate(m *signature.Message, r *http.Request, now time.Time, a signer.Algorithm) error {
	m.Input.Created = now
	base, err := sigbase.Derive(m.Input, nil, r, a.ContentDigest())
	if err != nil {
		return err
	}
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
type algorithm struct{ secret string }

func (algorithm) Type() string { return "hmac-sha256" }

func (a algorithm) Sign(_ context.Context, base string) ([]byte, error) {
	return hmacSHA256(a.secret, []byte(base)), nil
}

func (algorithm) ContentDigest() contentdigest.Digester { return contentdigest.SHA256 }
