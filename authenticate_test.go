package flyext_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"

	"github.com/flyext/flyext"
)

// Check and Handler leave the body to be read again, unchanged.
func TestBodyIsThereAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request *wireRequest
		want    string
	}{
		"a body":  {newPost().xSignature(), signingBody},
		"a byte":  {newPost().tampered(func(w *wireRequest) { w.body = "0" }).set("Authorization", "Bearer t"), "0"},
		"no body": {xQuery(signedQuery(extensionPath)), ""},
	} {
		verifier := flyext.AnyOf(flyext.XSignature(signingSecret), flyext.BearerToken("t"))
		auth := newAuthenticator(t, verifier, 0)
		r := c.request.clone().request(t)
		if err := auth.Check(r); err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(r.Body); string(text) != c.want || err != nil {
			t.Errorf("%s: after Check the body is %q, %v; want %q", name, text, err, c.want)
		}
		text, err := []byte("the handler was not called"), error(nil)
		handler := newAuthenticator(t, verifier, 0).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			text, err = io.ReadAll(r.Body)
		}))
		handler.ServeHTTP(httptest.NewRecorder(), c.request.clone().request(t))
		if string(text) != c.want || err != nil {
			t.Errorf("%s: the wrapped handler reads %q, %v; want %q", name, text, err, c.want)
		}
	}
}

// A body that breaks off gets 400, so that the sender sends it again, and the error
// names the cause for the log.
func TestBodyBreaksOff(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	r := newPost().xSignature().request(t)
	r.Body = io.NopCloser(iotest.ErrReader(broken))
	e, ok := errors.AsType[*flyext.Error](newAuthenticator(t, flyext.XSignature(signingSecret), 0).Check(r))
	if !ok || e.Status != http.StatusBadRequest || e.Code != flyext.CodeIncompleteBody || e.Message == "" || !errors.Is(e, broken) {
		t.Errorf("got %+v", e)
	}
}

type contextVerifier func(context.Context) flyext.Verification

func (f contextVerifier) Verify(ctx context.Context, _ *flyext.Message) (flyext.Verification, error) {
	return f(ctx), nil
}

// The verifier and the wrapped handler get the request id of the answer.
func TestRequestIDIsTold(t *testing.T) {
	t.Parallel()
	var verifier, handler string
	auth := newAuthenticator(t, contextVerifier(func(ctx context.Context) flyext.Verification {
		verifier = flyext.RequestID(ctx)
		return flyext.Verification{Generation: flyext.Generation2}
	}), 0)
	answer := httptest.NewRecorder()
	auth.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		handler = flyext.RequestID(r.Context())
		if v := flyext.VerificationOf(r.Context()); v.Generation != flyext.Generation2 {
			t.Errorf("the verification is %+v", v)
		}
	})).ServeHTTP(answer, newPost().request(t))
	if id := answer.Header().Get("X-Request-Id"); id == "" || verifier != id || handler != id {
		t.Errorf("the answer has %q, the verifier %q, the handler %q", id, verifier, handler)
	}
}
