package flytest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
)

var signatureChecks = []check{
	{Requirement{
		ID: "unsigned", Group: groupSignatures,
		Text:   "A request without a signature is refused",
		Source: sourceGenerations,
		Fix:    "Verify the signature before you do any work. Refuse a request without a signature, even if the bearer token is right.",
	}, checkUnsigned},
	{Requirement{
		ID: "garbage", Group: groupSignatures,
		Text:   "A malformed signature is refused without a server error",
		Source: sourceGenerations,
		Fix:    "Refuse a signature that cannot be decoded or has the wrong length. Catch the exceptions of the decoder.",
	}, checkGarbage},
	{Requirement{
		ID: "flipped-signature", Group: groupSignatures,
		Text:   "A slightly changed signature is refused",
		Source: sourceGenerations,
		Fix:    "Compare all bytes of the signature, in constant time.",
	}, checkFlippedSignature},
	{Requirement{
		ID: "other-key", Group: groupSignatures,
		Text:   "A signature made with another secret is refused",
		Source: sourceGenerations,
		Fix:    "Compute the HMAC with the secret that you share with Fly.io, and compare it with the signature.",
	}, checkOtherKey},
	{Requirement{
		ID: "empty-key", Group: groupSignatures,
		Text:   "A signature made with an empty secret is refused",
		Source: sourceGenerations,
		Fix:    "Refuse to start without a secret: an environment variable that is not set must not become an empty key.",
	}, checkEmptyKey},
	{Requirement{
		ID: "changed-body", Group: groupSignatures,
		Text:   "A body that was changed in transit is refused",
		Source: sourceGenerations,
		Fix:    "Compute the HMAC (or the signed digest) over the received bytes, before a parser reads them.",
	}, checkChangedBody},
	{Requirement{
		ID: "changed-query", Group: groupSignatures,
		Text:   "A query that was changed in transit is refused",
		Source: sourceGenerations,
		Fix:    "Compute the HMAC over the raw query string, as received.",
	}, checkChangedQuery},
	{Requirement{
		ID: "changed-method", Group: groupSignatures,
		Text:   "A signature for one method is refused for another",
		Source: sourceGenerations,
		Fix:    "Verify the body of POST and PATCH, and the query of GET and DELETE. A message signature must cover the method.",
	}, checkChangedMethod},
	{Requirement{
		ID: "changed-path", Group: groupSignatures,
		Text:   "A signature for one extension is refused for another",
		Source: sourceGenerations,
		Fix:    `Compare the request's path with the signed "url". A message signature must cover the path.`,
	}, checkChangedPath},
	{Requirement{
		ID: "changed-host", Group: groupSignatures,
		Text:   "A signature for another host is refused",
		Source: sourceDecisions,
		Fix:    `Compare the scheme and host of the signed "url" with your own base URL, not with the Host header. Do the same with the scheme and host that a message signature covers.`,
	}, checkChangedHost},
	{Requirement{
		ID: "coverage", Group: groupSignatures,
		Text:   "A signature that covers too little is refused",
		Source: sourceGenerations,
		Fix:    "Require that the signature covers the method, path, time and body: the sender chooses the covered components.",
	}, checkCoverage},
	{Requirement{
		ID: "bearer-missing", Group: groupSignatures,
		Text:   "A signed request without the bearer token is refused",
		Source: sourceGenerations,
		Fix:    "Require the signature and the bearer token.",
	}, checkBearerMissing},
	{Requirement{
		ID: "bearer-wrong", Group: groupSignatures,
		Text:   "A signed request with another bearer token is refused",
		Source: sourceGenerations,
		Fix:    "Compare the bearer token, in constant time.",
	}, checkBearerWrong},
	{Requirement{
		ID: "stale", Group: groupSignatures,
		Text:   "A request that is two hours old is refused",
		Source: sourceDecisions,
		Fix:    "Compare the signed time with your clock, and refuse a request that is more than five minutes old.",
	}, checkStale},
	{Requirement{
		ID: "future", Group: groupSignatures,
		Text:   "A request from two hours in the future is refused",
		Source: sourceDecisions,
		Fix:    "Check the signed time in both directions: an attacker could replay a request dated next year for a year.",
	}, checkFuture},
	{Requirement{
		ID: "raw-bytes", Group: groupSignatures,
		Text:   "The signature is verified over the received bytes",
		Source: sourceGenerations,
		Fix:    "Keep the raw body and the raw query, and verify them. A serializer writes parsed data with different bytes.",
	}, checkRawBytes},
	{Requirement{
		ID: "timestamp-text", Group: groupSignatures,
		Text:   "The timestamp may be a number or a string",
		Source: sourceParameters,
		Fix:    "Accept both: Fly.io's own examples show both.",
	}, checkTimestampText},
}

