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

// garbage is what stands where a signature should be. Its lengths are those that
// decoders and comparisons trip over.
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
