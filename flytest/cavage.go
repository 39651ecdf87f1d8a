package flytest

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/flyext/flyext"
)

// Cavage signs as the proposal's Ruby example does, by
// draft-cavage-http-signatures: it covers (request-target), Date and
// Content-Length, and nothing of the body. Where there is no body, net/http
// sends no Content-Length that could be covered.
//
// The format has no nonce: two requests of one second, path and length have the same
// signature, and the second one is refused as a replay. Let [Platform.Now] move on
// between them.
func Cavage(key flyext.Key) Signer { return CavageOptions{}.Cavage(key) }

// CavageOptions are what senders of draft-cavage signatures do differently. The
// zero value is what [Cavage] does.
type CavageOptions struct {
	// CoverDigest also covers a Digest of the body (RFC 3230, SHA-256), which
	// a provider under [flyext.Policy.RequireDigest] wants.
	CoverDigest bool
	// RepeatAsAuthorization sends the signature a second time, as
	// "Authorization: Signature …", which the Ruby library does.
	RepeatAsAuthorization bool
	// Headers are covered, in this order, instead of those that [Cavage] covers:
	// "(request-target)", "(created)" and the names of fields in lower case, as in
	// the parameter of that name. nil means the usual ones.
	Headers []string
	// Created adds the time of the signature as created="1685641159", quoted and
	// last, which requests-http-signature 0.2 does and asks for. It is protected
	// where Headers has "(created)", which needs it.
	Created bool
}

// Cavage is [Cavage] with these options.
func (o CavageOptions) Cavage(key flyext.Key) Signer {
	return keyedSigner(key, func(r *http.Request, body []byte, now time.Time) error {
		setDate(r, now)
		if o.CoverDigest {
			r.Header.Set("Digest", digest(body))
		}
		names := o.Headers
		if names == nil {
			names = o.usualHeaders(r.Header, body)
		}
		lines := make([]string, len(names))
		for i, name := range names {
			lines[i] = name + ": "
			switch name {
			case "(request-target)":
				lines[i] += strings.ToLower(r.Method) + " " + r.URL.RequestURI()
			case "(created)":
				if !o.Created {
					return errors.New("flytest: Cavage can cover (created) with the option Created")
				}
				lines[i] += strconv.FormatInt(now.Unix(), 10)
			default:
				lines[i] += fieldValue(r, name)
			}
		}
		base := strings.Join(lines, "\n")
		keepSignatureBase(r, base)
		// The Ruby library takes these four parameters, in quotes and without a
		// space between them, and no others.
		value := fmt.Sprintf(`keyId="%s",algorithm="hmac-sha256",headers="%s",signature="%s"`,
			key.ID, strings.Join(names, " "), base64HMAC(key.Secret, base))
		if o.Created {
			value += fmt.Sprintf(`,created="%d"`, now.Unix())
		}
		r.Header.Set("Signature", value)
		if o.RepeatAsAuthorization {
			r.Header.Add("Authorization", "Signature "+value)
		}
		return nil
	})
}

func (o CavageOptions) usualHeaders(h http.Header, body []byte) []string {
	usual := []string{"(request-target)", "date"}
	if len(body) > 0 {
		usual = append(usual, "content-length")
	}
	if o.CoverDigest {
		usual = append(usual, "digest")
	}
	return append(usual, eventFields(h, usual)...)
}

// Zntrio signs in the dialect of github.com/zntrio/httpsig, which the proposal
// lists for Go: names without quotes, and a signing string with the decoded
// path and a newline behind its last line. It covers what that library's own
// example does, which is the target, Host, Authorization where it is there, and
// a Digest of the body, and Date beside. A provider accepts it under
// [flyext.Policy.ZntrioDialect].
func Zntrio(key flyext.Key) Signer {
	return keyedSigner(key, func(r *http.Request, body []byte, now time.Time) error {
		setDate(r, now)
		r.Header.Set("Digest", digest(body))
		names := []string{"@request-target", "host", "date", "digest"}
		if r.Header.Get("Authorization") != "" {
			names = append(names, "authorization")
		}
		names = append(names, eventFields(r.Header, names)...)
		input := fmt.Sprintf(`(%s); alg="hmac-sha256"; keyid="%s"; created=%d; nonce="%s"`,
			strings.Join(names, ", "), key.ID, now.Unix(), rand.Text())
		target := strings.ToLower(r.Method) + " " + r.URL.Path
		if r.URL.RawQuery != "" {
			target += "?" + r.URL.RawQuery
		}
		base := names[0] + ": " + target + "\n"
		for _, name := range names[1:] {
			base += name + ": " + fieldValue(r, name) + "\n"
		}
		base += "@signature-params: " + input + "\n"
		keepSignatureBase(r, base)
		r.Header.Set("Signature-Input", "sig1="+input)
		r.Header.Set("Signature", "sig1=:"+base64HMAC(key.Secret, base)+":")
		return nil
	})
}

func setDate(r *http.Request, now time.Time) {
	r.Header.Set("Date", now.UTC().Format(http.TimeFormat))
}

// fieldValue returns the value of a field as it will be sent.
func fieldValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length": // net/http's to write, and therefore in no Header
		return strconv.FormatInt(r.ContentLength, 10)
	}
	return strings.Join(r.Header.Values(name), ", ")
}

func base64HMAC(secret, message string) string {
	return base64.StdEncoding.EncodeToString(hmacSHA256(secret, []byte(message)))
}
