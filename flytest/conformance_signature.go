package flytest

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/flyext/flyext"
)

var signatureChecks = []check{
	{Requirement{
		ID: "unsigned", Group: groupSignatures,
		Text:   "A request without a signature is refused",
		Source: sourceGenerations,
		Fix:    "Verify before anything else, and refuse what has no signature, also where the bearer token is right.",
	}, checkUnsigned},
	{Requirement{
		ID: "garbage", Group: groupSignatures,
		Text:   "A signature that is none is refused, and breaks nothing",
		Source: sourceGenerations,
		Fix:    "Decode the signature and compare its length before you compare its bytes; what cannot be decoded is a refusal, not an exception.",
	}, checkGarbage},
	{Requirement{
		ID: "flipped-signature", Group: groupSignatures,
		Text:   "A signature with one bit changed is refused",
		Source: sourceGenerations,
		Fix:    "Compare all bytes, in constant time.",
	}, checkFlippedSignature},
	{Requirement{
		ID: "other-key", Group: groupSignatures,
		Text:   "A signature under another secret is refused",
		Source: sourceGenerations,
		Fix:    "Compute the HMAC under the secret that you share with Fly.io, and compare.",
	}, checkOtherKey},
	{Requirement{
		ID: "empty-key", Group: groupSignatures,
		Text:   "A signature under an empty secret is refused",
		Source: sourceGenerations,
		Fix:    "Refuse to start without a secret: an environment variable that is not set must not become an empty key.",
	}, checkEmptyKey},
	{Requirement{
		ID: "changed-body", Group: groupSignatures,
		Text:   "A body that was changed on its way is refused",
		Source: sourceGenerations,
		Fix:    "Compute the HMAC, or the digest that is signed, over the bytes that came, before any parser has them.",
	}, checkChangedBody},
	{Requirement{
		ID: "changed-query", Group: groupSignatures,
		Text:   "A query that was changed on its way is refused",
		Source: sourceGenerations,
		Fix:    "Sign over the raw query string as it came.",
	}, checkChangedQuery},
	{Requirement{
		ID: "changed-method", Group: groupSignatures,
		Text:   "A signature for one method is refused for another",
		Source: sourceGenerations,
		Fix:    "Verify the body of POST and PATCH and the query of GET and DELETE, never one in place of the other; a message signature must cover the method.",
	}, checkChangedMethod},
	{Requirement{
		ID: "changed-path", Group: groupSignatures,
		Text:   "A signature for one extension is refused for another",
		Source: sourceGenerations,
		Fix:    `Compare the path with the signed "url"; a message signature must cover the path.`,
	}, checkChangedPath},
	{Requirement{
		ID: "changed-host", Group: groupSignatures,
		Text:   "A signature for another host is refused",
		Source: sourceDecisions,
		Fix:    `Compare scheme and host of the signed "url" with your own base URL, not with the Host header; of a message signature, what it covers of them.`,
	}, checkChangedHost},
	{Requirement{
		ID: "coverage", Group: groupSignatures,
		Text:   "A signature that covers next to nothing is refused",
		Source: sourceSignatures1,
		Fix:    "Demand that method, path, time and body are among the covered components: the sender chooses them.",
	}, checkCoverage},
	{Requirement{
		ID: "bearer-missing", Group: groupSignatures,
		Text:   "A signature without the bearer token is refused",
		Source: sourceGenerations,
		Fix:    "Demand both.",
	}, checkBearerMissing},
	{Requirement{
		ID: "bearer-wrong", Group: groupSignatures,
		Text:   "A signature with another bearer token is refused",
		Source: sourceGenerations,
		Fix:    "Compare the token, in constant time.",
	}, checkBearerWrong},
	{Requirement{
		ID: "stale", Group: groupSignatures,
		Text:   "A request of two hours ago is refused",
		Source: sourceDecisions,
		Fix:    "Compare the signed time with the clock; five minutes are enough.",
	}, checkStale},
	{Requirement{
		ID: "future", Group: groupSignatures,
		Text:   "A request from two hours ahead is refused",
		Source: sourceDecisions,
		Fix:    "Check the clock in both directions: a request dated next year could be replayed for a year.",
	}, checkFuture},
	{Requirement{
		ID: "timestamp-text", Group: groupSignatures,
		Text:   "The timestamp may be a number or a string",
		Source: sourceParameters,
		Fix:    "Read both: Fly.io's own examples show both.",
	}, checkTimestampText},
}

// another returns a secret that is not the right one.
func another(secret string) string { return "another-" + secret }

// orderRequest returns a genuine request for an extension, which a provider that
// checks nothing would make, and its body.
func (s *subject) orderRequest(ctx context.Context, changes ...how) (*http.Request, error) {
	order := s.order()
	s.conformanceRun.mu.Lock()
	s.made = append(s.made, order.ID) // in case it is
	s.conformanceRun.mu.Unlock()
	body, err := encodeProvision(order)
	if err != nil {
		return nil, err
	}
	return s.genuine(ctx, http.MethodPost, "/extensions", body, changes...)
}

