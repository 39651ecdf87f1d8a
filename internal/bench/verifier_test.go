package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/mac"
)

// A verifier is a subject of a verification row: the floor, flyext or a peer.
type verifier struct {
	name string
	// sign returns the header of a POST of body in this verifier's format.
	sign func(secret string, body []byte, now time.Time) http.Header
	// open prepares a verifier. Only the returned function is timed. It is not safe
	// for concurrent use.
	open func(tb testing.TB, now time.Time) func(h http.Header, body []byte) (accepted bool)
}

func signTargetURI(secret string, body []byte, now time.Time) http.Header {
	return rfc9421Header(secret, byTargetURI, nil, body, now)
}

func signPath(secret string, body []byte, now time.Time) http.Header {
	return rfc9421Header(secret, byPath, nil, body, now)
}

func signX(secret string, body []byte, _ time.Time) http.Header {
	return xRequest(body, newSigner(secret).xSignature(body)).Header
}

// The verification rows.
var (
	rfc9421Verifiers = append([]verifier{
		{name: "floor", sign: signTargetURI, open: func(_ testing.TB, now time.Time) func(http.Header, []byte) bool {
			f := newVerifierFloor()
			return func(h http.Header, body []byte) bool { return f.rfc9421(http.MethodPost, target, h, body, now) }
		}},
		{name: "flyext", sign: signTargetURI, open: openMessageSignature},
	}, rfc9421Peers...)

	cavageVerifiers = []verifier{
		{name: "floor", sign: cavageHeader, open: func(_ testing.TB, now time.Time) func(http.Header, []byte) bool {
			f := newVerifierFloor()
			return func(h http.Header, body []byte) bool { return f.cavage(http.MethodPost, target, h, body, now) }
		}},
		{name: "flyext", sign: cavageHeader, open: openMessageSignature},
	}

	xVerifiers = append([]verifier{
		{name: "floor", sign: signX, open: func(testing.TB, time.Time) func(http.Header, []byte) bool {
			f, request := newXFloor(), reuse()
			return func(h http.Header, body []byte) bool { return f.check(request(h, body)) }
		}},
		xFlyext,
	}, xPeers...)
)

// openMessageSignature verifies a new message each time, as an Authenticator does.
func openMessageSignature(tb testing.TB, now time.Time) func(http.Header, []byte) bool {
	return verifies(tb, flyext.MessageSignature(key), now)
}

func verifies(tb testing.TB, v flyext.Verifier, now time.Time) func(http.Header, []byte) bool {
	base, err := url.Parse(baseURL)
	if err != nil {
		tb.Fatal(err)
	}
	ctx := context.Background()
	return func(h http.Header, body []byte) bool {
		_, err := v.Verify(ctx, &flyext.Message{
			Method: http.MethodPost, Target: target, Host: authority, Header: h, Body: body, BaseURL: base, Now: now,
		})
		return err == nil
	}
}

// xFlyext does flyext's work for an X-Signed body before decoding: it reads the
// body and checks its MAC. The public API has no function that does only this, so
// it uses the parts that Authenticator and XSignature use.
var xFlyext = verifier{
	name: "flyext", sign: signX,
	open: func(testing.TB, time.Time) func(http.Header, []byte) bool {
		key, request := mac.New(secret), reuse()
		return func(h http.Header, content []byte) bool {
			r := request(h, content)
			var text bytes.Buffer
			text.Grow(int(r.ContentLength) + bytes.MinRead)
			_, err := text.ReadFrom(http.MaxBytesReader(nil, r.Body, maxBody))
			signature, one := only(h, "X-Signature")
			received, ok := mac.Parse(signature)
			return err == nil && one && ok && mac.Equal(key.Sum(text.Bytes()), received)
		}
	},
}

// reuse returns a function that returns the same request each time with another
// header and body, in the form that net/http passes to a handler with TLS.
func reuse() func(h http.Header, body []byte) *http.Request {
	reader := bytes.NewReader(nil)
	content := io.NopCloser(reader)
	r := xRequest(nil, "")
	r.TLS = &tls.ConnectionState{}
	return func(h http.Header, body []byte) *http.Request {
		reader.Reset(body)
		r.Header, r.Body, r.ContentLength = h, content, int64(len(body))
		return r
	}
}

// verify measures each verifier of a row.
func verify(b *testing.B, verifiers []verifier, size int) {
	for _, v := range verifiers {
		b.Run(v.name, func(b *testing.B) { v.bench(b, size) })
	}
}

func (v verifier) bench(b *testing.B, size int) {
	now := time.Now().Truncate(time.Second)
	body := provisionBody(size)
	h := v.sign(secret, body, now)
	accepts := v.open(b, now)
	b.ReportAllocs()
	for b.Loop() {
		if !accepts(h, body) {
			b.Fatal("refused")
		}
	}
}
