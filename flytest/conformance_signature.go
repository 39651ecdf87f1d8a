package flytest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
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
		Source: sourceGenerations,
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
		ID: "raw-bytes", Group: groupSignatures,
		Text:   "What is verified are the bytes as they came",
		Source: sourceGenerations,
		Fix:    "Keep the raw body and the raw query, and verify those: what a parser had is written otherwise when it is written again.",
	}, checkRawBytes},
	{Requirement{
		ID: "timestamp-text", Group: groupSignatures,
		Text:   "The timestamp may be a number or a string",
		Source: sourceParameters,
		Fix:    "Read both: Fly.io's own examples show both.",
	}, checkTimestampText},
}

// lowerEscapes writes percent escapes as few encoders do.
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

// another returns a secret that is not the right one.
func another(secret string) string { return "another-" + secret }

// orderRequest returns a genuine request for an extension, which a provider that
// checks nothing would make, and its body.
func (s *subject) orderRequest(ctx context.Context, changes ...how) (*http.Request, error) {
	order := s.order()
	s.willMake(order.ID)
	body, err := encodeProvision(order)
	if err != nil {
		return nil, err
	}
	return s.genuine(ctx, http.MethodPost, "/extensions", body, changes...)
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
	if err := s.refusesAll(ctx, "who signed nothing", signedBy(signerFunc(nobody))); err != nil {
		return err
	}
	// Nothing else is missing here: a provider may have refused that above for
	// want of a timestamp.
	for _, strip := range []func(http.Header){
		func(h http.Header) { h.Del("Signature-Input"); h.Del(s.signatureHeader()) },
		func(h http.Header) { h.Set(s.signatureHeader(), "") },
	} {
		err := s.refusesSpoilt(ctx, signedMethods, "who took the signature away", func(r *http.Request, _ target) error {
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
	return s.refusesAll(ctx, "who has the bearer token alone", signedBy(BearerToken(s.Credentials.BearerToken)))
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
	return s.refusesSpoilt(ctx, signedMethods, "a signature with one bit changed", func(r *http.Request, _ target) error { return s.flip(r) })
}

func checkOtherKey(ctx context.Context, s *subject) error {
	other := s.with(func(c *Credentials) { c.SigningSecret = another(c.SigningSecret) })
	return s.refusesAll(ctx, "who signs with another secret", signedBy(other))
}

// emptyKey signs with nothing. A zero byte makes the same HMAC key: RFC 2104
// pads keys with those.
const emptyKey = "\x00"

func checkEmptyKey(ctx context.Context, s *subject) error {
	empty := s.with(func(c *Credentials) { c.SigningSecret = emptyKey })
	return s.refusesAll(ctx, "who signs with an empty secret", signedBy(empty))
}

func checkChangedBody(ctx context.Context, s *subject) error {
	if s.Conformance.Format == FormatCavage {
		return &skip{"as Fly.io's proposal signs in this format, the body is not covered"}
	}
	methods := []string{http.MethodPost, http.MethodPatch}
	return s.refusesSpoilt(ctx, methods, "a body that is not the one that was signed", func(r *http.Request, _ target) error {
		body, err := bodyOf(r)
		if err != nil {
			return err
		}
		SetBody(r, bytes.Replace(body, []byte(`"mad"`), []byte(`"sin"`), 1))
		return nil
	})
}

func checkChangedQuery(ctx context.Context, s *subject) error {
	methods := []string{http.MethodGet, http.MethodDelete}
	return s.refusesSpoilt(ctx, methods, "a query that is not the one that was signed", func(r *http.Request, _ target) error {
		if r.URL.RawQuery != "" {
			r.URL.RawQuery += "&"
		}
		r.URL.RawQuery += "flytest=1"
		return nil
	})
}

func checkChangedMethod(ctx context.Context, s *subject) error {
	// X-Signature has no method: a GET's is a DELETE's. What it must not be is
	// the signature of a body for a query, or the other way round.
	signed := map[string]string{http.MethodPatch: http.MethodGet, http.MethodDelete: http.MethodPatch}
	methods := []string{http.MethodPatch, http.MethodDelete}
	if s.generation() == flyext.Generation1 {
		signed[http.MethodDelete] = http.MethodGet
		methods = methods[1:]
	}
	return s.everyRoute(ctx, methods, func(t target) error {
		as := signed[t.method]
		r, err := s.genuine(ctx, as, t.path, requestBody(as))
		if err != nil {
			return err
		}
		r.Method = t.method
		if t.body != nil {
			r.Header.Set("Content-Type", "application/json")
			SetBody(r, t.body)
		}
		return s.refuses(r, fmt.Sprintf("a %s's signature on a %s", as, t.method))
	})
}

func checkChangedPath(ctx context.Context, s *subject) error {
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	return s.everyRoute(ctx, extensionMethods, func(t target) error {
		r, err := s.genuine(ctx, t.method, x.path(), t.body)
		if err == nil {
			err = s.redirect(r, t)
		}
		if err != nil {
			return err
		}
		return s.refuses(r, "one extension's signature on another")
	})
}

// redirect sends a request to its target, whatever URL it was signed for. Its
// query goes along.
func (s *subject) redirect(r *http.Request, t target) error {
	to, err := url.Parse(strings.TrimRight(s.BaseURL, "/") + t.path)
	if err != nil {
		return err
	}
	to.RawQuery = r.URL.RawQuery
	r.URL, r.Host = to, to.Host
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
	return s.refusesSpoilt(ctx, signedMethods, "what was signed for another host", s.redirect, elsewhere)
}

func checkCoverage(ctx context.Context, s *subject) error {
	if s.Conformance.Format == FormatXSignature {
		return &skip{"X-Signature has no components to choose from"}
	}
	key := s.Credentials.key()
	if s.Conformance.Format == FormatCavage {
		for _, c := range []struct{ open, covered string }{{"path", "date"}, {"time", "(request-target)"}} {
			signer := CavageOptions{Headers: []string{c.covered}}.Cavage(key)
			if err := s.refusesAll(ctx, "a signature that leaves the "+c.open+" to anybody", signedBy(s.Credentials.withToken(signer))); err != nil {
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
		err := s.refusesSpoilt(ctx, c.methods, "a signature that leaves the "+c.open+" to anybody", asItIs, signedBy(signer))
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
		return &skip{"no bearer token was given"}
	}
	return nil
}

func checkBearerMissing(ctx context.Context, s *subject) error {
	if err := s.needsBearer(); err != nil {
		return err
	}
	without := s.with(func(c *Credentials) { c.BearerToken = "" })
	return s.refusesAll(ctx, "who has no bearer token", signedBy(without))
}

func checkBearerWrong(ctx context.Context, s *subject) error {
	if err := s.needsBearer(); err != nil {
		return err
	}
	wrong := s.with(func(c *Credentials) { c.BearerToken = another(c.BearerToken) })
	return s.refusesAll(ctx, "who has another bearer token", signedBy(wrong))
}

// tooFar is more than any window that protocol or provider may allow.
const tooFar = 2 * time.Hour

func checkStale(ctx context.Context, s *subject) error {
	return s.refusesAll(ctx, fmt.Sprintf("a request of %v ago", tooFar), signedAt(-tooFar))
}

func checkFuture(ctx context.Context, s *subject) error {
	return s.refusesAll(ctx, fmt.Sprintf("a request from %v ahead", tooFar), signedAt(tooFar))
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
