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

	"github.com/flyext/flyext"
)

// garbage are malformed signatures. Their lengths are difficult for decoders and
// comparisons.
var garbage = []string{
	"garbage", "0", strings.Repeat("z", 64), strings.Repeat("0", 63), strings.Repeat("A", 43) + "=", "sig1=:AAAA:", `keyId="`,
	`keyId="flyio-signing-secret",algorithm="hmac-sha256",headers="(request-target) date",signature="AAAA"`,
}

func checkGarbage(ctx context.Context, s *subject) error {
	for _, text := range garbage {
		r, err := s.orderRequest(ctx)
		if err != nil {
			return err
		}
		r.Header.Set(s.signatureHeader(), text)
		if err := s.refuses(r, "a malformed signature"); err != nil {
			return err
		}
	}
	return nil
}

// flip changes the last digit or bit of a request's signature.
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
		return errors.New("flytest: the header has no signature")
	}
	mac, err := base64.StdEncoding.DecodeString(value[start : start+length])
	if err != nil || len(mac) == 0 {
		return errors.New("flytest: the signature is not base64")
	}
	mac[len(mac)-1] ^= 1
	r.Header.Set(header, value[:start]+base64.StdEncoding.EncodeToString(mac)+value[start+length:])
	return nil
}

func checkFlippedSignature(ctx context.Context, s *subject) error {
	return s.refusesSpoilt(ctx, signedMethods, "a slightly changed signature", func(r *http.Request, _ target) error { return s.flip(r) })
}

func checkChangedBody(ctx context.Context, s *subject) error {
	if s.Conformance.Format == FormatCavage {
		return &skip{"in Fly.io's proposal, this format does not cover the body"}
	}
	methods := []string{http.MethodPost, http.MethodPatch}
	return s.refusesSpoilt(ctx, methods, "a changed body", func(r *http.Request, _ target) error {
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
	return s.refusesSpoilt(ctx, methods, "a changed query", func(r *http.Request, _ target) error {
		if r.URL.RawQuery != "" {
			r.URL.RawQuery += "&"
		}
		r.URL.RawQuery += "flytest=1"
		return nil
	})
}

func checkChangedMethod(ctx context.Context, s *subject) error {
	// X-Signature does not cover the method, so the signature of a GET is also that of
	// a DELETE. But the signature of a body must not count as that of a query, or the
	// other way round.
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
		return s.refuses(r, fmt.Sprintf("a %s with the signature of a %s", t.method, as))
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
		return s.refuses(r, "a request with the signature for another extension")
	})
}

// redirect changes the URL of a signed request to that of the target, and keeps the
// query.
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
		return &skip{"in Fly.io's proposal, this format does not cover the host"}
	}
	base, err := url.Parse(s.BaseURL)
	if err != nil {
		return err
	}
	base.Host = "another.example"
	elsewhere := func(p *Platform) { p.BaseURL = base.String() }
	return s.refusesSpoilt(ctx, signedMethods, "a request that is signed for another host", s.redirect, elsewhere)
}