// refusesOrder tests that an order is refused that was signed otherwise.
func (s *subject) refusesOrder(ctx context.Context, what string, changes ...how) error {
	r, err := s.orderRequest(ctx, changes...)
	if err != nil {
		return err
	}
	return s.refuses(r, what)
}

func (s *subject) refuses(r *http.Request, what string) error {
	e, err := s.send(r)
	if err != nil {
		return err
	}
	return refused(e, what)
}

// with returns a signer of this run's format under other credentials.
func (s *subject) with(change func(*Credentials)) Signer {
	credentials := s.Credentials
	change(&credentials)
	return s.Conformance.Format.Signer(credentials)
}

func nobody(*http.Request, time.Time) error { return nil }

func checkUnsigned(ctx context.Context, s *subject) error {
	if err := s.refusesOrder(ctx, "who signed nothing", signedBy(signerFunc(nobody))); err != nil {
		return err
	}
	if s.generation() == flyext.Generation2 || s.Credentials.BearerToken == "" {
		return nil
	}
	return s.refusesOrder(ctx, "who has the bearer token alone", signedBy(BearerToken(s.Credentials.BearerToken)))
}

// garbage is what stands where a signature should be. Its lengths are those that
// decoders and comparisons trip over.
var garbage = []string{
	"garbage", "0", strings.Repeat("z", 64), strings.Repeat("0", 63), strings.Repeat("A", 43) + "=", "sig1=:AAAA:", `keyId="`,
	`keyId="flyio-signing-secret",algorithm="hmac-sha256",headers="(request-target) date",signature="AAAA"`,
}

// signatureHeader is the header that holds the signature itself.
func (s *subject) signatureHeader() string {
	if s.Conformance.Format == FormatXSignature {
		return "X-Signature"
	}
	return "Signature"
}

func checkGarbage(ctx context.Context, s *subject) error {
	for _, text := range garbage {
		r, err := s.orderRequest(ctx)
		if err != nil {
			return err
		}
		r.Header.Set(s.signatureHeader(), text)
		if err := s.refuses(r, "who sends garbage for a signature"); err != nil {
			return err
		}
	}
	return nil
}

// flip changes one bit of the request's signature.
func (s *subject) flip(r *http.Request) error {
	header := s.signatureHeader()
	value := r.Header.Get(header)
	if s.Conformance.Format == FormatXSignature {
		last := len(value) - 1
		flipped := byte('0')
		if value[last] == '0' {
			flipped = '1'
		}
		r.Header.Set(header, value[:last]+string(flipped))
		return nil
	}
	before, after := ":", ":" // RFC 9421: sig1=:base64:
	if s.Conformance.Format == FormatCavage {
		before, after = `signature="`, `"`
	}
	start := strings.Index(value, before) + len(before)
	length := strings.Index(value[start:], after)
	if start < len(before) || length < 0 {
		return errors.New("flytest: the signature is not where it is expected")
	}
	mac, err := base64.StdEncoding.DecodeString(value[start : start+length])
	if err != nil || len(mac) == 0 {
		return errors.New("flytest: the signature is no base64")
	}
	mac[len(mac)-1] ^= 1
	r.Header.Set(header, value[:start]+base64.StdEncoding.EncodeToString(mac)+value[start+length:])
	return nil
}

func checkFlippedSignature(ctx context.Context, s *subject) error {
	r, err := s.orderRequest(ctx)
	if err != nil {
		return err
	}
	if err := s.flip(r); err != nil {
		return err
	}
	return s.refuses(r, "a signature with one bit changed")
}

func checkOtherKey(ctx context.Context, s *subject) error {
	other := s.with(func(c *Credentials) { c.SigningSecret = another(c.SigningSecret) })
	return s.refusesOrder(ctx, "who signs with another secret", signedBy(other))
}

// emptyKey signs with nothing. A zero byte makes the same HMAC key: RFC 2104
// pads keys with those.
const emptyKey = "\x00"

func checkEmptyKey(ctx context.Context, s *subject) error {
	empty := s.with(func(c *Credentials) { c.SigningSecret = emptyKey })
	return s.refusesOrder(ctx, "who signs with an empty secret", signedBy(empty))
}

func checkChangedBody(ctx context.Context, s *subject) error {
	if s.Conformance.Format == FormatCavage {
		return &skip{"as Fly.io's proposal signs in this format, the body is not covered"}
	}
	r, err := s.orderRequest(ctx)
	if err != nil {
		return err
	}
	body, err := bodyOf(r)
	if err != nil {
		return err
	}
	SetBody(r, bytes.Replace(body, []byte(`"mad"`), []byte(`"sin"`), 1))
	return s.refuses(r, "a body that is not the one that was signed")
}

func checkChangedQuery(ctx context.Context, s *subject) error {
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	if _, err := s.resource(ctx, x); err != nil {
		return skipFailure(err, "GET does not work")
	}
	r, err := s.genuine(ctx, http.MethodGet, x.path(), nil)
	if err != nil {
		return err
	}
	if r.URL.RawQuery != "" {
		r.URL.RawQuery += "&"
	}
	r.URL.RawQuery += "flytest=1"
	return s.refuses(r, "a query that is not the one that was signed")
}

