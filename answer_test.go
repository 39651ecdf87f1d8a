package flyext_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// Every answer names its type and forbids caching. Each header field has a slice of
// its own, so that a handler can append to it.
func TestFieldsOfAnswers(t *testing.T) {
	t.Parallel()
	fails := func(err error) *testProvisioner {
		return &testProvisioner{provision: func(context.Context, *flyext.ProvisionRequest) (*flyext.Extension, error) {
			return &flyext.Extension{}, err
		}}
	}
	unsignedPost := httptest.NewRequest("POST", "/flyio/extensions", nil)
	for _, c := range []struct {
		name        string
		provisioner flyext.Provisioner
		request     *http.Request
		status      int
		body        string // "" is any
		challenge   string
	}{
		{"provisioned", &testProvisioner{}, xsigned("POST", "/flyio/extensions", minimal), 200, "", ""},
		{"unsigned", &testProvisioner{}, unsignedPost,
			401, `{"error":"unauthenticated","message":"The request is not authenticated."}`, "Signature"},
		{"a 401 of the Provisioner", fails(&flyext.Error{Status: 401, Code: "unauthenticated", Message: "Of the service."}),
			xsigned("POST", "/flyio/extensions", minimal), 401, `{"error":"unauthenticated","message":"Of the service."}`, "Signature"},
		{"the message of a 401 under another status", fails(&flyext.Error{Status: 402, Code: "unpaid", Message: "The request is not authenticated."}),
			xsigned("POST", "/flyio/extensions", minimal), 402, `{"error":"unpaid","message":"The request is not authenticated."}`, ""},
		{"an extension together with an error", fails(flyext.Conflict("Busy.")),
			xsigned("POST", "/flyio/extensions", minimal), 409, `{"error":"conflict","message":"Busy."}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			newProvider(t, c.provisioner, nil).ServeHTTP(w, c.request)
			if got := w.Body.String(); w.Code != c.status || c.body != "" && got != c.body {
				t.Errorf("got %d %s, want %d %s", w.Code, got, c.status, c.body)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
				"Www-Authenticate": c.challenge,
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			for name, values := range w.Header() {
				if len(values) != 1 || cap(values) != 1 {
					t.Errorf("appending to %s overwrites another field", name)
				}
			}
		})
	}
}

// A request target that is not a path or cannot be decoded gets 404.
func TestTargetsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ base, method, target string }{
		{"https://logjam.test", "OPTIONS", "*"},
		{"https://logjam.test", "GET", "*"},
		{testBase, "GET", "/flyio/extensions/%zz"},
		{testBase, "GET", "/flyio/extensions/%ff"},
	} {
		p := &testProvisioner{}
		r := httptest.NewRequest(c.method, "/", nil)
		r.RequestURI = c.target
		w := do(newProvider(t, p, func(config *flyext.Config) { unsigned(config); config.BaseURL = c.base }), r)
		if w.Code != http.StatusNotFound || len(p.recorded()) != 0 {
			t.Errorf("%s %s: got %d and the calls %v, want 404 and no call", c.method, c.target, w.Code, p.recorded())
		}
	}
}

// The verifier that accepts the request decides the generation, and the generation
// decides the format of the answer.
func TestGenerationOfTheAnswer(t *testing.T) {
	t.Parallel()
	verifier := flyext.AnyOf(flyext.MessageSignature(signingKey), flyext.XSignature(signingSecret), flyext.BearerToken("t"))
	secrets := flyext.Secrets{"A": "b"}
	for name, c := range map[string]struct {
		request *wireRequest
		want    string
		shape   flyext.Generation
	}{
		"RFC 9421":     {newPost().rfc9421(), `{"A":"b"}`, flyext.Generation1},
		"draft-cavage": {newPost().cavage(), `{"A":"b"}`, flyext.Generation1},
		"bearer token": {newPost().set("Authorization", "Bearer t"), `{"A":"b"}`, flyext.Generation1},
		"X-Signature":  {newPost().xSignature(), `{"id":"x1","config":{"A":"b"}}`, flyext.Generation2},
	} {
		p := newProvider(t, &testProvisioner{provision: func(context.Context, *flyext.ProvisionRequest) (*flyext.Extension, error) {
			return &flyext.Extension{Secrets: secrets}, nil
		}}, func(config *flyext.Config) {
			config.Verifier = verifier
			config.Now = func() time.Time { return time.Unix(signingTime, 0) }
		})
		if w := do(p, c.request.clone().request(t)); w.Code != 200 || w.Body.String() != c.want {
			t.Errorf("%s: got %d %s, want %s", name, w.Code, w.Body, c.want)
		}
		var got flyext.Verification
		handler := newAuthenticator(t, verifier, 0).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = flyext.VerificationOf(r.Context())
		}))
		handler.ServeHTTP(httptest.NewRecorder(), c.request.clone().request(t))
		if got.Generation != c.shape {
			t.Errorf("%s: the wrapped handler sees %+v, want generation %d", name, got, c.shape)
		}
	}
}
