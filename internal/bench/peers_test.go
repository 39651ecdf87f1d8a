package bench

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"code.cloudfoundry.org/brokerapi/v13"
	"code.cloudfoundry.org/brokerapi/v13/domain"
	"github.com/common-fate/httpsig/contentdigest"
	"github.com/common-fate/httpsig/sigparams"
	commonfate "github.com/common-fate/httpsig/verifier"
	dadrus "github.com/dadrus/httpsig"
	"github.com/google/go-github/v75/github"
	remitly "github.com/remitly-oss/httpsig-go"
	"github.com/remitly-oss/httpsig-go/keyman"
	"github.com/slack-go/slack"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	svix "github.com/svix/svix-webhooks/go"
	"github.com/yaronf/httpsign"
)

// The peers are configured to do exactly the work of the row. Other features are
// disabled, and preparations are done once.

var rfc9421Peers = []verifier{
	{name: "common-fate", sign: signTargetURI, open: openCommonFate},
	{name: "remitly", sign: signPath, open: openRemitly}, // its @target-uri lacks the path
	{name: "dadrus", sign: signTargetURI, open: openDadrus},
	{name: "yaronf", sign: signTargetURI, open: openYaronf},
}

// hmacSHA256 is a correct implementation of the algorithm, which
// common-fate/httpsig has wrong. It is also a key directory, and a nonce storage
// that costs nothing.
type hmacSHA256 struct{}

func (hmacSHA256) GetKey(_ context.Context, id, _ string) (commonfate.Algorithm, error) {
	if id != keyID {
		return nil, errors.New("unknown key")
	}
	return hmacSHA256{}, nil
}

func (hmacSHA256) Type() string                               { return "hmac-sha256" }
func (hmacSHA256) ContentDigest() contentdigest.Digester      { return contentdigest.SHA256 }
func (hmacSHA256) Seen(context.Context, string) (bool, error) { return false, nil }

func (hmacSHA256) Verify(_ context.Context, base string, signature []byte) error {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(base))
	if !hmac.Equal(signature, mac.Sum(nil)) {
		return errors.New("wrong signature")
	}
	return nil
}

func openCommonFate(_ testing.TB, now time.Time) func(http.Header, []byte) bool {
	v := &commonfate.Verifier{
		NonceStorage: hmacSHA256{}, KeyDirectory: hmacSHA256{}, Tag: "flyio", Scheme: "https", Authority: authority,
		Validation: sigparams.ValidateOpts{
			BeforeDuration: time.Minute, RequireNonce: true,
			RequiredCoveredComponents: map[string]bool{"@method": true, "@target-uri": true, "content-digest": true},
		},
	}
	request, w := reuse(), httptest.NewRecorder()
	return func(h http.Header, body []byte) bool {
		r, _, err := v.Parse(w, request(h, body), now)
		if err != nil {
			return false
		}
		_, err = io.Copy(io.Discard, r.Body)
		return err == nil
	}
}

func openRemitly(tb testing.TB, _ time.Time) func(http.Header, []byte) bool {
	keys := keyman.NewKeyFetchInMemory(map[string]remitly.KeySpec{
		keyID: {KeyID: keyID, Algo: remitly.Algo_HMAC_SHA256, Secret: []byte(secret)},
	})
	v, err := remitly.NewVerifier(keys, remitly.VerifyProfile{
		SignatureLabel:    "sig1",
		AllowedAlgorithms: []remitly.Algorithm{remitly.Algo_HMAC_SHA256},
		RequiredFields:    remitly.Fields("@method", "@path", "content-digest"),
		RequiredMetadata:  []remitly.Metadata{remitly.MetaCreated, remitly.MetaKeyID},
	})
	if err != nil {
		tb.Fatal(err)
	}
	request := reuse()
	return func(h http.Header, body []byte) bool {
		_, err := v.Verify(request(h, body))
		return err == nil
	}
}

func openDadrus(tb testing.TB, _ time.Time) func(http.Header, []byte) bool {
	v, err := dadrus.NewVerifier(
		dadrus.Key{KeyID: keyID, Algorithm: dadrus.HmacSha256, Key: []byte(secret)},
		dadrus.WithExpiredTimestampRequired(false), dadrus.WithValidateAllSignatures(),
		dadrus.WithRequiredComponents("@method", "@target-uri", "content-digest"),
	)
	if err != nil {
		tb.Fatal(err)
	}
	request := reuse()
	return func(h http.Header, body []byte) bool {
		r := request(h, body)
		r.URL.Scheme, r.URL.Host = "https", r.Host // as its users must do
		return v.Verify(dadrus.MessageFromRequest(r)) == nil
	}
}

func openYaronf(tb testing.TB, _ time.Time) func(http.Header, []byte) bool {
	padded := make([]byte, 64) // HMAC pads short keys with zeros, so this is the same key
	copy(padded, secret)
	v, err := httpsign.NewHMACSHA256Verifier(padded, httpsign.NewVerifyConfig().SetKeyID(keyID),
		httpsign.Headers("@method", "@target-uri", "content-digest"))
	if err != nil {
		tb.Fatal(err)
	}
	request := reuse()
	return func(h http.Header, body []byte) bool {
		r := request(h, body)
		return httpsign.VerifyRequest("sig1", *v, r) == nil &&
			httpsign.ValidateContentDigestHeader(r.Header["Content-Digest"], &r.Body, []string{httpsign.DigestSha256}) == nil
	}
}

