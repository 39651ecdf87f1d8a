package flyext_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/flyext/flyext"
)

// FuzzCheck sends arbitrary requests without the secret. Check refuses each with the
// uniform 401 and never panics.
func FuzzCheck(f *testing.F) {
	for i, c := range readInterop(f) {
		if i%10 != 0 {
			continue
		}
		r := c.request(f)
		f.Add(r.Method, r.RequestURI, r.Host, r.Header.Get("Signature-Input"), r.Header.Get("Signature"), r.Header.Get("Authorization"),
			r.Header.Get("X-Signature"), r.Header.Get("Digest"), r.Header.Get("Content-Digest"), []byte(c.Request.BodyBase64))
	}
	w := newPost().rfc9421()
	f.Add(w.method, w.target, w.host, w.header.Get("Signature-Input"), w.header.Get("Signature"), "", "",
		w.header.Get("Digest"), w.header.Get("Content-Digest"), []byte(w.body))
	p := flyext.Policy{InsecureSkipCoverage: true, ZntrioDialect: true, DraftQueryParams: true}
	const secret = "a secret that signs no request of this test"
	auth := newAuthenticator(f, flyext.AnyOf(
		p.XSignature(secret),
		p.MessageSignature(flyext.Key{ID: signingKeyID, Secret: secret}),
		flyext.AllOf(flyext.BearerToken(secret), flyext.MessageSignature(flyext.Key{ID: "k", Secret: secret})),
	), 0)
	f.Fuzz(func(t *testing.T, method, target, host, input, signature, authorization, x, digest, contentDigest string, body []byte) {
		w := &wireRequest{method: method, target: target, host: host, body: string(body), header: http.Header{
			"Date": {"Tue, 14 Nov 2023 22:13:20 GMT"}, "Digest": {digest}, "Content-Digest": {contentDigest},
		}}
		for name, value := range map[string]string{
			"Signature-Input": input, "Signature": signature, "Authorization": authorization, "X-Signature": x,
		} {
			if value != "" {
				w.set(name, value)
			}
		}
		err := auth.Check(w.setLength().request(t))
		e, ok := errors.AsType[*flyext.Error](err)
		if !ok || e.Status != http.StatusUnauthorized || e.Code != flyext.CodeUnauthenticated || e.Error() == "" {
			t.Fatalf("got %v, want the uniform 401", err)
		}
	})
}
