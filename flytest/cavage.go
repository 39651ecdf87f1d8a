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

// Cavage returns a Signer for draft-cavage-http-signatures that signs as the Ruby
// example in Fly.io's proposal does. The signature covers (request-target) and
// Date. If there is a body, it also covers Content-Length, which net/http does not
// send without a body. It does not cover the content of the body.
//
// The format has no nonce. Two requests with the same second, method, URL and
// length have the same signature, and the provider refuses the second one as a
// replay. Advance [Platform.Now] between such requests.
func Cavage(key flyext.Key) Signer { return CavageOptions{}.Cavage(key) }

// CavageOptions changes the signatures of [Cavage] to those of other senders. The
// zero value changes nothing.
type CavageOptions struct {
	// CoverDigest adds a Digest of the body (RFC 3230, SHA-256) and covers it. A
	// provider with [flyext.Policy.RequireDigest] requires it.
	CoverDigest bool
	// RepeatAsAuthorization sends the signature a second time, as
	// "Authorization: Signature …". The Ruby library does so.
	RepeatAsAuthorization bool
	// Headers lists what the signature covers, in this order, as in the
	// "headers" parameter of the draft: "(request-target)", "(created)" and
	// header names in lower case. nil means the headers that [Cavage] covers.
	Headers []string
	// Created adds the signing time as the last parameter, in quotes:
	// created="1685641159". requests-http-signature 0.2 sends and requires it. The
	// signature protects the time only if Headers has "(created)", and
	// "(created)" in Headers requires this option.
	Created bool
}

// Cavage returns a draft-cavage Signer that applies o. See the function [Cavage].
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
		base, err := o.signingString(r, names, now)
		if err != nil {
			return err
		}
		keepSignatureBase(r, base)
		// The Ruby library accepts exactly these four parameters, in quotes and
		// without spaces between them.
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

// signingString returns the text to sign: a line for each of the names that the
// signature covers.
func (o CavageOptions) signingString(r *http.Request, names []string, now time.Time) (string, error) {
	lines := make([]string, len(names))
	for i, name := range names {
		lines[i] = name + ": "
		switch name {
		case "(request-target)":
			lines[i] += strings.ToLower(r.Method) + " " + r.URL.RequestURI()
		case "(created)":
			if !o.Created {
				return "", errors.New("flytest: (created) in CavageOptions.Headers requires CavageOptions.Created")
			}
			lines[i] += strconv.FormatInt(now.Unix(), 10)
		default:
			lines[i] += fieldValue(r, name)
		}
	}
	return strings.Join(lines, "\n"), nil
}

// Zntrio returns a Signer for the dialect of github.com/zntrio/httpsig, the Go
// library that Fly.io's proposal lists. The dialect writes names without quotes.
// Its signing string has the decoded path and ends with a newline.
//
// The signature covers the target, Host, Date, a Digest of the body and, if the
// request has one, Authorization. The library's own example covers the same
// without Date. A provider accepts the dialect with [flyext.Policy.ZntrioDialect].
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
	case "content-length": // not in r.Header, because net/http writes it
		return strconv.FormatInt(r.ContentLength, 10)
	}
	return strings.Join(r.Header.Values(name), ", ")
}

func base64HMAC(secret, message string) string {
	return base64.StdEncoding.EncodeToString(hmacSHA256(secret, []byte(message)))
}
