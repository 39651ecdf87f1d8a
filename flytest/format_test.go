package flytest_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

func TestFormats(t *testing.T) {
	t.Parallel()
	for _, format := range flytest.Formats() {
		for _, bearer := range []string{"", token} {
			t.Run(fmt.Sprintf("%s, bearer %q", format, bearer), func(t *testing.T) {
				t.Parallel()
				verifier := flyext.Verifier(flyext.XSignature(secret))
				if format.Generation() == flyext.Generation1 {
					verifier = flyext.MessageSignature(key)
					if bearer != "" {
						verifier = flyext.AllOf(flyext.BearerToken(bearer), verifier)
					}
				}
				signer := format.Signer(flytest.Credentials{SigningSecret: secret, BearerToken: bearer})
				fly := start(t, newService(), signer, verifier)
				if _, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "x", OrganizationID: "M03FclA4m"}); err != nil {
					t.Errorf("Provision: %v", err)
				}
			})
		}
		if got, err := flytest.ParseFormat(string(format)); err != nil || got != format {
			t.Errorf("ParseFormat(%q) = %q, %v", format, got, err)
		}
	}
	const want = `unknown format "X-Signature"; choose one of x-signature, rfc9421, draft-05, cavage`
	if _, err := flytest.ParseFormat("X-Signature"); err == nil || err.Error() != want {
		t.Errorf("ParseFormat: got error %v, want %s", err, want)
	}
	fly := &flytest.Platform{BaseURL: baseURL, Signer: flytest.Format("morse").Signer(flytest.Credentials{SigningSecret: secret})}
	if _, err := fly.NewRequest(t.Context(), http.MethodGet, "/", nil); err == nil || err.Error() != `flytest: unknown format "morse"` {
		t.Errorf("NewRequest with an unknown format: %v", err)
	}
	other := flytest.FormatRFC9421.Signer(flytest.Credentials{SigningSecret: secret, KeyID: "another"})
	fly = start(t, newService("x"), other, flyext.MessageSignature(flyext.Key{ID: "another", Secret: secret}))
	if _, err := fly.Fetch(t.Context(), "x"); err != nil {
		t.Errorf("with another key id: %v", err)
	}
}

func TestCredentialsPrintNoSecret(t *testing.T) {
	t.Parallel()
	c := flytest.Credentials{SigningSecret: secret, BearerToken: token}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "credentials", c)
	marshalled, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s %q %d", c, c, c, c, c, &c) + log.String() + string(marshalled) +
		fmt.Sprintf("%+v", flytest.Conformance{Credentials: c, Webhooks: &flytest.WebhookReceiver{Secret: secret}})
	if strings.Contains(printed, secret) || strings.Contains(printed, token) || strings.Count(printed, "[redacted]") != 11 {
		t.Errorf("printed with a secret: %s", printed)
	}
}

// TestSignatureBase checks that the HMAC of the signature base is the sent signature.
func TestSignatureBase(t *testing.T) {
	t.Parallel()
	signers := map[string]flytest.Signer{
		"X-Signature": flytest.XSignature(secret), "RFC 9421": flytest.RFC9421(key), "draft-05": flytest.Draft05(key),
		"draft-cavage": flytest.Cavage(key), "zntrio": flytest.Zntrio(key),
		"bearer token and RFC 9421": flytest.All(flytest.BearerToken(token), flytest.RFC9421(key)),
	}
	long := time.Date(2020, 2, 20, 20, 20, 20, 0, time.UTC)
	for name, signer := range signers {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			for clock, now := range map[string]time.Time{"now": time.Now(), "long ago": long} {
				t.Run(name+" "+method+" "+clock, func(t *testing.T) {
					t.Parallel()
					var shown flytest.Exchange
					client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
						return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
					})}
					fly := &flytest.Platform{
						BaseURL: baseURL, Signer: signer, Client: client, Now: func() time.Time { return now },
						Observe: func(e flytest.Exchange) { shown = e },
					}
					body := ""
					if method == http.MethodPost {
						body = `{"id":"x"}`
					}
					r := newRequest(t, fly, method, "/extensions", body)
					if _, err := fly.Do(r); err != nil {
						t.Fatal(err)
					}
					h := hmac.New(sha256.New, []byte(secret))
					h.Write([]byte(shown.SignatureBase))
					sum := h.Sum(nil)
					sent := r.Header.Get("X-Signature") + r.Header.Get("Signature")
					if !strings.Contains(sent, hex.EncodeToString(sum)) && !strings.Contains(sent, base64.StdEncoding.EncodeToString(sum)) {
						t.Errorf("the signature %s lacks the HMAC of the signature base\n%s", sent, shown.SignatureBase)
					}
					if shown.SignatureBase != flytest.SignatureBase(r) || shown.Duration < 0 {
						t.Errorf("Exchange.SignatureBase differs from SignatureBase, or the duration %v is negative", shown.Duration)
					}
				})
			}
		}
	}
	unsigned, err := http.NewRequestWithContext(t.Context(), http.MethodGet, baseURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := flytest.SignatureBase(unsigned); got != "" {
		t.Errorf("got signature base %q for an unsigned request, want none", got)
	}
}

func TestXSignatureOptions(t *testing.T) {
	t.Parallel()
	now := time.Unix(1700000000, 0)
	for _, c := range []struct {
		name, method, body, want string
		options                  flytest.XSignatureOptions
	}{
		{name: "number", method: http.MethodPost, body: `{}`, want: `{"timestamp":1700000000,"nonce"`},
		{name: "text", method: http.MethodPost, body: `{}`, want: `{"timestamp":"1700000000","nonce"`, options: flytest.XSignatureOptions{TimestampAsText: true}},
		{name: "as it is", method: http.MethodPost, body: `{"id":`, want: `{"id":`, options: flytest.XSignatureOptions{AsIs: true}},
		{name: "no body, as it is", method: http.MethodPatch, options: flytest.XSignatureOptions{AsIs: true}},
		{name: "query, as it is", method: http.MethodDelete, want: "a=b", options: flytest.XSignatureOptions{AsIs: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fly := &flytest.Platform{BaseURL: baseURL, Signer: c.options.XSignature(secret), Now: func() time.Time { return now }}
			r := newRequest(t, fly, c.method, "/extensions?a=b", c.body)
			got := flytest.SignatureBase(r)
			if !strings.HasPrefix(got, c.want) || c.options.AsIs && got != c.want {
				t.Errorf("signed %q, want %q", got, c.want)
			}
		})
	}
}
