package peers_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/common-fate/httpsig"
	"github.com/common-fate/httpsig/contentdigest"
	"github.com/common-fate/httpsig/inmemory"
	"github.com/common-fate/httpsig/sigparams"
	"github.com/common-fate/httpsig/verifier"
	dadrus "github.com/dadrus/httpsig"
	remitly "github.com/remitly-oss/httpsig-go"
	"github.com/remitly-oss/httpsig-go/keyman"
	"github.com/yaronf/httpsign"

	"github.com/flyext/flyext/flytest"
)

// Variants of flytest's RFC 9421 signatures. Each peer is tested with those that it
// supports.
var (
	rfc9421 = form{name: "default", signer: flytest.RFC9421(key), covers: []string{host, body}}
	// rfc9421Format is the variant of flysim's --format rfc9421.
	rfc9421Format = form{
		name: "with a bearer token", signer: flytest.FormatRFC9421.Signer(credentials), covers: []string{host, body, bearer},
	}
	draft05 = form{
		name: "draft-05", signer: flytest.FormatDraft05.Signer(credentials), covers: []string{host, body, bearer},
	}
	expires = form{
		name: "with expires", signer: flytest.RFC9421Options{Expires: time.Minute}.RFC9421(key), covers: []string{host, body},
	}
	withoutTag = form{
		name: "without a tag", signer: flytest.RFC9421Options{WithoutTag: true}.RFC9421(key), covers: []string{host, body},
	}
	pathAndQuery = form{
		name: "with path and query", signer: flytest.RFC9421Options{PathAndQuery: true}.RFC9421(key), covers: []string{host, body},
	}
	pathAndQueryBearer = form{
		name:   "with path, query and a bearer token",
		signer: flytest.All(flytest.BearerToken(credentials.BearerToken), flytest.RFC9421Options{PathAndQuery: true}.RFC9421(key)),
		covers: []string{host, body, bearer},
	}
)

// but returns a form that the peer refuses for the given reason.
func (f form) but(refused string) form {
	f.refused = refused
	return f
}

func TestYaronfHTTPSign(t *testing.T) {
	t.Parallel()
	// The library requires a key of at least 64 bytes. HMAC pads short keys with zeros
	// (RFC 2104), so this is the same key.
	padded := make([]byte, 64)
	copy(padded, key.Secret)
	v, err := httpsign.NewHMACSHA256Verifier(padded, httpsign.NewVerifyConfig().SetKeyID(key.ID), httpsign.Headers("@method"))
	if err != nil {
		t.Fatal(err)
	}
	config := httpsign.NewHandlerConfig().SetLogger(nil).
		SetFetchVerifier(func(*http.Request) (string, *httpsign.Verifier) { return "sig1", v })
	peer{
		name: module("github.com/yaronf/httpsign"), digest: "Content-Digest",
		verify: each(func(r *http.Request) error {
			return admitted(r, func(h http.Handler) http.Handler { return httpsign.WrapHandler(h, *config) })
		}),
		forms: []form{rfc9421, rfc9421Format, draft05, expires, withoutTag, pathAndQuery},
	}.test(t)
}

func TestDadrusHTTPSig(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		suffix  string
		options []dadrus.VerifierOption
		forms   []form
	}{
		{
			suffix: " by default",
			forms: []form{
				expires,
				rfc9421.but("its default requires expires"),
				rfc9421Format.but("its default requires expires"),
			},
		},
		{
			suffix:  " without expires",
			options: []dadrus.VerifierOption{dadrus.WithExpiredTimestampRequired(false)},
			forms:   []form{rfc9421, rfc9421Format, draft05, expires, withoutTag, pathAndQuery},
		},
	} {
		resolver := dadrus.Key{KeyID: key.ID, Algorithm: dadrus.HmacSha256, Key: []byte(key.Secret)}
		v, err := dadrus.NewVerifier(resolver, append(c.options, dadrus.WithValidateAllSignatures())...)
		if err != nil {
			t.Fatal(err)
		}
		peer{
			name: module("github.com/dadrus/httpsig") + c.suffix, digest: "Content-Digest", forms: c.forms,
			verify: each(func(r *http.Request) error {
				// Users must complete the URL: in a server's request it has only the path.
				r.URL.Scheme, r.URL.Host = "https", r.Host
				return v.Verify(dadrus.MessageFromRequest(r))
			}),
		}.test(t)
	}
}

