package flyext_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/flyext/flyext"
)

// Whoever checks a request, or has it checked, finds its body as it came.
func TestBodyIsThereAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request *wireRequest
		want    string
	}{
		"a body": {newPost().xSignature(), signingBody},
		"none":   {xQuery(signedQuery(extensionPath)), ""},
	} {
		auth := newAuthenticator(t, flyext.XSignature(signingSecret), 0)
		r := c.request.clone().request(t)
		if err := auth.Check(r); err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(r.Body); string(text) != c.want || err != nil {
			t.Errorf("%s: Check leaves %q, %v", name, text, err)
		}
		text, err := []byte("it was not called"), error(nil)
		handler := newAuthenticator(t, flyext.XSignature(signingSecret), 0).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			text, err = io.ReadAll(r.Body)
		}))
		handler.ServeHTTP(httptest.NewRecorder(), c.request.clone().request(t))
		if string(text) != c.want || err != nil {
			t.Errorf("%s: Handler leaves %q, %v", name, text, err)
		}
	}
}