func checkChangedMethod(ctx context.Context, s *subject) error {
	x, err := s.extension(ctx)
	if err != nil {
		return err
	}
	r, err := s.genuine(ctx, http.MethodGet, x.path(), nil)
	if err != nil {
		return err
	}
	if s.generation() == flyext.Generation1 {
		return s.refusesChanged(ctx, x, r, http.MethodDelete, nil)
	}
	// X-Signature has no method: a GET's is a DELETE's. What it must not be is
	// the signature of what is no query.
	return s.refusesChanged(ctx, x, r, http.MethodPatch, []byte(`{"primary_region":"fra"}`))
}

// refusesChanged tests that a GET is refused under another method, which has to
// be one that the provider offers: it would refuse any other for that.
func (s *subject) refusesChanged(ctx context.Context, x *extension, r *http.Request, method string, body []byte) error {
	r.Method = method
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	SetBody(r, body)
	if err := s.refuses(r, "a GET's signature on a "+method); err != nil {
		return err
	}
	e, err := s.call(ctx, method, x.path(), body)
	if err == nil {
		err = s.offered(ctx, e)
	}
	return skipFailure(err, method+" does not work")
}

func checkChangedPath(ctx context.Context, s *subject) error {
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	victim, err := s.extension(ctx)
	if err != nil {
		return err
	}
	body := []byte(`{"primary_region":"fra"}`)
	r, err := s.genuine(ctx, http.MethodPatch, x.path(), body)
	if err != nil {
		return err
	}
	if err := s.redirectTo(r, s.BaseURL, victim.path()); err != nil {
		return err
	}
	if err := s.refuses(r, "one extension's signature on another"); err != nil {
		return err
	}
	return skipFailure(s.patch(ctx, victim, fullUpdate()), "PATCH does not work")
}

// redirectTo sends a request to another URL than the one that it was signed for,
// its query included.
func (s *subject) redirectTo(r *http.Request, baseURL, path string) error {
	target, err := url.Parse(strings.TrimRight(baseURL, "/") + path)
	if err != nil {
		return err
	}
	target.RawQuery = r.URL.RawQuery
	r.URL, r.Host = target, target.Host
	return nil
}

func checkChangedHost(ctx context.Context, s *subject) error {
	if s.Conformance.Format == FormatCavage {
		return &skip{"as Fly.io's proposal signs in this format, the host is not covered"}
	}
	base, err := url.Parse(s.BaseURL)
	if err != nil {
		return err
	}
	base.Host = "another.example"
	elsewhere := func(p *Platform) { p.BaseURL = base.String() }
	r, err := s.orderRequest(ctx, elsewhere)
	if err != nil {
		return err
	}
	if err := s.redirectTo(r, s.BaseURL, "/extensions"); err != nil {
		return err
	}
	return s.refuses(r, "who was signed for another host")
}

func checkCoverage(ctx context.Context, s *subject) error {
	var signer Signer
	switch s.Conformance.Format {
	case FormatXSignature:
		return &skip{"X-Signature has no components to choose from"}
	case FormatCavage:
		signer = CavageOptions{Headers: []string{"date"}}.Cavage(s.Credentials.key())
	default:
		signer = RFC9421Options{Components: []string{"@method"}}.RFC9421(s.Credentials.key())
	}
	return s.refusesOrder(ctx, "a signature that leaves path and body to anybody", signedBy(s.Credentials.beside(signer)))
}

func (s *subject) needsBearer() error {
	if s.generation() == flyext.Generation2 {
		return &skip{"generation 2 has no bearer token"}
	}
	if s.Credentials.BearerToken == "" {
		return &skip{"no bearer token was given"}
	}
	return nil
}

func checkBearerMissing(ctx context.Context, s *subject) error {
	if err := s.needsBearer(); err != nil {
		return err
	}
	without := s.with(func(c *Credentials) { c.BearerToken = "" })
	return s.refusesOrder(ctx, "who has no bearer token", signedBy(without))
}

func checkBearerWrong(ctx context.Context, s *subject) error {
	if err := s.needsBearer(); err != nil {
		return err
	}
	wrong := s.with(func(c *Credentials) { c.BearerToken = another(c.BearerToken) })
	return s.refusesOrder(ctx, "who has another bearer token", signedBy(wrong))
}

// tooFar is more than any window that protocol or provider may allow.
const tooFar = 2 * time.Hour

func checkStale(ctx context.Context, s *subject) error {
	return s.refusesOrder(ctx, fmt.Sprintf("a request of %v ago", tooFar), signedAt(-tooFar))
}

func checkFuture(ctx context.Context, s *subject) error {
	return s.refusesOrder(ctx, fmt.Sprintf("a request from %v ahead", tooFar), signedAt(tooFar))
}

func checkTimestampText(ctx context.Context, s *subject) error {
	if s.Conformance.Format != FormatXSignature {
		return &skip{"only X-Signature has a timestamp among the parameters"}
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
