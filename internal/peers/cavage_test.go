package peers_test

import (
	"net/http"
	"testing"

	"github.com/go-fed/httpsig"

	"github.com/flyext/flyext/flytest"
)

// Variants of flytest's draft-cavage signatures.
var (
	cavage = form{name: "default", signer: flytest.Cavage(key)}
	// cavageFormat is the variant of flysim's --format cavage.
	cavageFormat  = form{name: "with a bearer token", signer: flytest.FormatCavage.Signer(credentials)}
	cavageDigest  = form{name: "with a digest", signer: flytest.CavageOptions{CoverDigest: true}.Cavage(key), covers: []string{body}}
	cavageTwice   = form{name: "in Authorization as well", signer: flytest.CavageOptions{RepeatAsAuthorization: true}.Cavage(key)}
	cavageCreated = form{
		name: "with created", covers: []string{host},
		signer: flytest.CavageOptions{Created: true, Headers: []string{"(request-target)", "(created)", "host", "date"}}.Cavage(key),
	}
)

func TestGoFedHTTPSig(t *testing.T) {
	t.Parallel()
	peer{
		name: module("github.com/go-fed/httpsig"), decodesPath: true,
		verify: each(func(r *http.Request) error {
			v, err := httpsig.NewVerifier(r)
			if err != nil {
				return err
			}
			return v.Verify([]byte(key.Secret), httpsig.HMAC_SHA256)
		}),
		forms: []form{cavage, cavageFormat, cavageDigest, cavageTwice.but("it accepts only one of the headers"), cavageCreated},
	}.test(t)
}