var xPeers = []verifier{
	{
		name: "go-github",
		sign: func(secret string, body []byte, now time.Time) http.Header {
			h := signX(secret, body, now)
			h.Set("X-Hub-Signature-256", "sha256="+h.Get("X-Signature"))
			h.Del("X-Signature")
			return h
		},
		open: func(testing.TB, time.Time) func(http.Header, []byte) bool {
			request := reuse()
			return func(h http.Header, body []byte) bool {
				_, err := github.ValidatePayload(request(h, body), []byte(secret))
				return err == nil
			}
		},
	},
	{
		name: "slack-go",
		sign: func(secret string, body []byte, now time.Time) http.Header {
			h := xRequest(body, "").Header
			stamp := strconv.FormatInt(now.Unix(), 10)
			h.Set("X-Slack-Request-Timestamp", stamp)
			h.Set("X-Slack-Signature", "v0="+newSigner(secret).xSignature([]byte("v0:"+stamp+":"+string(body))))
			return h
		},
		open: func(testing.TB, time.Time) func(http.Header, []byte) bool {
			request := reuse()
			return func(h http.Header, body []byte) bool {
				r := request(h, body)
				v, err := slack.NewSecretsVerifier(r.Header, secret)
				if err != nil {
					return false
				}
				content, err := io.ReadAll(r.Body)
				if err != nil {
					return false
				}
				v.Write(content)
				return v.Ensure() == nil
			}
		},
	},
	{
		name: "standard-webhooks",
		sign: func(secret string, body []byte, now time.Time) http.Header {
			wh, err := standardwebhooks.NewWebhookRaw([]byte(secret))
			return signWebhook("webhook-", wh, err, body, now)
		},
		open: func(tb testing.TB, _ time.Time) func(http.Header, []byte) bool {
			wh, err := standardwebhooks.NewWebhookRaw([]byte(secret))
			return openWebhook(tb, wh, err)
		},
	},
	{
		name: "svix",
		sign: func(secret string, body []byte, now time.Time) http.Header {
			wh, err := svix.NewWebhookRaw([]byte(secret))
			return signWebhook("svix-", wh, err, body, now)
		},
		open: func(tb testing.TB, _ time.Time) func(http.Header, []byte) bool {
			wh, err := svix.NewWebhookRaw([]byte(secret))
			return openWebhook(tb, wh, err)
		},
	},
}

// A webhook is svix's or that of Standard Webhooks, which svix started.
type webhook interface {
	Sign(id string, now time.Time, body []byte) (string, error)
	Verify(body []byte, h http.Header) error
}

func signWebhook(prefix string, wh webhook, err error, body []byte, now time.Time) http.Header {
	const id = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"
	signature, errSign := wh.Sign(id, now, body)
	if err := errors.Join(err, errSign); err != nil {
		panic(err)
	}
	h := xRequest(body, "").Header
	h.Set(prefix+"id", id)
	h.Set(prefix+"timestamp", strconv.FormatInt(now.Unix(), 10))
	h.Set(prefix+"signature", signature)
	return h
}

func openWebhook(tb testing.TB, wh webhook, err error) func(http.Header, []byte) bool {
	if err != nil {
		tb.Fatal(err)
	}
	request := reuse()
	return func(h http.Header, body []byte) bool {
		r := request(h, body)
		content, err := io.ReadAll(r.Body)
		return err == nil && wh.Verify(content, r.Header) == nil
	}
}

// A broker is brokerapi's counterpart of a no-op Provisioner, with one plan.
type broker struct{ domain.ServiceBroker }

const (
	brokerUser = "flyio"
	brokerPath = "/v2/service_instances/30bqn49y2jh"
)

var brokerServices = []domain.Service{{
	ID: "4f6e6cf6-ffdd-425f-a2c7-3c9258ad2468", Name: "logjam", Bindable: true,
	Plans: []domain.ServicePlan{{ID: "86064792-7ea2-467b-af93-ac9694d96d5b", Name: "default"}},
}}

func (broker) Services(context.Context) ([]domain.Service, error) { return brokerServices, nil }

func (broker) Provision(context.Context, string, domain.ProvisionDetails, bool) (domain.ProvisionedServiceSpec, error) {
	return domain.ProvisionedServiceSpec{DashboardURL: secretsOf["LOGJAM_URL"]}, nil
}

func newBroker() http.Handler {
	return brokerapi.New(broker{}, slog.New(slog.DiscardHandler), brokerapi.BrokerCredentials{Username: brokerUser, Password: secret})
}

// brokerRequest returns a request as long as flyext's, with a password instead of a
// signature.
func brokerRequest(password string) (r *http.Request, body []byte) {
	body = []byte(`{"service_id":"4f6e6cf6-ffdd-425f-a2c7-3c9258ad2468","plan_id":"86064792-7ea2-467b-af93-ac9694d96d5b",` +
		`"organization_guid":"M03FclA4m","space_guid":"NeBO2v7yY5j","context":{"platform":"cloudfoundry","organization_name":"Supercollider Inc"},` +
		`"parameters":{"name":"collider-prod","user_email":"v0pj81kzm@customer.logjam.org","user_role":"admin","primary_region":"mad",` +
		`"read_regions":["ord","nrt"],"ip_address":"fdaa:0:22b7:0:1::3"}}`)
	r = xRequest(body, "")
	r.Method, r.URL.Path, r.RequestURI = http.MethodPut, brokerPath, brokerPath
	r.Header.Set("X-Broker-API-Version", "2.14")
	r.SetBasicAuth(brokerUser, password)
	return r, body
}
