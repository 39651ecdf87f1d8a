package flytest_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// answersAlike returns a client that gets the same answer to every request.
func answersAlike(status int, location string, body []byte) *http.Client {
	return &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		answer := &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{}, Request: r}
		answer.Body = io.NopCloser(bytes.NewReader(body))
		if location != "" {
			answer.Header.Set("Location", location)
		}
		return answer, nil
	})}
}

// FuzzProvider checks for any answer of a provider that the conformance test ends, has
// a verdict on each requirement, and reveals no secret.
func FuzzProvider(f *testing.F) {
	for _, body := range []string{
		`{"id":"x","config":{"LOGJAM_URL":"https://user:password@logjam.example"},"status":"ready","read_regions":["fra"]}`,
		`{"LOGJAM_URL":"https://user:password@logjam.example"}`, `{"id":7,"config":null,"status":[]}`, `{"id":"","config":{"":""}}`,
		`{"error":"not_found","message":"There is no such stream."}`, `{"error":"x","message":"a\nb"}`, `[]`, `{`, "\xff", "",
		`{"id":"a/b ü","config":{"A":1,"B":true,"C":{}},"name":"n","fly_app_name":1,"error_message":"\u0000"}`,
	} {
		f.Add(200, "", []byte(body))
		f.Add(404, "", []byte(body))
	}
	f.Add(302, "https://api.fly.io/oauth/authorize?response_type=code&client_id=x&state=0123456789012345678901&scope=read"+
		"&redirect_uri=https%3A%2F%2Fexample.com%2Fflyio%2Fcallback", []byte{})
	f.Add(302, "/flyio/extensions/x/sso", []byte{})
	f.Add(501, "", []byte(`{}`))
	f.Fuzz(func(t *testing.T, status int, location string, body []byte) {
		if status < 100 || status > 599 || strings.ContainsAny(location, "\r\n") {
			return // net/http cannot return such an answer
		}
		c := flytest.Conformance{
			BaseURL: baseURL, Credentials: flytest.Credentials{SigningSecret: secret}, Client: answersAlike(status, location, body),
			Sleep: noSleep, Patience: flytest.PollInterval,
		}
		report, err := c.Run(t.Context())
		if err != nil {
			// net/http returns an error for a Location that is not a URL.
			if len(report.Results) > 0 {
				t.Fatal(err)
			}
			return
		}
		closed := len(report.Results) == 1 && report.Results[0].Verdict == flytest.Failed
		if !closed && len(report.Results) != len(flytest.Requirements()) {
			t.Fatalf("got %d verdicts, want %d", len(report.Results), len(flytest.Requirements()))
		}
		for _, result := range report.Results {
			text := result.String()
			if strings.Contains(text, secret) || !strings.HasPrefix(text, string(result.Verdict)+" "+result.ID) {
				t.Errorf("the result has a secret, or does not begin with its verdict and id: %s", text)
			}
		}
	})
}

// FuzzCreate checks for any answer of a provider that Create returns a full line of
// output, and either an extension or an error.
func FuzzCreate(f *testing.F) {
	f.Add(200, []byte(`{"id":"x","config":{"LOGJAM_URL":"u"},"status":"provisioning"}`))
	f.Add(200, []byte(`{"id":"x","config":{},"status":"error","error_message":"a\u001b[31m"}`))
	f.Add(200, []byte(`{"LOGJAM_URL":"u"}`))
	f.Add(422, []byte(`{"error":"invalid","message":"There is no region xyz."}`))
	f.Add(500, []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		fly := flytest.Platform{BaseURL: baseURL, Signer: flytest.XSignature(secret), Client: answersAlike(status, "", body), Sleep: noSleep}
		got, err := fly.Create(t.Context(), flyext.ProvisionRequest{ID: "x"})
		if !strings.HasSuffix(got.Terminal, "\n") || (err == nil) != (got.Extension != nil) {
			t.Errorf("got %+v, %v, want output and either an extension or an error", got, err)
		}
	})
}