// lowerEscapes writes percent escapes in lower case, as few encoders do.
func lowerEscapes(text string) string {
	return regexp.MustCompile("%[0-9A-F]{2}").ReplaceAllStringFunc(text, strings.ToLower)
}

func checkRawBytes(ctx context.Context, s *subject) error {
	order := s.order()
	body, err := encodeProvision(order)
	if err != nil {
		return err
	}
	spaced := jsontext.Value(bytes.Replace(body, []byte(`"Conformance"`), []byte(`"Conform\u0061nce"`), 1))
	if err := spaced.Format(jsontext.PreserveRawStrings(true), jsontext.WithIndent("  "), jsontext.SpaceAfterComma(true)); err != nil {
		return err
	}
	if _, err := s.provisionBody(ctx, order.ID, spaced); err != nil {
		return s.named(ctx, err)
	}
	if s.generation() == flyext.Generation1 {
		return nil
	}
	if works, err := s.offers(ctx, http.MethodGet); err != nil || !works {
		return err
	}
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	r, err := s.unsigned(ctx, http.MethodGet, x.path(), nil)
	if err != nil {
		return err
	}
	r.URL.RawQuery = fmt.Sprintf("url=%s&timestamp=%d&nonce=%s", lowerEscapes(url.QueryEscape(r.URL.String())), s.now().Unix(), rand.Text())
	signer := XSignatureOptions{AsIs: true}.XSignature(s.Credentials.SigningSecret)
	if err := signer.Sign(r, s.now()); err != nil {
		return err
	}
	e, err := s.send(r)
	if err != nil {
		return err
	}
	return succeeded(e)
}

// another returns a wrong secret.
func another(secret string) string { return "another-" + secret }

// orderRequest returns a provision request with a new id, signed as Fly.io does except
// for the changes. cleanUp removes the extension if the provider makes it.
func (s *subject) orderRequest(ctx context.Context, changes ...how) (*http.Request, error) {
	order := s.order()
	s.willMake(order.ID)
	body, err := encodeProvision(order)
	if err != nil {
		return nil, err
	}
	return s.genuine(ctx, http.MethodPost, "/extensions", body, changes...)
}

// refuses sends a request that must be refused.
func (s *subject) refuses(r *http.Request, what string) error {
	e, err := s.send(r)
	if err != nil {
		return err
	}
	return refused(e, what)
}

// with returns a signer in this run's format with changed credentials.
func (s *subject) with(change func(*Credentials)) Signer {
	credentials := s.Credentials
	change(&credentials)
	return s.Conformance.Format.Signer(credentials)
}

// signsNothing leaves a request unsigned.
var signsNothing = signerFunc(func(*http.Request, time.Time) error { return nil })

// notRefused is why the checks that build on "unsigned" are skipped.
const notRefused = "an unsigned request is not refused"