func TestRemitlyHTTPSig(t *testing.T) {
	t.Parallel()
	keys := keyman.NewKeyFetchInMemory(map[string]remitly.KeySpec{
		key.ID: {KeyID: key.ID, Algo: remitly.Algo_HMAC_SHA256, Secret: []byte(key.Secret)},
	})
	v, err := remitly.NewVerifier(keys, remitly.VerifyProfile{
		SignatureLabel:    "sig1",
		AllowedAlgorithms: []remitly.Algorithm{remitly.Algo_HMAC_SHA256},
		RequiredFields:    remitly.Fields("@method"),
		RequiredMetadata:  []remitly.Metadata{remitly.MetaCreated, remitly.MetaKeyID},
	})
	if err != nil {
		t.Fatal(err)
	}
	const noPath = "its @target-uri lacks the path, or appends the query incorrectly"
	peer{
		name: module("github.com/remitly-oss/httpsig-go"), digest: "Content-Digest", decodesPath: true,
		verify: each(func(r *http.Request) error {
			_, err := v.Verify(r)
			return err
		}),
		forms: []form{pathAndQuery, pathAndQueryBearer, rfc9421.but(noPath), rfc9421Format.but(noPath)},
	}.test(t)
}

// commonFate is a correct HMAC, which common-fate/httpsig lacks.
type commonFate struct{}

func (commonFate) GetKey(_ context.Context, id, _ string) (verifier.Algorithm, error) {
	if id != key.ID {
		return nil, errors.New("unknown key")
	}
	return commonFate{}, nil
}

func (commonFate) Type() string                          { return "hmac-sha256" }
func (commonFate) ContentDigest() contentdigest.Digester { return contentdigest.SHA256 }

func (commonFate) Verify(_ context.Context, base string, signature []byte) error {
	mac := hmac.New(sha256.New, []byte(key.Secret))
	mac.Write([]byte(base))
	if !hmac.Equal(signature, mac.Sum(nil)) {
		return errors.New("wrong signature")
	}
	return nil
}

func TestCommonFateHTTPSig(t *testing.T) {
	t.Parallel()
	// The default validation requires a body in every request.
	validation := sigparams.ValidateOpts{
		BeforeDuration: time.Minute, RequireNonce: true,
		RequiredCoveredComponents: map[string]bool{"@method": true, "@target-uri": true},
	}
	middleware := httpsig.Middleware(httpsig.MiddlewareOpts{
		NonceStorage: inmemory.NewNonceStorage(), KeyDirectory: commonFate{}, Tag: "flyio", Scheme: "https", Authority: authority,
		Validation: &validation,
	})
	peer{
		name: module("github.com/common-fate/httpsig"), digest: "Content-Digest",
		verify: each(func(r *http.Request) error { return admitted(r, middleware) }),
		forms: []form{
			rfc9421, rfc9421Format,
			expires,
			draft05.but("it requires a tag"), withoutTag.but("it requires a tag"),
			pathAndQuery.but("it does not support these components"),
		},
	}.test(t)
}

// admitted reports whether a middleware lets a request through.
func admitted(r *http.Request, middleware func(http.Handler) http.Handler) error {
	through := false
	answer := httptest.NewRecorder()
	middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		through = true
		w.WriteHeader(http.StatusNoContent)
	})).ServeHTTP(answer, r)
	if !through {
		return errors.New(answer.Result().Status)
	}
	return nil
}