func checkUnsigned(ctx context.Context, s *subject) error {
	if err := s.refusesAll(ctx, "an unsigned request", signedBy(signsNothing)); err != nil {
		return err
	}
	// These requests lack only the signature. The provider may have refused the
	// requests above because they lack a timestamp.
	for _, strip := range []func(http.Header){
		func(h http.Header) { h.Del("Signature-Input"); h.Del(s.signatureHeader()) },
		func(h http.Header) { h.Set(s.signatureHeader(), "") },
	} {
		err := s.refusesSpoilt(ctx, signedMethods, "a request whose signature was removed", func(r *http.Request, _ target) error {
			strip(r.Header)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := s.untouched(ctx); err != nil {
		return err
	}
	if s.generation() == flyext.Generation2 || s.Credentials.BearerToken == "" {
		return nil
	}
	return s.refusesAll(ctx, "a request with only the bearer token", signedBy(BearerToken(s.Credentials.BearerToken)))
}

// signatureHeader returns the name of the header with the signature.
func (s *subject) signatureHeader() string {
	if s.Conformance.Format == FormatXSignature {
		return "X-Signature"
	}
	return "Signature"
}

func checkOtherKey(ctx context.Context, s *subject) error {
	other := s.with(func(c *Credentials) { c.SigningSecret = another(c.SigningSecret) })
	return s.refusesAll(ctx, "a request signed with another secret", signedBy(other))
}

// emptyKey makes the same signatures as an empty secret, because RFC 2104 pads HMAC keys
// with zero bytes.
const emptyKey = "\x00"

func checkEmptyKey(ctx context.Context, s *subject) error {
	empty := s.with(func(c *Credentials) { c.SigningSecret = emptyKey })
	return s.refusesAll(ctx, "a request signed with an empty secret", signedBy(empty))
}

func checkCoverage(ctx context.Context, s *subject) error {
	if s.Conformance.Format == FormatXSignature {
		return &skip{"the sender of X-Signature cannot choose what it covers"}
	}
	key := s.Credentials.key()
	if s.Conformance.Format == FormatCavage {
		for _, c := range []struct{ open, covered string }{{"path", "date"}, {"time", "(request-target)"}} {
			signer := CavageOptions{Headers: []string{c.covered}}.Cavage(key)
			if err := s.refusesAll(ctx, "a signature that does not cover the "+c.open, signedBy(s.Credentials.withToken(signer))); err != nil {
				return err
			}
		}
		return nil
	}
	for _, c := range []struct {
		open                string
		methods, components []string
	}{
		{"path and the body", signedMethods, []string{"@method"}},
		{"method", []string{http.MethodGet, http.MethodDelete}, []string{"@target-uri", "@authority"}},
		{"path", []string{http.MethodGet, http.MethodDelete}, []string{"@method", "@authority"}},
		{"body", []string{http.MethodPost, http.MethodPatch}, []string{"@method", "@target-uri", "@authority"}},
	} {
		signer := s.Credentials.withToken(RFC9421Options{Components: c.components}.RFC9421(key))
		err := s.refusesSpoilt(ctx, c.methods, "a signature that does not cover the "+c.open, asItIs, signedBy(signer))
		if err := tolerate(err); err != nil {
			return err
		}
	}
	return nil
}

func (s *subject) needsBearer() error {
	if s.generation() == flyext.Generation2 {
		return &skip{"generation 2 has no bearer token"}
	}
	if s.Credentials.BearerToken == "" {
		return &skip{"no bearer token is configured; set Conformance.Credentials.BearerToken, or pass --bearer-token to flysim"}
	}
	return nil
}

func checkBearerMissing(ctx context.Context, s *subject) error {
	if err := s.needsBearer(); err != nil {
		return err
	}
	without := s.with(func(c *Credentials) { c.BearerToken = "" })
	return s.refusesAll(ctx, "a signed request without the bearer token", signedBy(without))
}

func checkBearerWrong(ctx context.Context, s *subject) error {
	if err := s.needsBearer(); err != nil {
		return err
	}
	wrong := s.with(func(c *Credentials) { c.BearerToken = another(c.BearerToken) })
	return s.refusesAll(ctx, "a signed request with another bearer token", signedBy(wrong))
}

// tooFar is more than any window that the protocol or a provider allows.
const tooFar = 2 * time.Hour

func checkStale(ctx context.Context, s *subject) error {
	return s.refusesAll(ctx, "a request that is two hours old", signedAt(-tooFar))
}

func checkFuture(ctx context.Context, s *subject) error {
	return s.refusesAll(ctx, "a request from two hours in the future", signedAt(tooFar))
}

func checkTimestampText(ctx context.Context, s *subject) error {
	if s.Conformance.Format != FormatXSignature {
		return &skip{"only X-Signature has a timestamp in the body or query"}
	}
	for _, text := range []bool{false, true} {
		signer := XSignatureOptions{TimestampAsText: text}.XSignature(s.Credentials.SigningSecret)
		r, err := s.orderRequest(ctx, signedBy(signer))
		if err != nil {
			return err
		}
		e, err := s.send(r)
		if err == nil {
			err = succeeded(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
